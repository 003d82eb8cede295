"""A profile in words and tables, the headline first; terminal and report.md show the same."""

from collections.abc import Iterator, Sequence

from slimmer.profiling.notes import threads_told
from slimmer.profiling.reduced_precision import not_faster
from slimmer.reports.latency_limits import (
    CPU,
    ON_CPU,
    Part,
    Profile,
    Row,
    key,
    names_runtimes,
    nodes,
    several,
    versions,
    where,
    widths,
)

# Settings that change a timing on a GPU, ONNX Runtime's and PyTorch's.
TELLING = (
    *("use_tf32", "cudnn_conv_algo_search", "prefer_nhwc", "enable_cuda_graph", "trt_fp16_enable"),
    *("float32_matmul_precision", "cudnn.benchmark", "cudnn.allow_tf32"),
)


def headline(found: Profile) -> list[str]:
    """How much faster each network is than the first, and later ones than the second, a sentence a
    batch size.

    Then, where fp16 or int8 is no faster than float32, that.
    """
    told = []
    for one in (*found["comparisons"], *found.get("among", ())):
        if one["runtime"] == one["against_runtime"]:
            promise = "."
            if one["promise"] is not None:
                share = _share(one)
                promise = (
                    f"; FLOPs reduced {one['promise']:.2f}x, {share} of that realised as speedup."
                )
            told.append(f"{_place(found, one)}: {_verdict(found, one)}{promise}")
    return [*told, *map(str, not_faster(found))]


def parts(found: Profile, *, every_layer: bool) -> Iterator[Part]:
    """The tables of a profile, what matters most first; `every_layer` lists widths layer by layer
    too.
    """
    yield _latency(found)
    if crossed := [one for one in found["comparisons"] if one["runtime"] != one["against_runtime"]]:
        yield _across(found, crossed)
    yield _runs(found)
    if found["fresh"]:
        yield _first_use(found)
    if any(one["trace"]["shares"] for one in found["traces"]):
        yield where(found)
    if found["provider"] not in ON_CPU and found["traces"]:
        yield nodes(found)
    yield from widths(found, every_layer=every_layer)
    yield Part("Conditions", says=tuple(_conditions(found)))
    if found["notes"]:
        yield Part("Limits of these figures", says=tuple(found["notes"]))


def _verdict(found: Profile, one: Row) -> str:
    """What a comparison says, in words; by CPU time where the machine was too busy for a wall time."""
    model, against, times = one["model"], one["against"], f"{one['speedup']:.2f} times"
    busy = (
        f"the machine was too busy to use wall time; by {_cpu_time(one['threads'])} "
        if _busy(one)
        else ""
    )
    if one["low"] is None:
        blocks = _fewest_blocks(found)
        why = f"{blocks} block{'s' if blocks > 1 else ''}, too few for an interval"
        if _busy(one) and one["wall"]["low"] is not None:
            why = "no interval, because a busy machine affects CPU time too"
        return f"{busy}{model} is {times} as fast as {against} ({why})"
    interval = f"(95 % interval {one['low']:.2f} to {one['high']:.2f})"
    if one["verdict"] == "no measurable difference":
        return (
            f"{busy}{model} has no measurable difference from {against}: {times} as fast {interval}"
        )
    slower = " (slower)" if one["verdict"] == "slower" else ""
    return f"{busy}{model} is {times} as fast as {against}{slower} {interval}{_calm(one)}"


def _busy(one: Row) -> bool:
    return one["undisturbed"] is False


def _calm(one: Row) -> str:
    return ", undisturbed" if one["undisturbed"] else ""


def _cpu_time(threads: int | None) -> str:
    return "CPU time" if threads == 1 else "total CPU time of all threads"


def _interval(ratio: Row) -> str:
    """A ratio in a cell, with its interval where it has one."""
    if ratio["low"] is None:
        return f"{ratio['speedup']:.2f}"
    return f"{ratio['speedup']:.2f} ({ratio['low']:.2f} to {ratio['high']:.2f})"


def _wall(one: Row) -> str:
    """A wall time's speed-up in a cell: no interval where the machine was too busy for it."""
    if _busy(one):
        return f"{one['wall']['speedup']:.2f}, too busy"
    return _interval(one["wall"]) + _calm(one)


