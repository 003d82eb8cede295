"""The latency of networks relative to the dense one, timed in turns. Imports no torch."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from slimmer.errors import RuntimeUnavailableError
from slimmer.latency.means import Means, Node
from slimmer.profiling import statistics
from slimmer.profiling.runtimes import Array
from slimmer.profiling.runtimes.providers import CPU, first_choice
from slimmer.profiling.statistics import Samples
from slimmer.profiling.timing import Effort, Recorded, Run, time_in_turns
from slimmer.profiling.turns import LONG_TURNS, Turns
from slimmer.recipe.latency_section import TimingSection

TELLABLE = 0.03  # of the latency: a machine on which this can't be told apart is refused
LONG_MS = 20  # runs that long are measured fewer times: their relative error is smaller
# Of one thread. At a load of 5, the ratio of two networks over 12 blocks spread by 6 % with these
# turns, and by 13 % with longer ones. In 120 turns of ResNet-50 (77 ms) and of networks of 40 and
# 14 ms, the first runs of turns were as quick as the next (5th percentiles: 0.4 % apart at most).
SHORT_TURNS = Turns(
    turn_ns=10_000_000, lead_in_ns=1_000_000, long_run_ns=LONG_MS * 1_000_000, long_warm_up=3
)
EVERY = 6
PRECISE = 0.01  # blocks are added until the interval is this narrow, up to four times as many


@dataclass(frozen=True)
class Taken:
    """The latency of a network: milliseconds, and relative to the dense network with its 95 %
    interval, from the same blocks.
    """

    ms: float
    ratio: float
    low: float
    high: float

    @property
    def reach(self) -> float:
        """The distance from the ratio to the farther end of its interval, relative to the ratio."""
        return max(self.high - self.ratio, self.ratio - self.low) / self.ratio


Enough = Callable[[Taken], bool]
"""Whether a latency is known well enough, however wide its interval is."""


def never(_: Taken) -> bool:
    """Whether a latency is known well enough: only once its interval is narrow."""
    return False


def images_of(shape: Sequence[int], batch: int) -> Array:
    """Standard normal images (batch, *shape), float32."""
    return np.random.default_rng(0).standard_normal((batch, *shape), dtype=np.float32)


def quick_effort(dense_ms: float) -> Effort:
    """How much each of many networks is measured for a fit, which averages over them."""
    if dense_ms > 1000:
        return Effort(seconds=0.0, runs=1, blocks=3)
    if dense_ms > LONG_MS:
        return Effort(seconds=0.03, runs=2, blocks=4)
    return Effort(seconds=0.03, runs=2, blocks=6)


def careful_effort(dense_ms: float) -> Effort:
    """How much one network is measured, for a promise."""
    if dense_ms > 1000:
        return Effort(seconds=0.0, runs=1, blocks=statistics.FEW_BLOCKS, precision=2 * PRECISE)
    if dense_ms > LONG_MS:
        return Effort(seconds=0.1, runs=2, blocks=8, precision=PRECISE)
    return Effort(seconds=0.15, runs=4, blocks=6, precision=PRECISE)


def patient_effort(dense_ms: float) -> Effort:
    """How much one network is measured, once other work has disturbed a careful measurement."""
    if dense_ms > 1000:
        return Effort(seconds=0.0, runs=1, blocks=12, precision=TELLABLE)
    if dense_ms > LONG_MS:
        return Effort(seconds=0.1, runs=3, blocks=24, precision=0.8 * TELLABLE)
    return Effort(seconds=0.2, runs=4, blocks=24, precision=0.8 * TELLABLE)


def time_files(
    files: Sequence[Path],
    images: Array,
    setting: TimingSection,
    means: Means,
    effort: Effort,
    enough: Enough = never,
) -> list[Taken]:
    """The latency of every ONNX file but the first, and of the first, in the files' order.

    The first file is the dense network, of which the others are ratios. With one thread on the
    CPU, latency is CPU time, to which other processes hardly add; otherwise it is wall time.
    There are intervals if the `effort` has a precision; blocks are added until each is that narrow
    or `enough` is known of its network.
    """
    with ExitStack() as stack:
        runs = []
        for path in files:
            session = means.open(path)
            stack.callback(session.close)
            runs.append(session.prepare(images))
        recorded = time_in_turns(
            [path.stem for path in files],
            runs,
            effort,
            clocks=means.clocks,
            tell=_untold,
            precise=partial(_precise, effort.precision, setting, enough),
            turns=SHORT_TURNS if setting.threads == 1 else LONG_TURNS,
        )
    dense = blocks_of(recorded[0], setting)
    asked = effort.precision < 1
    return [taken(dense, blocks_of(each, setting), interval=asked) for each in recorded]


def _untold(step: str, steps: int = 1) -> None:
    """Tell nobody."""


def dense_ms(path: Path, images: Array, means: Means) -> float:
    """About how long the network at `path` takes, in milliseconds: the quicker of two runs."""
    session = means.open(path)
    try:
        return _usual_ms(session.prepare(images), means)
    finally:
        session.close()


def blocks_of(recorded: Recorded, setting: TimingSection) -> tuple[Samples, ...]:
    """The durations that count in a setting: CPU time of one thread, wall time of several."""
    if setting.threads == 1 and recorded.cpu is not None:
        return recorded.cpu
    return recorded.blocks


def taken(dense: Sequence[Samples], other: Sequence[Samples], *, interval: bool = True) -> Taken:
    """The latency of `other`, which was timed in the same blocks as `dense`. The interval is
    infinite if there are too few blocks, or if it is not asked for.

    >>> blocks = [np.array([2.0, 2.0])] * 6
    >>> found = taken(blocks, [each / 4 for each in blocks])
    >>> found.ms, found.ratio, found.low, found.high
    (0.5, 0.25, 0.25, 0.25)
    """
    ratio = 1 / statistics.speedup(dense, other)
    low, high = 0.0, np.inf
    if interval and len(dense) >= statistics.FEW_BLOCKS:
        slow, fast = statistics.speedup_interval(dense, other, seed=0)
        low, high = 1 / fast, 1 / slow
    return Taken(quiet_ms(other), ratio, low, high)


def quiet_ms(blocks: Sequence[Samples]) -> float:
    """The median 5th percentile of the quietest quarter of the blocks.

    >>> quiet_ms([np.array([3.0]), np.array([1.0]), np.array([2.0])])
    1.0
    """
    quick = sorted(statistics.percentile(block, statistics.QUIET) for block in blocks)
    return float(np.median(quick[: -(-len(quick) // statistics.QUIETEST)]))


def node_times(files: Sequence[Path], images: Array, means: Means) -> Iterator[tuple[Node, ...]]:
    """The nodes of each file with their times."""
    for path in files:
        yield means.nodes(path, images)


def check_tellable(found: Taken, means: Means, setting: TimingSection) -> None:
    """Raise RuntimeUnavailableError if the machine is too noisy to tell 3 % of a latency."""
    if found.reach <= TELLABLE:
        return
    load = means.machine().get("load")
    said = (
        f"{found.ms:.4g} ms, {found.ratio:.1%} of dense, measured as {found.low:.1%} to "
        f"{found.high:.1%} of dense: other work on this machine (load {load}) hides differences "
        f"below {found.reach:.1%}, and a budget needs {TELLABLE:.0%}"
    )
    right = "stop other work"
    if setting.threads != 1 and first_choice(setting.provider) == CPU:
        right += ", or measure one thread (--threads 1), for which CPU time counts"
    raise RuntimeUnavailableError("budget.latency", said, f"{right}; or give --flops instead")


def _precise(
    precision: float, setting: TimingSection, enough: Enough, recorded: Sequence[Recorded]
) -> bool:
    """Whether the interval of every network is within ±`precision` of its ratio, or `enough` is
    known of it. Intervals take as long as a block, so only every sixth number of blocks is looked
    at.
    """
    dense = blocks_of(recorded[0], setting)
    if len(dense) % EVERY:
        return False
    ratios = [taken(dense, blocks_of(each, setting)) for each in recorded[1:]]
    return precision >= 1 or all(each.reach <= precision or enough(each) for each in ratios)


def _usual_ms(run: Run, means: Means) -> float:
    durations = []
    for _ in range(2):
        began = means.clocks.wall()
        run()
        durations.append((means.clocks.wall() - began) / 1e6)
    return min(durations)
