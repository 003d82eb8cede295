"""Which of the networks that were timed in turns are held against each other, and how they compare."""

from collections.abc import Mapping, Sequence

from slimmer.profiling.results import Case, Comparison, Subject
from slimmer.profiling.statistics import reach
from slimmer.profiling.summary import compare
from slimmer.profiling.timing import Recorded


def with_the_first(cases: int, networks: int) -> list[tuple[int, int]]:
    """Each network and the first one of its runtime, then each and itself in the first runtime."""
    within = [(index, index - index % networks) for index in range(cases) if index % networks]
    return within + [(index, index % networks) for index in range(networks, cases)]


def with_the_second(cases: int, networks: int) -> list[tuple[int, int]]:
    """Each network behind the second and the second one of its runtime: a rounded one and one that
    is not, say.
    """
    return [(index, index - index % networks + 1) for index in range(cases) if index % networks > 1]


def precise(
    cases: Sequence[Case],
    pairs: Sequence[tuple[int, int]],
    precision: float,
    seed: int,
    recorded: Sequence[Recorded],
) -> bool:
    """Whether each pair's interval, of the speed-up to quote, lies within `precision` of it, to
    either side.

    A pair that will have no interval, however many blocks there are, is not waited for.
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
    """The case at `index` against the `other` one, with what their FLOPs promise."""
    here, there = cases[index], cases[other]
    subject, reference = (subjects[case.model, case.runtime] for case in (here, there))
    alike = here.model != there.model and subject.precision == reference.precision
    promise = (
        reference.flops / subject.flops if alike and subject.flops and reference.flops else None
    )
    return compare(here, there, recorded[index], recorded[other], promise=promise, seed=seed)
