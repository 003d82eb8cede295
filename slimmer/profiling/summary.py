"""What recorded runs come to: the figures of a network, and how one compares with another."""

from collections.abc import Sequence
from dataclasses import asdict

import numpy as np

from slimmer.profiling import statistics
from slimmer.profiling.results import Case, Comparison, Ratio, Timing
from slimmer.profiling.statistics import Samples
from slimmer.profiling.timing import Recorded

AGREE = 0.10  # of speed-ups: so near wall time and CPU time are where nothing disturbs
WAITED = 0.05  # of the time of the runs: by more, threads that wait for a core bend both times
WALL, CPU = "wall time", "CPU time"


def timing(case: Case, recorded: Recorded, copies_ms: dict[str, float]) -> Timing:
    """The figures of one network's durations for one batch size."""
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
        cpu_median_ms=None if recorded.cpu is None else statistics.median_of_medians(recorded.cpu),
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
    """How the network of `case` compares with the one of `against`, both timed in the same blocks."""
    wall, cpu = ratio(reference.blocks, recorded.blocks, seed), None
    if reference.cpu is not None and recorded.cpu is not None:
        cpu = ratio(reference.cpu, recorded.cpu, seed)
    undisturbed = is_undisturbed(wall, cpu, case.threads, _most_waited(recorded, reference))
    quoted, by = to_quote(wall, cpu, case.threads, undisturbed=undisturbed)
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
        efficiency=None if promise is None else quoted.speedup / promise,
    )


def ratio(reference: Sequence[Samples], other: Sequence[Samples], seed: int) -> Ratio:
    """How many times faster `other` is than `reference`; without an interval where blocks are too
    few for one.
    """
    low, high = None, None
    if len(reference) >= statistics.FEW_BLOCKS:
        low, high = statistics.speedup_interval(reference, other, seed=seed)
    return Ratio(statistics.speedup(reference, other), low, high)


def is_undisturbed(
    wall: Ratio, cpu: Ratio | None, threads: int | None, waited: float | None
) -> bool | None:
    """Whether a wall time's speed-up is that of the networks alone; None where it is not known.

    On one thread it is where CPU time says nearly the same, since other work takes wall time and no
    CPU time. On several, threads that are kept from a core keep the others waiting, which takes CPU
    time too: both times may be bent alike. There `waited` tells, the share of the time that threads
    waited for a core; where the two times differ though none waited, the networks use their threads
    unequally well.

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
    return True if agree else None


def to_quote(
    wall: Ratio, cpu: Ratio | None, threads: int | None, *, undisturbed: bool | None
) -> tuple[Ratio, str]:
    """The ratio that a headline gives, and of which time it is.

    CPU time of several threads holds what they spend waiting for one another; a busy machine bends
    that too, so that no interval goes with it.
    """
    if undisturbed is not False or cpu is None:
        return wall, WALL
    return (cpu if threads == 1 else Ratio(cpu.speedup, None, None)), CPU


def _most_waited(one: Recorded, other: Recorded) -> float | None:
    if one.waited is None or other.waited is None:
        return None
    return max(one.waited, other.waited)
