"""Runs timed in turns: every network in every block, so that what slows the machine slows them all."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from slimmer.errors import RecipeError
from slimmer.profiling.clocks import Clock, Clocks
from slimmer.profiling.statistics import FEW_BLOCKS, Samples

Run = Callable[[], None]

# A session's threads go on spinning for some milliseconds after its last run, on the cores that the
# next one needs, and its weights have left the cache: each turn starts with unrecorded runs for
# this long, one at least. A run that takes two seconds hardly feels it, and would be doubled by
# another one.
LEAD_IN_NS = 20_000_000
LONG_RUN_NS = 2_000_000_000
TURN_NS, TURN_RUNS = 100_000_000, 2  # how long a turn is
WARM_WINDOWS, WARM_LEAST = 10, 5  # fifths of a block
WARM_AGREE = 0.05
MOST = 4  # times the blocks that are asked for, at most


class Tell(Protocol):
    """What hears of progress."""

    def __call__(self, step: str, steps: int = 1) -> None:
        """Hear of a step as it begins, and how many it is of those that were announced."""


@dataclass(frozen=True)
class Effort:
    """How much is measured: in each of `blocks`, of every network, at least `seconds` and `runs`
    runs.

    Blocks are added, up to four times as many, until every interval lies within `precision` of its
    speed-up, to either side; from 1 on none are.
    """

    seconds: float
    runs: int
    blocks: int
    precision: float = 1.0

    def __post_init__(self) -> None:
        for name, least in (("seconds", 0), ("runs", 1), ("blocks", 1)):
            value = getattr(self, name)
            if not value >= least:
                raise RecipeError(f"profile {name}", str(value), f"{least} or more")
        if not self.precision > 0:
            raise RecipeError("profile precision", str(self.precision), "more than 0")


@dataclass(frozen=True)
class Recorded:
    """One network's durations in milliseconds: its first run, then block by block.

    `cpu` are the same runs' CPU times, None where they say nothing. `waited` is how long threads
    waited for a core, over the time of the turns; None where that is not known. `settled` says
    whether the warm-up ended because durations agreed, not because it was given up.
    """

    first_run_ms: float
    settled: bool
    blocks: tuple[Samples, ...]
    cpu: tuple[Samples, ...] | None = None
    waited: float | None = None


Precise = Callable[[Sequence[Recorded]], bool]


@dataclass
class _Taken:
    """What a network's runs have taken so far, in nanoseconds; a class because it grows turn by
    turn.
    """

    wall: list[int] = field(default_factory=list)
    cpu: list[int] = field(default_factory=list)
    turns: int = 0
    waited: int | None = 0


def time_in_turns(
    names: Sequence[str],
    runs: Sequence[Run],
    effort: Effort,
    *,
    clocks: Clocks,
    tell: Tell,
    precise: Precise,
) -> list[Recorded]:
    """How long each of `runs` takes, recorded in short turns, block by block, until what is
    recorded is `precise`.

    That is A B, B A, A B, and so on until each has its time in the block: the order changes, so
    that neither always follows the other. `tell` hears of each step as it begins: a network's
    warm-up, or a block, those that precision wants not counted. None are added where all of them
    would be too few for an interval.
    """
    firsts, settled, lengths = [], [], []
    for name, run in zip(names, runs, strict=True):
        tell(f"{name}: warm-up")
        before = clocks.wall()
        run()
        firsts.append((clocks.wall() - before) / 1e6)
        agreed, length = _warm_up(run, effort, clocks.wall)
        settled.append(agreed)
        lengths.append(length)
    blocks: list[list[_Taken]] = [[] for _ in runs]
    most = MOST * effort.blocks
    if most < FEW_BLOCKS:
        most = effort.blocks
    for number in range(most):
        asked = number < effort.blocks
        if not asked and precise(list(map(_recorded, firsts, settled, blocks))):
            break
        told = effort.blocks if asked else f"at most {most}: the interval is still wide"
        others = f" and {len(names) - 1} more" if len(names) > 1 else ""
        tell(f"{names[0]}{others}: block {number + 1} of {told}", int(asked))
        taken = _block(runs, lengths, effort, clocks, backwards=number % 2 == 1)
        for mine, latest in zip(blocks, taken, strict=True):
            mine.append(latest)
    return list(map(_recorded, firsts, settled, blocks))


def _recorded(first_run_ms: float, settled: bool, blocks: Sequence[_Taken]) -> Recorded:
    """One network's blocks, put together."""
    cpu, waited = None, None
    if all(block.cpu for block in blocks):
        cpu = tuple(_milliseconds(block.cpu) for block in blocks)
    known = [block.waited for block in blocks if block.waited is not None]
    turns = sum(block.turns for block in blocks)
    if len(known) == len(blocks) and turns:
        waited = sum(known) / turns
    return Recorded(
        first_run_ms, settled, tuple(_milliseconds(block.wall) for block in blocks), cpu, waited
    )