def _share(one: Row) -> str:
    return f"{100 * one['efficiency']:.0f} %"


def _place(found: Profile, one: Row) -> str:
    told = [
        f"batch {one['batch']}",
        threads_told(one["threads"]) if several(found, "threads") else "",
    ]
    told.append(one["runtime"] if names_runtimes(found) else "")
    return ", ".join(part for part in told if part)


def _case_heads(found: Profile) -> tuple[str, ...]:
    runtime = ("runtime",) if names_runtimes(found) else ()
    return ("network", *runtime, *(("threads",) if several(found, "threads") else ()), "batch")


def _case(found: Profile, row: Row) -> tuple[str, ...]:
    runtime = (row["runtime"],) if names_runtimes(found) else ()
    threads = (str(row["threads"] or "per core"),) if several(found, "threads") else ()
    return (row["model"], *runtime, *threads, str(row["batch"]))


def _latency(found: Profile) -> Part:
    faster = {
        key(one): one for one in found["comparisons"] if one["runtime"] == one["against_runtime"]
    }
    computed = any(row["cpu_median_ms"] is not None for row in found["timings"])
    rows = []
    for row in found["timings"]:
        one, cpu_ms = faster.get(key(row)), row["cpu_median_ms"]
        cells = [*_case(found, row), f"{row['median_ms']:.3f}"]
        cells += _where(computed, "" if cpu_ms is None else f"{cpu_ms:.3f}")
        cells += [f"{row['images_per_s']:.0f}", _wall(one) if one else ""]
        cells += _where(computed, _interval(one["cpu"]) if one and one["cpu"] else "")
        promised = one is not None and one["promise"] is not None
        cells.append(f"{one['promise']:.2f}x, {_share(one)} realised" if one and promised else "")
        rows.append(tuple(cells))
    heads = *_case_heads(found), "median ms", *_where(computed, "CPU ms"), "images/s"
    heads = *heads, "speedup (95 % interval)", *_where(computed, "by CPU time"), "FLOP reduction"
    says = (_of_which_threads(found),) if computed else ()
    return Part(f"Latency, {found['provider']}", heads, tuple(rows), says)


def _where(shown: bool, cell: str) -> tuple[str, ...]:
    """A cell of a column that is left out where nothing would stand in it."""
    return (cell,) if shown else ()


def _of_which_threads(found: Profile) -> str:
    """What CPU time is of."""
    alone = [number == 1 for number in found["conditions"]["threads"]]
    if all(alone):
        return "CPU time is that of the thread that runs the network."
    several = "CPU time is the total of all threads, including the time they wait for each other"
    return f"{several}{'; on 1 thread, that of the thread that runs the network' if any(alone) else ''}."


def _across(found: Profile, crossed: Sequence[Row]) -> Part:
    rows = tuple(
        (
            *_case(found, one),
            one["against_runtime"],
            _interval(one) + (", CPU time" if _busy(one) else ""),
            one["verdict"],
        )
        for one in crossed
    )
    return Part(
        "Runtimes",
        (*_case_heads(found), "compared with", "speedup (95 % interval)", "verdict"),
        rows,
    )


def _runs(found: Profile) -> Part:
    copies = list(dict.fromkeys(name for row in found["timings"] for name in row["copies_ms"]))
    heads = "runs", "p5 ms", "p50", "p90", "p95", "p99", "deviation", "drift", "first ms"
    rows = []
    for row in found["timings"]:
        times = (row["p5_ms"], row["p50_ms"], row["p90_ms"], row["p95_ms"], row["p99_ms"])
        cells = [
            *_case(found, row),
            str(row["samples"]),
            *("" if ms is None else f"{ms:.3f}" for ms in times),
        ]
        cells += [
            f"{row['variation']:.1%}",
            f"{row['drift']:.1%}, {row['drift_verdict']}",
            f"{row['first_run_ms']:.2f}",
        ]
        rows.append(
            (
                *cells,
                *(
                    f"{row['copies_ms'][name]:.3f}" if name in row["copies_ms"] else ""
                    for name in copies
                ),
            )
        )
    named = {"to_device": "to the GPU ms", "to_host": "back ms"}
    return Part(
        "Runs",
        (*_case_heads(found), *heads, *(named.get(name, name) for name in copies)),
        tuple(rows),
    )


