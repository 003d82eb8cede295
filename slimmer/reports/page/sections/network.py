"""The network: the width of every layer, dense and slim."""

from collections.abc import Mapping, Sequence
from typing import Any

from slimmer.reports.hints import attribute_notes, removed_hint, width_hint
from slimmer.reports.page.charts.columns import Columns, column_chart
from slimmer.reports.page.run_files import RunFiles
from slimmer.reports.page.section import Section
from slimmer.reports.page.words import percent


def view(files: RunFiles) -> Mapping[str, Any] | None:
    """The picture of the network, and a table of its layers; channel groups in reports of an older
    slimmer. None if there is nothing to prune.
    """
    report = files.report
    layers = report.get("layers") or []
    rows = layers or [_channels(group) for group in report["groups"]]
    if not rows:
        return None
    what = "layer" if layers else "channel group"
    dense, slim = [row["dense"] for row in rows], [row["slim"] for row in rows]
    changed = sum(now < before for before, now in zip(dense, slim, strict=True))
    says = (
        f"{changed} of {len(rows)} {what}s are narrower; {sum(slim):,} of {sum(dense):,} channels "
        f"remain ({percent(sum(slim) / sum(dense))})."
    )
    chart = column_chart(
        f"Output channels of each {what}, in network order",
        says,
        [row["name"] or "(the network)" for row in rows],
        [Columns("dense", dense, "dense"), Columns("slim", slim, "slim")],
        lambda value: f"{value:,.0f}",
        head=what,
        mirrored=True,
    )
    return {
        "chart": chart,
        "says": says,
        "what": what,
        "rows": [_row(row) for row in rows],
        "with_flops": any("flops" in row for row in rows),
        "totals": _totals(report, layers),
        "notes": [
            *removed_hint(report),
            *width_hint(report),
            *attribute_notes(report.get("attributes")),
        ],
    }


def _channels(group: Mapping[str, Any]) -> dict[str, Any]:
    """A channel group with its widths in channels."""
    each = group.get("channels_each", 1)
    return {"name": group["name"], "dense": group["dense"] * each, "slim": group["slim"] * each}


def _row(row: Mapping[str, Any]) -> dict[str, Any]:
    left = row["slim"] / row["dense"]
    flops = row.get("flops")
    return {
        "name": row["name"] or "(the network)",
        "dense": row["dense"],
        "slim": row["slim"],
        "left": percent(left),
        "width": 100 * left,
        "flops_dense": flops["dense"] if flops else None,
        "flops_slim": flops["slim"] if flops else None,
    }


def _totals(report: Mapping[str, Any], layers: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The FLOPs of the layers in the table, of everything else, and of the whole network."""
    counted = [row["flops"] for row in layers if "flops" in row]
    if not counted:
        return {}
    found: dict[str, Any] = {}
    for side in ("dense", "slim"):
        whole = report["flops"][side]
        found[side] = {"rest": whole - sum(each[side] for each in counted), "whole": whole}
    return found


SECTION = Section("network", "Network", view)
