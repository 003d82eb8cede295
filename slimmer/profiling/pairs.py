"""Which of the timed networks are compared with each other, and the comparisons."""

from collections.abc import Mapping, Sequence

from slimmer.profiling.results import Case, Comparison, Subject
from slimmer.profiling.statistics import reach
from slimmer.profiling.summary import compare
from slimmer.profiling.timing import Recorded


def with_the_first(cases: int, networks: int) -> list[tuple[int, int]]:
    """Pairs of cases: each network with the first one in its runtime, then each network with itself
    in the first runtime.

    Cases are numbered runtime by runtime, `networks` per runtime.
    """
    within = [(index, index - index % networks) for index in range(cases) if index % networks]
    return within + [(index, index % networks) for index in range(networks, cases)]


def with_the_second(cases: int, networks: int) -> list[tuple[int, int]]:
    """Pairs of cases: each network after the second with the second one in its runtime.

    For example, a slim network with rounded widths and one without.
    """
    return [(index, index - index % networks + 1) for index in range(cases) if index % networks > 1]


def precise(
    cases: Sequence[Case],
    pairs: Sequence[tuple[int, int]],
    precision: float,
    seed: int,
    recorded: Sequence[Recorded],
) -> bool:
    """Whether the interval of every pair's quoted speedup is within ±`precision` of it.

    A pair that can never have an interval counts as precise.
    """

    def near(index: int, other: int) -> bool:
        one = compare(
            cases[index], cases[other], recorded[index], recorded[other], promise=None, seed=seed
        )
        if one.low is None or one.high is None:
            return one.wall.low is not None
        return reach(one.speedup, one.low, one.high) <= precision

    return precision >= 1 or all(near(*pair) for pair in pairs)


def compared_at(
    cases: Sequence[Case],
    recorded: Sequence[Recorded],
    subjects: Mapping[tuple[str, str], Subject],
    seed: int,
    index: int,
    other: int,
) -> Comparison:
    """The case at `index` compared with the `other` case, including the reduction in FLOPs."""
    here, there = cases[index], cases[other]
    subject = subjects[here.model, here.runtime]
    reference = subjects[there.model, there.runtime]
    promise = None
    comparable = here.model != there.model and subject.precision == reference.precision
    if comparable and subject.flops and reference.flops:
        promise = reference.flops / subject.flops
    return compare(here, there, recorded[index], recorded[other], promise=promise, seed=seed)