def _first_use(found: Profile) -> Part:
    sizes = {one["name"]: one["size_bytes"] for one in found["subjects"]}
    on_gpu = any(one["cost"]["device_bytes"] is not None for one in found["fresh"])
    rows = []
    for one in found["fresh"]:
        cost = one["cost"]
        memory = (
            _megabytes(cost["memory_bytes"]),
            *((_megabytes(cost["device_bytes"]),) if on_gpu else ()),
        )
        times = f"{cost['session_ms']:.1f}", f"{cost['first_run_ms']:.2f}"
        rows.append((*_case(found, one), _megabytes(sizes[one["model"]]), *times, *memory))
    heads = "file MB", "session ms", "first run ms", "memory MB", *(("GPU MB",) if on_gpu else ())
    says = (
        "Memory is the peak increase in the process's resident memory, session and runs together.",
    )
    return Part(
        "First use, in a separate process", (*_case_heads(found), *heads), tuple(rows), says
    )


def _megabytes(number: float | None) -> str:
    return "" if number is None else f"{number / 1e6:.2f}"


def _in_effect(subjects: Sequence[Row]) -> Iterator[str]:
    """The settings that change a timing on a GPU as each runtime has them, whether asked for or its
    own default.
    """
    for runtime, settings in {
        one["runtime"]: one["settings"] for one in reversed(subjects)
    }.items():
        told = [
            f"{key.rpartition('.')[2]} {value}"
            for key, value in settings.items()
            if key.endswith(TELLING)
        ]
        if told:
            yield f"In effect in {runtime}: {', '.join(told)}."


def _whereabouts(provider: str) -> str:
    """Where the images lie before a run: only on CUDA's devices can inputs be bound."""
    bound = (CPU, "CUDAExecutionProvider", "TensorrtExecutionProvider")
    through = provider.endswith("ExecutionProvider") and provider not in bound
    return "in CPU memory: copies are timed too" if through else "already on the device"


def _fewest_blocks(found: Profile) -> int:
    return min(len(row["block_medians_ms"]) for row in found["timings"])


def _blocks(found: Profile) -> str:
    """How many there were, which may be more than were asked for, and not everywhere the same
    number.
    """
    least, most = (
        _fewest_blocks(found),
        max(len(row["block_medians_ms"]) for row in found["timings"]),
    )
    if least == most:
        return f"{least} block{'s' if least > 1 else ''}"
    return f"{least} to {most} blocks"


def _conditions(found: Profile) -> Iterator[str]:
    asked, machine = found["conditions"], found["environment"]
    effort, threads = (
        asked["effort"],
        ", ".join(threads_told(number) for number in asked["threads"]),
    )
    yield (
        f"{_blocks(found)}; in each block the networks take turns until each has at least "
        f"{effort['seconds']:g} s and {effort['runs']} runs, back to back after a warm-up; {threads}; "
        f"images of {'x'.join(map(str, asked['input_size']))}, {_whereabouts(found['provider'])}."
    )
    unset = {"strict": False, "cuda_graph": False}
    chosen = {name: value for name, value in asked["options"].items() if value != unset.get(name)}
    if chosen:
        told = ", ".join(f"{name} {value}" for name, value in chosen.items())
        yield f"Options (ONNX Runtime only): {told}."
    if found["provider"] not in ON_CPU:
        yield from _in_effect(found["subjects"])
    yield f"{machine['cpu']}, {machine['usable_cores']} cores, load {machine['load']}; {', '.join(versions(found))}."
    if machine.get("gpu") and found["provider"] not in ON_CPU:
        yield f"{machine['gpu']}, driver {machine['gpu_driver']}."
        for when, state in found["gpu"].items():
            if state:
                yield (
                    f"GPU {when}: "
                    + ", ".join(f"{name} {value}" for name, value in state.items())
                    + "."
                )
