"""Wording that the tables of a profile share: networks, places, intervals and verdicts."""

from typing import Any

from slimmer.profiling.notes import plural, threads_told
from slimmer.reports.latency_limits import Profile, Row, names_runtimes, several


def verdict(found: Profile, one: Row) -> str:
    """A comparison as a clause; by CPU time if the machine was too busy to use wall time."""
    model, against, times = one["model"], one["against"], f"{one['speedup']:.2f} times as fast"
    busy = ""
    if is_busy(one):
        busy = f"the machine was too busy to use wall time; by {_cpu_time(one['threads'])} "
    if one["low"] is None:
        return f"{busy}{model} is {times} as {against} ({_why_no_interval(found, one)})"
    interval = f"(95 % interval {one['low']:.2f} to {one['high']:.2f})"
    if one["verdict"] == "no measurable difference":
        return f"{busy}{model} has no measurable difference from {against}: {times} {interval}"
    slower = " (slower)" if one["verdict"] == "slower" else ""
    return f"{busy}{model} is {times} as {against}{slower} {interval}{_undisturbed(one)}"


def place(found: Profile, one: Row) -> str:
    """The batch size, and the threads and the runtime if the profile has several."""
    words = [f"batch {one['batch']}"]
    if several(found, "threads"):
        words.append(threads_told(one["threads"]))
    if names_runtimes(found):
        words.append(one["runtime"])
    return ", ".join(words)


def case_heads(found: Profile) -> tuple[str, ...]:
    """The heads of the columns that identify a row."""
    heads = ["network"]
    if names_runtimes(found):
        heads.append("runtime")
    if several(found, "threads"):
        heads.append("threads")
    return (*heads, "batch")


def case(found: Profile, row: Row) -> tuple[str, ...]:
    """The cells under `case_heads`."""
    cells = [row["model"]]
    if names_runtimes(found):
        cells.append(row["runtime"])
    if several(found, "threads"):
        cells.append(str(row["threads"] or "per core"))
    return (*cells, str(row["batch"]))


def is_busy(one: Row) -> bool:
    """Whether the machine was too busy to use the wall time of a comparison."""
    return one["undisturbed"] is False


def interval_cell(ratio: Row) -> str:
    """A speedup in a cell, with its interval if it has one."""
    if ratio["low"] is None:
        return f"{ratio['speedup']:.2f}"
    return f"{ratio['speedup']:.2f} ({ratio['low']:.2f} to {ratio['high']:.2f})"


def wall_cell(one: Row) -> str:
    """The speedup by wall time in a cell; without an interval if the machine was too busy."""
    if is_busy(one):
        return f"{one['wall']['speedup']:.2f}, too busy"
    return interval_cell(one["wall"]) + _undisturbed(one)


def realised(one: Row) -> str:
    """How much of the FLOP reduction the speedup realises, in percent."""
    return f"{100 * one['efficiency']:.0f} %"


def block_counts(found: Profile) -> list[int]:
    """The number of blocks of each timing: it can exceed the setting and differ between timings."""
    return [len(row["block_medians_ms"]) for row in found["timings"]]


def cell_or_empty(value: Any, spec: str) -> str:
    """`value` in the format `spec`, or an empty cell for None.

    >>> cell_or_empty(1.5, ".2f"), cell_or_empty(None, ".2f")
    ('1.50', '')
    """
    return "" if value is None else format(value, spec)


def _why_no_interval(found: Profile, one: Row) -> str:
    if is_busy(one) and one["wall"]["low"] is not None:
        return "no interval, because a busy machine affects CPU time too"
    return f"{plural(min(block_counts(found)), 'block')}, too few for an interval"


def _undisturbed(one: Row) -> str:
    return ", undisturbed" if one["undisturbed"] else ""


def _cpu_time(threads: int | None) -> str:
    return "CPU time" if threads == 1 else "total CPU time of all threads"
