"""Sentences that qualify the figures of a profile."""

from collections.abc import Iterator, Mapping, Sequence

from slimmer.errors import first_few
from slimmer.profiling import statistics
from slimmer.profiling.results import Case, Comparison, Conditions, Subject, Timing, TracedRun
from slimmer.profiling.runtimes.gpu import GpuState
from slimmer.profiling.runtimes.node_times import listed
from slimmer.profiling.runtimes.providers import CPU, ON_GPU, first_choice
from slimmer.profiling.widths import Layer
from slimmer.recipe.runtimes import DEFAULT

PROMISED = 0.9  # realised share of the FLOP reduction; below it, widths may be the reason
APART = 0.03  # relative difference from the speedup of medians; a larger one gets a note
BUSY, GPU_BUSY = 0.25, 10.0  # load per core; percent
WHEN = {
    "before": "before the runs",
    "loaded": "at their end, under load",
    "after": "after the runs",
}
_SHOWN = 6  # cases that a note lists


def threads_told(number: int | None) -> str:
    """A number of threads in words; None is one per core."""
    if number is None:
        return "one thread per core"
    return plural(number, "thread")


def plural(number: int, word: str) -> str:
    """A number with its noun.

    >>> plural(1, "block"), plural(2, "block")
    ('1 block', '2 blocks')
    """
    return f"{number} {word}" if number == 1 else f"{number} {word}s"


def load_note(machine: Mapping[str, object]) -> Iterator[str]:
    """A note if the machine was busy before the first run.

    >>> next(load_note({"load": 4.5, "usable_cores": 1})).partition(" in ")[0]
    'The machine was busy: a load of 4.5 on 1 core'
    """
    load, cores = machine.get("load"), machine.get("usable_cores")
    if isinstance(load, float) and isinstance(cores, int) and load > BUSY * cores:
        yield (
            f"The machine was busy: a load of {load:g} on {plural(cores, 'core')} in the minute "
            "before the first run (including work that has just ended)."
        )


def timing_notes(timings: Sequence[Timing], networks: int) -> Iterator[str]:
    """Notes on too few samples or blocks, drift and noise; one sentence for each."""
    few = [one for one in timings if one.p99_ms is None]
    if few:
        least, cases = min(one.samples for one in few), _cases(few, timings)
        yield f"No p99 below {statistics.P99_NEEDS} samples (fewest: {least}): {cases}."
    restless = [one for one in timings if not one.settled]
    if restless:
        yield f"Run times were still changing when the warm-up ended: {_cases(restless, timings)}."
    moving = [one for one in timings if one.drift_verdict in ("slight drift", "drifting")]
    if moving:
        drifts = [f"{_case(one)} ({one.drift_verdict}, {one.drift:.1%})" for one in moving]
        cases = _some(drifts)
        yield f"Median run times changed from one third of the samples to the next: {cases}."
    noisy = [one for one in timings if one.variation > statistics.NOISY]
    if noisy:
        cases = _cases(noisy, timings)
        yield f"Standard deviation above {statistics.NOISY:.1%} of the mean: {cases}."
    blocks = min(len(one.block_medians_ms) for one in timings)
    if blocks < statistics.FEW_BLOCKS and networks > 1:
        yield (
            f"{plural(blocks, 'block')}: too few for an interval. Below {statistics.FEW_BLOCKS} "
            "blocks, an interval contains the true speedup less than 95 times in 100."
        )


def busy_notes(comparisons: Sequence[Comparison]) -> Iterator[str]:
    """A note on comparisons whose wall time can't be used because the machine was too busy."""
    busy = [one for one in comparisons if one.undisturbed is False]
    if busy:
        cases = _some([f"{_pair(one)} {one.wall.speedup:.2f}" for one in busy])
        yield (
            "The machine was too busy to use wall time: other processes interrupt long runs and "
            f"spare short ones. Speedup by wall time: {cases}."
        )
    if any(one.threads != 1 for one in busy):
        yield (
            "On several threads, CPU time includes the time they wait for each other. Other "
            "processes change that time too, so no interval is given. --threads 1 avoids this."
        )


def disturbed_notes(comparisons: Sequence[Comparison]) -> Iterator[str]:
    """A note if the speedup of medians differs from the quoted one, that of the quickest runs."""
    quoted = [one for one in comparisons if one.undisturbed is not False]
    apart = [one for one in quoted if abs(one.of_medians / one.speedup - 1) > APART]
    if apart:
        cases = []
        for one in apart:
            speedups = f"{one.of_medians:.2f} by medians, {one.speedup:.2f} quoted"
            cases.append(f"{_pair(one)} {speedups}")
        yield (
            "Something disturbed the runs, and did not affect all networks equally. Quoted "
            "speedups use the quickest runs in the quietest blocks; medians over all runs differ: "
            f"{_some(cases)}."
        )


