"""Latency: speedups with their intervals, all timings, and what limits them."""

from collections.abc import Mapping, Sequence
from typing import Any

from slimmer.reports.latency_tables import headline, parts
from slimmer.reports.latency_words import is_busy, place, realised
from slimmer.reports.page.charts.chart import Tick
from slimmer.reports.page.charts.scale import Scale, round_scale
from slimmer.reports.page.run_files import RunFiles
from slimmer.reports.page.section import Section

OUTDATED = "profile.json was written by another version of slimmer; run `slimmer profile` again."
LIMITS = "Limits of these figures"  # the title of that part of a profile
SPENT = "Where time goes"  # the beginning of that part's title; it has a section of its own

Row = Mapping[str, Any]


def view(files: RunFiles) -> Mapping[str, Any] | None:
    """Speedups as points with intervals, and the tables of a profile; None without a profile."""
    if files.outdated:
        return {"outdated": OUTDATED}
    if files.profile is None:
        return None
    first, *rest = parts(files.profile, every_layer=False)
    found = [part for part in rest if not part.title.startswith(SPENT)]
    return {
        "outdated": None,
        "headline": headline(files.profile),
        "speedups": _speedups(files.profile),
        "first": first,
        "parts": [part for part in found if part.title != LIMITS],
        "limits": [part for part in found if part.title == LIMITS],
    }


def _speedups(profile: Mapping[str, Any]) -> dict[str, Any] | None:
    """The speedups over the first network, on one scale that contains 1; None without any."""
    found = [one for one in profile["comparisons"] if one["runtime"] == one["against_runtime"]]
    if not found:
        return None
    scale = _scale(found)
    return {
        "rows": [_point(profile, one, scale) for one in found],
        "ticks": scale.ticks(lambda value: f"{value:g}x"),
        "one": scale.at(1.0),
        "promised": any(one["promise"] is not None for one in found),
    }


def _scale(found: Sequence[Row]) -> Scale:
    values = [1.0]
    for one in found:
        given = [one[key] for key in ("speedup", "low", "high", "promise")]
        values += [value for value in given if value is not None]
    return round_scale(values)


def _point(profile: Mapping[str, Any], one: Row, scale: Scale) -> dict[str, Any]:
    """A speedup, its interval and the FLOP reduction: positions and texts."""
    interval, text = None, f"{one['speedup']:.2f}x"
    if one["low"] is not None:
        left, right = scale.at(one["low"]), scale.at(one["high"])
        interval = Tick(left, f"{right - left:.2f}")
        text += f" ({one['low']:.2f} to {one['high']:.2f})"
    notes = []
    if one["promise"] is not None:
        notes.append(f"FLOPs reduced {one['promise']:.2f}x, {realised(one)} realised")
    if is_busy(one):
        notes.append("by CPU time, because the machine was busy")
    if one["verdict"] == "no measurable difference":
        notes.append(one["verdict"])
    return {
        "label": f"{one['model']} against {one['against']}, {place(profile, one)}",
        "at": scale.at(one["speedup"]),
        "interval": interval,
        "promise": None if one["promise"] is None else scale.at(one["promise"]),
        "text": text,
        "notes": "; ".join(notes),
    }


SECTION = Section("latency", "Latency", view)
