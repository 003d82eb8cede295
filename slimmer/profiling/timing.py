"""Alternating timing: every block contains runs of every network, so a slow spell affects all."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from slimmer.errors import RecipeError, first_few
from slimmer.profiling.clocks import Clock, Clocks
from slimmer.profiling.statistics import FEW_BLOCKS, Samples
from slimmer.profiling.turns import LONG_TURNS, WARM_LEAST, Turns

Run = Callable[[], None]

TURN_RUNS = 2  # runs in a turn at least
WARM_WINDOWS = 10  # most windows of the warm-up, each a fifth of a block
WARM_AGREE, WARM_ALIKE = 0.05, 3  # consecutive windows, and how much they may differ
MOST = 4  # blocks are added up to this many times the requested number


class Tell(Protocol):
    """A callback for progress."""

    def __call__(self, step: str, steps: int = 1) -> None:
        """Receive the name of a step that begins, and how many of the announced steps it is."""


@dataclass(frozen=True)
class Effort:
    """How much is measured: in each of `blocks`, every network runs for at least `seconds` and at
    least `runs` times.

    Blocks are added, up to four times as many, until every interval is within ±`precision` of its
    speedup. A `precision` of 1 or more turns this off.
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
    """One network's durations in milliseconds: its first run, then the runs of each block.

    `cpu` are the CPU times of the same runs; None if CPU time does not measure the network.
    `waited` is how long threads waited for a core, as a share of the time of the turns; None if
    unknown. `settled` is True if the warm-up ended because run times agreed.
    """

    first_run_ms: float
    settled: bool
    blocks: tuple[Samples, ...]
    cpu: tuple[Samples, ...] | None = None
    waited: float | None = None


Precise = Callable[[Sequence[Recorded]], bool]


@dataclass
class _Taken:
    """A network's durations in a block so far, in nanoseconds; mutable, because turns add to it."""

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
    turns: Turns = LONG_TURNS,
) -> list[Recorded]:
    """The durations of each of `runs`, recorded in short turns, block by block, until `precise`.

    The order alternates (A B, B A, A B, …) until each has its time in the block, so that no network
    always follows the same other one. `tell` is called when a step begins: a network's warm-up or a
    block; blocks that are added for precision do not count as steps. No blocks are added if even
    all of them would be too few for an interval.
    """
    firsts, settled, lengths = [], [], []
    for name, run in zip(names, runs, strict=True):
        tell(f"{name}: warm-up")
        before = clocks.wall()
        run()
        firsts.append((clocks.wall() - before) / 1e6)
        least = WARM_LEAST if 1e6 * firsts[-1] < turns.long_run_ns else turns.long_warm_up
        agreed, length = _warm_up(run, effort, clocks.wall, least)
        settled.append(agreed)
        lengths.append(length)
    blocks: list[list[_Taken]] = [[] for _ in runs]
    most = MOST * effort.blocks
    if most < FEW_BLOCKS:
        most = effort.blocks
    shown = first_few(names, 1)
    for number in range(most):
        asked = number < effort.blocks
        if not asked and precise(list(map(_recorded, firsts, settled, blocks))):
            break
        limit = str(effort.blocks)
        if not asked:
            limit = f"at most {most}: the interval is still wide"
        tell(f"{shown}: block {number + 1} of {limit}", int(asked))
        taken = _block(runs, lengths, effort, clocks, turns, backwards=number % 2 == 1)
        for mine, latest in zip(blocks, taken, strict=True):
            mine.append(latest)
    return list(map(_recorded, firsts, settled, blocks))


def _recorded(first_run_ms: float, settled: bool, blocks: Sequence[_Taken]) -> Recorded:
    """One network's durations from all blocks."""
    wall = tuple(_milliseconds(block.wall) for block in blocks)
    cpu, waited = None, None
    if all(block.cpu for block in blocks):
        cpu = tuple(_milliseconds(block.cpu) for block in blocks)
    known = [block.waited for block in blocks if block.waited is not None]
    turns = sum(block.turns for block in blocks)
    if len(known) == len(blocks) and turns:
        waited = sum(known) / turns
    return Recorded(first_run_ms, settled, wall, cpu, waited)


def _block(
    runs: Sequence[Run],
    lengths: Sequence[float],
    effort: Effort,
    clocks: Clocks,
    turns: Turns,
    *,
    backwards: bool,
) -> list[_Taken]:
    """The durations of each of `runs` in one block; `lengths` are their usual milliseconds."""
    taken = [_Taken() for _ in runs]
    lacking = list(range(len(runs)))
    if backwards:
        lacking.reverse()
    while lacking:
        left = []
        for index in lacking:
            usual, length = lengths[index] * 1e6, 0.0
            if usual < turns.long_run_ns:
                _lead_in(runs[index], clocks.wall, turns.lead_in_ns)
                length = max(turns.turn_ns, TURN_RUNS * usual)
            if not _watched_turn(runs[index], taken[index], effort, length, clocks):
                left.append(index)
        lacking = left[::-1]
    return taken


def _watched_turn(run: Run, taken: _Taken, effort: Effort, length: float, clocks: Clocks) -> bool:
    """Run `_turn`, and add how long threads waited for a core during it."""
    before, start = clocks.waited(), clocks.wall()
    enough = _turn(run, taken, effort.runs, effort.seconds, length, clocks)
    taken.turns += clocks.wall() - start
    after = clocks.waited()
    if taken.waited is None or before is None or after is None:
        taken.waited = None
    else:
        taken.waited += max(0, after - before)  # the time of a thread that has ended is lost
    return enough


def _lead_in(run: Run, clock: Clock, length: int) -> None:
    until = clock() + length
    run()
    while clock() < until:
        run()


def _turn(
    run: Run, taken: _Taken, runs: int, seconds: float, length: float, clocks: Clocks
) -> bool:
    """Add runs, back to back, for `length` nanoseconds or until there are enough, at least one.

    Enough are at least `runs` runs with a total of at least `seconds`. Return whether there are.
    """
    missing = seconds * 1e9 - sum(taken.wall)
    start, computed = clocks.wall(), 0
    while True:
        # Reading the CPU clock is a system call, which wall time must not include.
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
    """The durations in milliseconds of at least `runs` runs in at least `seconds`, back to back."""
    taken = _Taken()
    _turn(run, taken, runs, seconds, math.inf, Clocks(clock))
    return _milliseconds(taken.wall)


def _warm_up(run: Run, effort: Effort, clock: Clock, least: int) -> tuple[bool, float]:
    """Run for at least `least` windows, and until three consecutive ones have medians within 5 %.

    Return whether they agreed, which is False after ten windows, and the last median in
    milliseconds. A window is a fifth of a block. This is the rule of Triton's perf_analyzer, which
    allows 10 %.
    """
    medians: list[float] = []
    runs, seconds = max(1, effort.runs // 5), effort.seconds / 5
    for _ in range(WARM_WINDOWS):
        medians.append(float(np.median(record(run, runs, seconds, clock))))
        last = medians[-WARM_ALIKE:]
        if len(medians) >= least and max(last) <= (1 + WARM_AGREE) * min(last):
            return True, medians[-1]
    return False, medians[-1]