def _block(
    runs: Sequence[Run],
    lengths: Sequence[float],
    effort: Effort,
    clocks: Clocks,
    *,
    backwards: bool,
) -> list[_Taken]:
    """What each of `runs`, whose usual `lengths` in milliseconds are known, takes in a block of
    turns.
    """
    taken = [_Taken() for _ in runs]
    lacking = list(range(len(runs)))
    if backwards:
        lacking.reverse()
    while lacking:
        left = []
        for index in lacking:
            usual, length = lengths[index] * 1e6, 0.0
            if usual < LONG_RUN_NS:
                _lead_in(runs[index], clocks.wall)
                length = max(TURN_NS, TURN_RUNS * usual)
            if not _watched_turn(runs[index], taken[index], effort, length, clocks):
                left.append(index)
        lacking = left[::-1]
    return taken


def _watched_turn(run: Run, taken: _Taken, effort: Effort, length: float, clocks: Clocks) -> bool:
    """As `_turn`, and how long threads waited for a core meanwhile."""
    before, start = clocks.waited(), clocks.wall()
    enough = _turn(run, taken, effort.runs, effort.seconds, length, clocks)
    taken.turns += clocks.wall() - start
    after = clocks.waited()
    if taken.waited is None or before is None or after is None:
        taken.waited = None
    else:
        taken.waited += max(0, after - before)  # a thread that has ended takes its time along
    return enough


def _lead_in(run: Run, clock: Clock) -> None:
    until = clock() + LEAD_IN_NS
    run()
    while clock() < until:
        run()


def _turn(
    run: Run, taken: _Taken, runs: int, seconds: float, length: float, clocks: Clocks
) -> bool:
    """Add runs, back to back, for `length` nanoseconds or until there are enough of them; one at
    least.

    Enough are at least `runs` that last at least `seconds` together; whether that is so now.
    """
    missing = seconds * 1e9 - sum(taken.wall)
    start, computed = clocks.wall(), 0
    while True:
        # Reading the CPU's clock is a call of the system's, which the wall's time must not hold.
        if clocks.cpu is not None:
            computed = clocks.cpu()
        before = clocks.wall()
        run()
        after = clocks.wall()
        if clocks.cpu is not None:
            taken.cpu.append(clocks.cpu() - computed)
        taken.wall.append(after - before)
        spent = after - start
        enough = spent >= missing and len(taken.wall) >= runs
        if enough or spent >= length:
            return enough


def _milliseconds(durations: Sequence[int]) -> Samples:
    return np.array(durations, dtype=np.float64) / 1e6


def record(run: Run, runs: int, seconds: float, clock: Clock) -> Samples:
    """Durations in milliseconds, back to back, of at least `runs` runs and `seconds`."""
    taken = _Taken()
    _turn(run, taken, runs, seconds, math.inf, Clocks(clock))
    return _milliseconds(taken.wall)


def _warm_up(run: Run, effort: Effort, clock: Clock) -> tuple[bool, float]:
    """Run for as long as a block lasts, and until three windows in a row have medians within 5 % of
    each other.

    Whether they did, which is False if ten windows have not agreed; and the last median in
    milliseconds. The rule of Triton's perf_analyzer, which asks for 10 %. A window is a fifth of a
    block.
    """
    medians: list[float] = []
    for _ in range(WARM_WINDOWS):
        medians.append(
            float(np.median(record(run, max(1, effort.runs // 5), effort.seconds / 5, clock)))
        )
        last = medians[-3:]
        if len(medians) >= WARM_LEAST and max(last) <= (1 + WARM_AGREE) * min(last):
            return True, medians[-1]
    return False, medians[-1]