def precision_notes(precision: float, comparisons: Sequence[Comparison]) -> Iterator[str]:
    """A note on intervals that are wider than requested."""
    cases = []
    for one in comparisons:
        if one.low is None or one.high is None:
            continue
        if statistics.reach(one.speedup, one.low, one.high) > precision:
            cases.append(f"{_pair(one)} {one.low:.2f} to {one.high:.2f}")
    if cases and precision < 1:
        wide = _some(cases)
        limit = f"±{precision:.1%}"
        yield f"Intervals still wider than {limit} of their speedup after all blocks: {wide}."


def first_use_notes(lost: Sequence[Case]) -> Iterator[str]:
    """A note on cases whose first use was not measured."""
    if lost:
        cases = _some([f"{case.model}, batch {case.batch}" for case in lost])
        yield f"No figures for the first use, because its process failed or took too long: {cases}."


def gpu_notes(conditions: Conditions, gpu: Mapping[str, GpuState | None]) -> Iterator[str]:
    """Notes on a GPU's clocks, load and throttling."""
    if first_choice(conditions.provider) not in ON_GPU:
        return
    yield "GPU clocks were read, not locked."
    busy = (gpu.get("before") or {}).get("busy_percent")
    if isinstance(busy, float) and busy > GPU_BUSY:
        yield f"The GPU was busy before the first run: {busy:g} %."
    for when, state in gpu.items():
        if state and state.get("throttled_by"):
            reasons = ", ".join(map(str, _list(state["throttled_by"])))
            yield f"The GPU was throttled {WHEN[when]}: {reasons}."


def placement_notes(
    conditions: Conditions, traces: Sequence[TracedRun], subjects: Sequence[Subject]
) -> Iterator[str]:
    """Notes on nodes that did not run on the requested provider, per network and kind."""
    if first_choice(conditions.provider) == CPU:
        return
    for trace in {each.model: each for each in traces}.values():
        for what, names in (
            ("left to the CPU", trace.trace.on_cpu),
            ("copying between devices", trace.trace.memcpy),
        ):
            if names:
                yield f"{trace.model}: nodes {what}: {listed(names)}."
    counted = {each.model for each in traces}
    for subject in subjects:
        left = subject.settings.get(f"nodes.{CPU}")
        if left and subject.name not in counted:
            yield f"{subject.name}: {left} nodes run on the CPU."


def width_notes(
    comparisons: Sequence[Comparison], layers: Mapping[str, Sequence[Layer]], multiple: int
) -> Iterator[str]:
    """A hint for each network that realises less than 90 % of its FLOP reduction as speedup, if
    widths are not multiples of what kernels prefer.
    """
    slow: dict[str, list[Comparison]] = {}
    for one in comparisons:
        if one.runtime == one.against_runtime and (one.efficiency or 1) < PROMISED:
            slow.setdefault(one.model, []).append(one)
    for model, found in slow.items():
        inner = [layer for layer in layers.get(model, ()) if not layer.output]
        odd = [layer for layer in inner if layer.multiple < multiple]
        if not odd:
            continue
        worst = min(found, key=lambda one: one.efficiency or 1)
        efficiency = worst.efficiency or 1
        yield (
            f"{model}: {len(odd)} of {len(inner)} layers have a number of output channels that is "
            f"not a multiple of {multiple}, which kernels are optimised for here, and "
            f"{_case(worst)} realises {100 * efficiency:.0f} % of its FLOP reduction as speedup. "
            f"`slimmer prune … --round-to {multiple}` may be faster at the same budget, by up to "
            f"{1 / efficiency:.2f}x; `slimmer profile RUN ROUNDED_RUN` measures it."
        )


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else [value]


def _case(one: Case) -> str:
    words = [one.model]
    if one.runtime != DEFAULT:
        words = [f"{one.model} in {one.runtime}"]
    words.append(f"batch {one.batch}")
    if one.threads is not None:
        words.append(threads_told(one.threads))
    return ", ".join(words)


def _pair(one: Comparison) -> str:
    runtime = "" if one.against_runtime == one.runtime else f" in {one.against_runtime}"
    return f"{_case(one)}, against {one.against}{runtime},"


def _cases(found: Sequence[Case], every: Sequence[Case]) -> str:
    if len(found) == len(every) > 1:
        return "everywhere"
    return _some([_case(one) for one in found])


def _some(cases: Sequence[str]) -> str:
    return first_few(cases, _SHOWN, "; ")
