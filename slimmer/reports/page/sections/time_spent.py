"""Where time goes: by operation and, if the profile has it, by layer; dense against slim."""

from collections.abc import Iterator, Mapping
from typing import Any

from slimmer.reports.latency_tables import parts
from slimmer.reports.page.charts.chart import Chart
from slimmer.reports.page.charts.columns import Columns, column_chart
from slimmer.reports.page.run_files import RunFiles
from slimmer.reports.page.section import Section
from slimmer.reports.page.words import milliseconds, percent

SPENT = "Where time goes"
OTHERS = "everything else"


def view(files: RunFiles) -> Mapping[str, Any] | None:
    """The time of each layer and of each kind of operation; None without traces."""
    if files.profile is None:
        return None
    found = parts(files.profile, every_layer=False)
    spent = [part for part in found if part.title.startswith(SPENT)]
    if not spent:
        return None
    return {"part": spent[0], "chart": by_layer(files.profile)}


def by_layer(profile: Mapping[str, Any]) -> Chart | None:
    """The milliseconds of each layer at the largest batch, dense and slim; None if a trace of one
    of them does not say which layers its nodes are.
    """
    times = {}
    for name in ("dense", "slim"):
        found = _times(profile, name)
        if not found:
            return None
        times[name] = found
    names = [*dict.fromkeys([*times["dense"], *times["slim"]])]
    names.sort(key=lambda name: name == OTHERS)
    dense = [times["dense"].get(name, 0.0) for name in names]
    slim = [times["slim"].get(name, 0.0) for name in names]
    slowest = max(range(len(names)), key=lambda place: slim[place])
    return column_chart(
        f"Milliseconds in each layer, batch {_largest(profile)}",
        f"{names[slowest]} takes most of the slim network's time: "
        f"{percent(slim[slowest] / sum(slim))} of it.",
        names,
        [Columns("dense", dense, "dense"), Columns("slim", slim, "slim")],
        lambda value: f"{milliseconds(value)} ms",
        head="layer",
        tick=_tick,
        beside=True,
    )


def _tick(value: float) -> str:
    return f"{value:g} ms"


def _times(profile: Mapping[str, Any], model: str) -> dict[str, float]:
    """Milliseconds by layer, in network order; empty if the trace has no layers."""
    for one in _traced(profile, model):
        shares = one["trace"].get("layers") or {}
        for timing in profile["timings"]:
            if shares and _place(timing) == _place(one):
                named = {name: share * timing["median_ms"] for name, share in shares.items()}
                rest = timing["median_ms"] - sum(named.values())
                return {**named, OTHERS: max(0.0, rest)}
    return {}


def _traced(profile: Mapping[str, Any], model: str) -> Iterator[Mapping[str, Any]]:
    """The traces of a network at the largest batch that was traced."""
    for one in profile["traces"]:
        if one["model"] == model and one["batch"] == _largest(profile):
            yield one


def _largest(profile: Mapping[str, Any]) -> int:
    return max(int(one["batch"]) for one in profile["traces"])


def _place(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return row["model"], row["runtime"], row["threads"], row["batch"]


SECTION = Section("time", SPENT, view)
