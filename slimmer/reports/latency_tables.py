"""A profile as sentences and tables, headline first; the terminal and report.md show the same."""

from collections.abc import Iterator, Sequence

from slimmer.profiling.reduced_precision import not_faster
from slimmer.reports.latency_conditions import conditions
from slimmer.reports.latency_limits import ON_CPU, Part, Profile, Row, key, nodes, where, widths
from slimmer.reports.latency_words import (
    case,
    case_heads,
    cell_or_empty,
    interval_cell,
    is_busy,
    place,
    realised,
    verdict,
    wall_cell,
)
from slimmer.reports.rows import by_key, column

SPEEDUP = "speedup (95 % interval)"
PERCENTILES = ("p5_ms", "p50_ms", "p90_ms", "p95_ms", "p99_ms")
COPY_HEADS = {"to_device": "to the GPU ms", "to_host": "back ms"}


def headline(found: Profile) -> list[str]:
    """The speedup of each network over the first, and of later networks over the second.

    There is one sentence for each batch size, then one for each fp16 or int8 file that is not
    faster than float32.
    """
    sentences = []
    for one in (*found["comparisons"], *found.get("among", ())):
        if _in_one_runtime(one):
            end = "."
            if one["promise"] is not None:
                reduced = f"FLOPs reduced {one['promise']:.2f}x"
                end = f"; {reduced}, {realised(one)} of that realised as speedup."
            sentences.append(f"{place(found, one)}: {verdict(found, one)}{end}")
    return [*sentences, *map(str, not_faster(found))]


def parts(found: Profile, *, every_layer: bool) -> Iterator[Part]:
    """Tables of a profile, most important first; `every_layer` adds the width of each layer."""
    yield _latency(found)
    crossed = [one for one in found["comparisons"] if not _in_one_runtime(one)]
    if crossed:
        yield _across(found, crossed)
    yield _runs(found)
    if found["fresh"]:
        yield _first_use(found)
    if any(column(column(found["traces"], "trace"), "shares")):
        yield where(found)
    if found["provider"] not in ON_CPU and found["traces"]:
        yield nodes(found)
    yield from widths(found, every_layer=every_layer)
    yield Part("Conditions", says=tuple(conditions(found)))
    if found["notes"]:
        yield Part("Limits of these figures", says=tuple(found["notes"]))


def _in_one_runtime(one: Row) -> bool:
    return bool(one["runtime"] == one["against_runtime"])


def _latency(found: Profile) -> Part:
    """Median times and speedups; columns of CPU time only if it was measured."""
    compared = {key(one): one for one in found["comparisons"] if _in_one_runtime(one)}
    with_cpu = set(column(found["timings"], "cpu_median_ms")) != {None}
    rows = []
    for row in found["timings"]:
        one = compared.get(key(row))
        wall, cpu, reduction = _speedup_cells(one)
        cells = [*case(found, row), f"{row['median_ms']:.3f}"]
        if with_cpu:
            cells.append(cell_or_empty(row["cpu_median_ms"], ".3f"))
        cells += [f"{row['images_per_s']:.0f}", wall]
        if with_cpu:
            cells.append(cpu)
        rows.append((*cells, reduction))
    heads = [*case_heads(found), "median ms", "images/s", SPEEDUP, "FLOP reduction"]
    notes: tuple[str, ...] = ()
    if with_cpu:
        heads.insert(heads.index("images/s"), "CPU ms")
        heads.insert(heads.index("FLOP reduction"), "by CPU time")
        notes = (_what_cpu_time_covers(found),)
    return Part(f"Latency, {found['provider']}", tuple(heads), tuple(rows), notes)


def _speedup_cells(one: Row | None) -> tuple[str, str, str]:
    """Speedup by wall time, by CPU time, and the FLOP reduction; empty where there is none."""
    if one is None:
        return "", "", ""
    cpu, reduction = "", ""
    if one["cpu"]:
        cpu = interval_cell(one["cpu"])
    if one["promise"] is not None:
        reduction = f"{one['promise']:.2f}x, {realised(one)} realised"
    return wall_cell(one), cpu, reduction


def _what_cpu_time_covers(found: Profile) -> str:
    """Which threads the CPU times count."""
    alone = [number == 1 for number in found["conditions"]["threads"]]
    if all(alone):
        return "CPU time is that of the thread that runs the network."
    total = "CPU time is the total of all threads, including the time they wait for each other"
    if any(alone):
        return f"{total}; on 1 thread, that of the thread that runs the network."
    return f"{total}."


def _across(found: Profile, crossed: Sequence[Row]) -> Part:
    rows = []
    for one in crossed:
        by = ", CPU time" if is_busy(one) else ""
        cells = one["against_runtime"], interval_cell(one) + by, one["verdict"]
        rows.append((*case(found, one), *cells))
    heads = (*case_heads(found), "compared with", SPEEDUP, "verdict")
    return Part("Runtimes", heads, tuple(rows))


def _runs(found: Profile) -> Part:
    """Percentiles and stability of the runs, and the times of copies to and from a GPU."""
    copies: dict[str, None] = {}
    for row in found["timings"]:
        copies |= dict.fromkeys(row["copies_ms"])
    rows = []
    for row in found["timings"]:
        cells = [*case(found, row), str(row["samples"])]
        cells += [cell_or_empty(row[name], ".3f") for name in PERCENTILES]
        cells.append(f"{row['variation']:.1%}")
        cells.append(f"{row['drift']:.1%}, {row['drift_verdict']}")
        cells.append(f"{row['first_run_ms']:.2f}")
        cells += [cell_or_empty(row["copies_ms"].get(name), ".3f") for name in copies]
        rows.append(tuple(cells))
    heads = ["runs", "p5 ms", "p50", "p90", "p95", "p99", "deviation", "drift", "first ms"]
    heads += [COPY_HEADS.get(name, name) for name in copies]
    return Part("Runs", (*case_heads(found), *heads), tuple(rows))


def _first_use(found: Profile) -> Part:
    sizes = by_key(found["subjects"], "name", "size_bytes")
    on_gpu = set(column(column(found["fresh"], "cost"), "device_bytes")) != {None}
    rows = []
    for one in found["fresh"]:
        cost = one["cost"]
        cells = [*case(found, one), _megabytes(sizes[one["model"]])]
        cells += [f"{cost['session_ms']:.1f}", f"{cost['first_run_ms']:.2f}"]
        cells.append(_megabytes(cost["memory_bytes"]))
        if on_gpu:
            cells.append(_megabytes(cost["device_bytes"]))
        rows.append(tuple(cells))
    heads = [*case_heads(found), "file MB", "session ms", "first run ms", "memory MB"]
    if on_gpu:
        heads.append("GPU MB")
    note = (
        "Memory is the peak increase in the process's resident memory, session and runs together."
    )
    return Part("First use, in a separate process", tuple(heads), tuple(rows), (note,))


def _megabytes(number: float | None) -> str:
    return "" if number is None else f"{number / 1e6:.2f}"
