"""What samples of a duration say: percentiles, drift, and a speed-up with its interval."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from scipy import special

Samples = np.ndarray[Any, np.dtype[np.float64]]

P99_NEEDS = 1000  # of fewer samples the 99th percentile is one of the ten slowest runs, or none
STEADY, DRIFTING = 0.03, 0.10
NOISY = 0.025  # the coefficient of variation above which a figure is called noisy
RESAMPLES = 4000
# Blocks that follow one another are alike, more than draws of them are: of recorded series the
# bootstrap's 95 % held the truth 69 to 100 times in 100, its 99 % 91 to 100 times and 98 on the
# average (benchmarks/README.md, Latency).
NOMINAL = 0.99
QUIET = 5  # percent of a block's runs, which nothing else on the machine has made longer
QUIETEST = 4  # one block of so many, those with the shortest runs, speaks for the speed-up
FEW_BLOCKS = (
    6  # the lowest and the highest ratio of fewer hold the median less than 95 times in 100
)


def percentile(samples: Samples, share: float) -> float:
    """The value that `share` (0 to 100) percent of the samples do not exceed, linear between two.

    >>> percentile(np.array([1.0, 2.0, 3.0]), 50)
    2.0
    """
    return float(np.percentile(samples, share))


def p99(samples: Samples) -> float | None:
    """The 99th percentile, or None where there are fewer than 1000 samples to find it in."""
    return percentile(samples, 99) if len(samples) >= P99_NEEDS else None


def median_of_medians(blocks: Sequence[Samples]) -> float:
    """The median of the blocks' medians, which one disturbed block does not move.

    >>> median_of_medians([np.array([1.0, 1.0]), np.array([9.0, 9.0]), np.array([1.2, 1.2])])
    1.2
    """
    return float(np.median([np.median(block) for block in blocks]))


def variation(samples: Samples) -> float:
    """The coefficient of variation: standard deviation over mean."""
    return float(samples.std() / samples.mean())


def spread(medians: Sequence[float]) -> float:
    """By how much the highest is above the lowest (0.1 is 10 %).

    >>> spread([2.0, 3.0, 2.5])
    0.5
    """
    return max(medians) / min(medians) - 1


def windows(samples: Samples) -> tuple[float, ...]:
    """The medians of the first, the middle and the last third of the samples; one median below
    three samples.

    >>> windows(np.array([1.0, 1.0, 1.3, 1.3, 1.5, 1.5]))
    (1.0, 1.3, 1.5)
    """
    parts = np.array_split(samples, 3) if len(samples) >= 3 else [samples]
    return tuple(float(np.median(part)) for part in parts)


def drift_verdict(medians: Sequence[float]) -> str:
    """What the spread of the windows' medians means: "steady" up to 3 %, "drifting" from 10 %,
    "slight drift" between.

    >>> drift_verdict([1.0, 1.2, 1.0]), drift_verdict([1.0])
    ('drifting', 'not known')
    """
    if len(medians) < 3:
        return "not known"
    change = spread(medians)
    return "steady" if change <= STEADY else "slight drift" if change < DRIFTING else "drifting"


def speedup(reference: Sequence[Samples], other: Sequence[Samples]) -> float:
    """How many times faster `other` is than `reference` where nothing disturbs them.

    That is the median, over the quietest quarter of the blocks, of the ratio of the blocks' 5th
    percentiles. Other work makes runs longer, never shorter, and not every network by the same
    factor: what the quick runs of a quiet block say is said again the next time. Which blocks are
    quiet both networks decide together, by the product of their percentiles. Both were timed in the
    same blocks, and of a block as many runs of each count, since of fewer runs a 5th percentile
    lies higher up: of the network with more runs some that are evenly spaced, which lie beside the
    other's.

    >>> speedup([np.array([2.0]), np.array([20.0])], [np.array([1.0]), np.array([13.0])])
    2.0

    Source: Chen and Revels, Robust benchmarking in noisy environments, 2016 (arXiv:1608.04295), who
    take the single quickest run.
    """
    pairs = _as_many_of_each(reference, other)
    quick = np.array(
        [[percentile(before, QUIET), percentile(after, QUIET)] for before, after in pairs]
    )
    return float(_of_the_quietest(quick[None, :, 0], quick[None, :, 1])[0])


def speedup_of_medians(reference: Sequence[Samples], other: Sequence[Samples]) -> float:
    """The median over blocks of the ratio of medians: disturbed runs and all.

    >>> speedup_of_medians([np.array([2.0]), np.array([20.0])], [np.array([1.0]), np.array([10.0])])
    2.0
    """
    pairs = zip(reference, other, strict=True)
    return float(np.median([np.median(before) / np.median(after) for before, after in pairs]))


def _as_many_of_each(
    reference: Sequence[Samples], other: Sequence[Samples]
) -> Iterator[tuple[Samples, Samples]]:
    for before, after in zip(reference, other, strict=True):
        runs = min(len(before), len(after))
        yield _evenly(before, runs), _evenly(after, runs)


def _evenly(samples: Samples, number: int) -> Samples:
    return samples[np.linspace(0, len(samples) - 1, number).round().astype(np.int64)]


def _of_the_quietest(reference: Samples, other: Samples) -> Samples:
    """`speedup` of each row of blocks' 5th percentiles."""
    quietest = -(-reference.shape[1] // QUIETEST)
    chosen = np.argsort(reference * other, axis=1, kind="stable")[:, :quietest]
    ratios: Samples = np.median(np.take_along_axis(reference / other, chosen, axis=1), axis=1)
    return ratios


def speedup_interval(
    reference: Sequence[Samples], other: Sequence[Samples], *, seed: int, share: float = NOMINAL
) -> tuple[float, float]:
    """The interval that holds the true speed-up 95 times in 100, which is the bootstrap's of
    `share`.

    The bootstrap's two levels: blocks are drawn with replacement, both networks' together; then
    samples within each, each network's alone (a block drawn twice has its samples drawn twice).
    `speedup` of each of 4000 draws; of these the middle that `tail_of` leaves. A function of its
    arguments, the seed among them.

    Source: Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapters 8 and 13.
    """
    draw = np.random.default_rng(seed)
    blocks = len(reference)
    chosen = draw.integers(blocks, size=(RESAMPLES, blocks))
    quick = np.empty((2, *chosen.shape))
    for block, (before, after) in enumerate(_as_many_of_each(reference, other)):
        here = chosen == block
        times = int(here.sum())
        quick[0, here] = _resampled(before, QUIET, times, draw)
        quick[1, here] = _resampled(after, QUIET, times, draw)
    tail = 100 * tail_of(blocks, share)
    low, high = np.percentile(_of_the_quietest(*quick), [tail, 100 - tail])
    return float(low), float(high)


def tail_of(blocks: int, share: float = NOMINAL) -> float:
    """What the bootstrap's interval leaves out at each end, so that it holds the truth `share` of
    the times.

    Draws from a few blocks vary less than blocks do: the plain 2.5 % make intervals of 5 blocks a
    third too narrow. The expanded tail is the normal's beyond sqrt(n / (n - 1)) times Student's
    quantile for n - 1 degrees of freedom. One block says nothing of others; its tail is the plain
    one.

    >>> round(tail_of(11), 4), round(tail_of(1000), 4), tail_of(1)
    (0.0004, 0.0049, 0.005)

    Source: Hesterberg, What Teachers Should Know About the Bootstrap, The American Statistician 69
    (2015).
    """
    tail = (1 - share) / 2
    if blocks == 1:
        return round(tail, 12)
    reach = float(np.sqrt(blocks / (blocks - 1)) * special.stdtrit(blocks - 1, 1 - tail))
    return float(special.ndtr(-reach))


def _resampled(samples: Samples, share: float, times: int, draw: np.random.Generator) -> Samples:
    """The percentiles of `times` samples drawn with replacement, each as many as `samples`.

    Nothing is really drawn, which for thousands of samples would take seconds. A draw with
    replacement is `sorted[floor(n U)]` for n uniform U, and this keeps their order, so its k-th
    smallest entry comes from the k-th smallest U, which is Beta(k, n - k + 1) distributed; the next
    one is the smallest of the n - k uniforms left above it. Two entries are enough for a
    percentile, which lies between them.
    """
    ordered, size = np.sort(samples), len(samples)
    whole, between = divmod(share / 100 * (size - 1), 1)
    lower = int(whole) + 1
    first = draw.beta(lower, size - lower + 1, times)
    found: Samples = ordered[_places(first, size)]
    if between:
        second = first + (1 - first) * draw.beta(1, size - lower, times)
        found = (1 - between) * found + between * ordered[_places(second, size)]
    return found


def _places(uniforms: Samples, size: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Where in `size` sorted samples these uniforms point; rounding may give 1.0, one past the end."""
    return np.minimum((uniforms * size).astype(np.int64), size - 1)


def reach(speedup: float, low: float, high: float) -> float:
    """How far an interval goes from its speed-up, to the farther side, as a share of the speed-up.

    >>> reach(2.0, 1.5, 2.25)
    0.25
    """
    return max(high - speedup, speedup - low) / speedup


def speedup_verdict(low: float | None, high: float | None) -> str:
    """What an interval of a speed-up means: "faster", "slower" or, where it spans 1, neither.

    >>> speedup_verdict(0.98, 1.03), speedup_verdict(None, None)
    ('no measurable difference', 'no interval')
    """
    if low is None or high is None:
        return "no interval"
    return "faster" if low > 1 else "slower" if high < 1 else "no measurable difference"
