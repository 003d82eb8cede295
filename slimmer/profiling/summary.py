"""Summaries of recorded runs: the figures of one network, and the comparison of two."""

from collections.abc import Sequence
from dataclasses import asdict

import numpy as np

from slimmer.profiling import statistics
from slimmer.profiling.results import Case, Comparison, Ratio, Timing
from slimmer.profiling.statistics import Samples
from slimmer.profiling.timing import Recorded

AGREE = 0.10  # largest relative difference between undisturbed speedups by wall and by CPU time
WAITED = 0.05  # share of the time of the runs; threads that wait longer distort both times
WALL, CPU = "wall time", "CPU time"


def timing(case: Case, recorded: Recorded, copies_ms: dict[str, float]) -> Timing:
    """The figures of one network for one batch size."""
    samples = np.concatenate(recorded.blocks)
    median = statistics.median_of_medians(recorded.blocks)
    thirds = statistics.windows(samples)
    return Timing(
        **asdict(case),
        samples=len(samples),
        median_ms=median,
        block_medians_ms=tuple(float(np.median(block)) for block in recorded.blocks),
        p5_ms=statistics.percentile(samples, 5),
        p50_ms=statistics.percentile(samples, 50),
        p90_ms=statistics.percentile(samples, 90),
        p95_ms=statistics.percentile(samples, 95),
        p99_ms=statistics.p99(samples),
        mean_ms=float(samples.mean()),
        min_ms=float(samples.min()),
        max_ms=float(samples.max()),
        variation=statistics.variation(samples),
        windows_ms=thirds,
        drift=statistics.spread(thirds),
        drift_verdict=statistics.drift_verdict(thirds),
        images_per_s=1000 * case.batch / median,
        first_run_ms=recorded.first_run_ms,
        settled=recorded.settled,
        cpu_median_ms=_cpu_median(recorded),
        waited=recorded.waited,
        copies_ms=copies_ms,
    )


def compare(
    case: Case,
    against: Case,
    recorded: Recorded,
    reference: Recorded,
    *,
    promise: float | None,
    seed: int,
) -> Comparison:
    """The comparison of `case` with `against`, which were timed in the same blocks."""
    wall, cpu, efficiency = ratio(reference.blocks, recorded.blocks, seed), None, None
    if reference.cpu is not None and recorded.cpu is not None:
        cpu = ratio(reference.cpu, recorded.cpu, seed)
    undisturbed = is_undisturbed(wall, cpu, case.threads, _most_waited(recorded, reference))
    quoted, by = to_quote(wall, cpu, case.threads, undisturbed=undisturbed)
    if promise is not None:
        efficiency = quoted.speedup / promise
    return Comparison(
        **asdict(case),
        against=against.model,
        against_runtime=against.runtime,
        speedup=quoted.speedup,
        low=quoted.low,
        high=quoted.high,
        by=by,
        undisturbed=undisturbed,
        wall=wall,
        cpu=cpu,
        of_medians=statistics.speedup_of_medians(reference.blocks, recorded.blocks),
        verdict=statistics.speedup_verdict(quoted.low, quoted.high),
        promise=promise,
        efficiency=efficiency,
    )


def ratio(reference: Sequence[Samples], other: Sequence[Samples], seed: int) -> Ratio:
    """The speedup of `other` over `reference`, without an interval if there are too few blocks."""
    low, high = None, None
    if len(reference) >= statistics.FEW_BLOCKS:
        low, high = statistics.speedup_interval(reference, other, seed=seed)
    return Ratio(statistics.speedup(reference, other), low, high)


def is_undisturbed(
    wall: Ratio, cpu: Ratio | None, threads: int | None, waited: float | None
) -> bool | None:
    """Whether other processes left the speedup by wall time undisturbed; None if unknown.

    With one thread, it is undisturbed if CPU time gives nearly the same speedup, because other
    processes cost wall time but no CPU time. With several threads, a thread that has no core keeps
    the others waiting, which costs CPU time too, so both times may be distorted alike. In that case
    `waited` decides, the share of the time that threads waited for a core. If the two times differ
    although no thread waited, the networks use their threads to different degrees.

    >>> is_undisturbed(Ratio(30.1, 20.4, 35.8), Ratio(20.0, 19.9, 20.1), 1, None)
    False
    """
    if cpu is None:
        return None
    agree = max(wall.speedup / cpu.speedup, cpu.speedup / wall.speedup) <= 1 + AGREE
    if threads == 1:
        return agree
    if waited is None:
        return None if agree else False
    if waited > WAITED:
        return False
    return agree or None


def to_quote(
    wall: Ratio, cpu: Ratio | None, threads: int | None, *, undisturbed: bool | None
) -> tuple[Ratio, str]:
    """The ratio that a headline quotes, and the clock that measured it.

    The CPU time of several threads includes the time that they wait for each other. A busy machine
    changes that too, so such a ratio has no interval.
    """
    if undisturbed is not False or cpu is None:
        return wall, WALL
    if threads == 1:
        return cpu, CPU
    return Ratio(cpu.speedup, None, None), CPU


def _cpu_median(recorded: Recorded) -> float | None:
    return None if recorded.cpu is None else statistics.median_of_medians(recorded.cpu)


def _most_waited(one: Recorded, other: Recorded) -> float | None:
    if one.waited is None or other.waited is None:
        return None
    return max(one.waited, other.waited)
