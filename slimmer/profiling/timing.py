"""Runs timed in turns: every network in every block, so that what slows the machine slows them all."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from slimmer.errors import RecipeError
from slimmer.profiling.statistics import Samples

Run = Callable[[], None]
Clock = Callable[[], int]
Tell = Callable[[str], None]

# A session's threads go on spinning for some milliseconds after its last run, on the cores that the next one
# needs, and its weights have left the cache: each block starts with unrecorded runs for this long.
LEAD_IN_NS = 20_000_000
WARM_WINDOWS, WARM_LEAST = 10, 5  # fifths of a block
WARM_AGREE = 0.05


@dataclass(frozen=True)
class Effort:
    """How much is measured: a block lasts at least `seconds` and `runs` runs; `blocks` of them each."""

    seconds: float
    runs: int
    blocks: int

    def __post_init__(self) -> None:
        for name, least in (("seconds", 0), ("runs", 1), ("blocks", 1)):
            value = getattr(self, name)
            if not value >= least:
                raise RecipeError(f"profile {name}", str(value), f"{least} or more")


@dataclass(frozen=True)
class Recorded:
    """One network's durations in milliseconds: its first run, then block by block.

    `settled` says whether the warm-up ended because durations agreed, not because it was given up.
    """

    first_run_ms: float
    settled: bool
    blocks: tuple[Samples, ...]


def time_in_turns(
    names: Sequence[str], runs: Sequence[Run], effort: Effort, *, clock: Clock, tell: Tell
) -> list[Recorded]:
    """How long each of `runs` takes, recorded in turns.

    That is A B, B A, A B, and so on: the order changes from block to block, so that neither always follows
    the other. `clock` gives nanoseconds; `tell` hears of each step as it begins: a network's warm-up, or a
    block of it.
    """
    firsts, settled = [], []
    for name, run in zip(names, runs, strict=True):
        tell(f"{name}: warm-up")
        before = clock()
        run()
        firsts.append((clock() - before) / 1e6)
        settled.append(_warm_up(run, effort, clock))
    blocks: list[list[Samples]] = [[] for _ in runs]
    for block in range(effort.blocks):
        order = range(len(runs)) if block % 2 == 0 else reversed(range(len(runs)))
        for index in order:
            tell(f"{names[index]}: block {block + 1} of {effort.blocks}")
            until = clock() + LEAD_IN_NS
            runs[index]()
            while clock() < until:
                runs[index]()
            blocks[index].append(record(runs[index], effort.runs, effort.seconds, clock))
    return [
        Recorded(first, calm, tuple(recorded)) for first, calm, recorded in zip(firsts, settled, blocks, strict=True)
    ]


def record(run: Run, runs: int, seconds: float, clock: Clock) -> Samples:
    """Durations in milliseconds, back to back, of at least `runs` runs and `seconds`."""
    durations: list[int] = []
    start = before = clock()
    while len(durations) < runs or before - start < seconds * 1e9:
        run()
        after = clock()
        durations.append(after - before)
        before = after
    return np.array(durations, dtype=np.float64) / 1e6


def _warm_up(run: Run, effort: Effort, clock: Clock) -> bool:
    """Run for as long as a block lasts, and until three windows in a row have medians within 5 % of each other.

    False if ten windows have not agreed. The rule of Triton's perf_analyzer, which asks for 10 %. A window is a fifth
    of a block.
    """
    medians: list[float] = []
    for _ in range(WARM_WINDOWS):
        medians.append(float(np.median(record(run, max(2, effort.runs // 5), effort.seconds / 5, clock))))
        last = medians[-3:]
        if len(medians) >= WARM_LEAST and max(last) <= (1 + WARM_AGREE) * min(last):
            return True
    return False
