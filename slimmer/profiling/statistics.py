"""Statistics of measured durations: percentiles, drift, and a speedup with its interval."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from scipy import special

Samples = np.ndarray[Any, np.dtype[np.float64]]

P99_NEEDS = 1000  # with fewer samples, the 99th percentile depends on fewer than ten runs
STEADY, DRIFTING = 0.03, 0.10
NOISY = 0.025  # the coefficient of variation above which a figure is called noisy
RESAMPLES = 4000
# Consecutive blocks are more alike than bootstrap draws of them. In recorded series, the nominal
# 95 % bootstrap interval covered the true value 69 to 100 times in 100; the nominal 99 % interval
# 91 to 100 times, 98 on average (benchmarks/README.md, Latency).
NOMINAL = 0.99
QUIET = 5  # the percentile of a block's runs that other processes have hardly slowed down
QUIETEST = 4  # one block in this many, those with the shortest runs, determines the speedup
# Of fewer blocks, even the lowest and the highest ratio enclose the median less than 95 times in
# 100.
FEW_BLOCKS = 6


def percentile(samples: Samples, share: float) -> float:
    """The percentile `share` (0 to 100) of the samples, with linear interpolation.

    >>> percentile(np.array([1.0, 2.0, 3.0]), 50)
    2.0
    """
    return float(np.percentile(samples, share))


def p99(samples: Samples) -> float | None:
    """The 99th percentile, or None with fewer than 1000 samples."""
    return percentile(samples, 99) if len(samples) >= P99_NEEDS else None


def median_of_medians(blocks: Sequence[Samples]) -> float:
    """The median of the blocks' medians, which is robust against one disturbed block.

    >>> median_of_medians([np.array([1.0, 1.0]), np.array([9.0, 9.0]), np.array([1.2, 1.2])])
    1.2
    """
    return float(np.median([np.median(block) for block in blocks]))


def variation(samples: Samples) -> float:
    """The coefficient of variation: standard deviation over mean."""
    return float(samples.std() / samples.mean())


def spread(medians: Sequence[float]) -> float:
    """The largest median over the smallest, minus 1.

    >>> spread([2.0, 3.0, 2.5])
    0.5
    """
    return max(medians) / min(medians) - 1


def windows(samples: Samples) -> tuple[float, ...]:
    """The medians of the first, middle and last third of the samples; one median if there are fewer
    than three samples.

    >>> windows(np.array([1.0, 1.0, 1.3, 1.3, 1.5, 1.5]))
    (1.0, 1.3, 1.5)
    """
    parts = np.array_split(samples, 3) if len(samples) >= 3 else [samples]
    return tuple(float(np.median(part)) for part in parts)


def drift_verdict(medians: Sequence[float]) -> str:
    """The drift of the windows' medians: "steady" up to 3 %, "slight drift", "drifting" from 10 %.

    >>> drift_verdict([1.0, 1.2, 1.0]), drift_verdict([1.0])
    ('drifting', 'not known')
    """
    if len(medians) < 3:
        return "not known"
    change = spread(medians)
    if change <= STEADY:
        return "steady"
    return "slight drift" if change < DRIFTING else "drifting"


def speedup(reference: Sequence[Samples], other: Sequence[Samples]) -> float:
    """The speedup of `other` over `reference`, without the influence of other processes.

    It is the median, over the quietest quarter of the blocks, of the ratio of the blocks' 5th
    percentiles. Other processes make runs longer, never shorter, and not by the same factor for
    every network, so the quick runs of quiet blocks are reproducible. The quietest blocks are those
    with the smallest product of both networks' percentiles. Both networks were timed in the same
    blocks. Within a block, the same number of runs of each network counts, because the 5th
    percentile of fewer runs is higher; the network with more runs contributes evenly spaced ones.

    >>> speedup([np.array([2.0]), np.array([20.0])], [np.array([1.0]), np.array([13.0])])
    2.0

    Source: Chen and Revels, Robust benchmarking in noisy environments, 2016 (arXiv:1608.04295), who
    use the single quickest run.
    """
    quick = np.array([_quick(*pair) for pair in _as_many_of_each(reference, other)])
    return float(_of_the_quietest(quick[None, :, 0], quick[None, :, 1])[0])


def speedup_of_medians(reference: Sequence[Samples], other: Sequence[Samples]) -> float:
    """The median over blocks of the ratio of medians, disturbed runs included.

    >>> speedup_of_medians([np.array([2.0]), np.array([20.0])], [np.array([1.0]), np.array([10.0])])
    2.0
    """
    pairs = zip(reference, other, strict=True)
    return float(np.median([np.median(before) / np.median(after) for before, after in pairs]))


def _quick(before: Samples, after: Samples) -> tuple[float, float]:
    return percentile(before, QUIET), percentile(after, QUIET)


def _as_many_of_each(
    reference: Sequence[Samples], other: Sequence[Samples]
) -> Iterator[tuple[Samples, Samples]]:
    """The runs of both networks, block by block, reduced to the same number."""
    for before, after in zip(reference, other, strict=True):
        runs = min(len(before), len(after))
        yield _evenly(before, runs), _evenly(after, runs)


def _evenly(samples: Samples, number: int) -> Samples:
    return samples[np.linspace(0, len(samples) - 1, number).round().astype(np.int64)]


def _of_the_quietest(reference: Samples, other: Samples) -> Samples:
    """The speedup of each row of blocks' 5th percentiles."""
    quietest = -(-reference.shape[1] // QUIETEST)
    chosen = np.argsort(reference * other, axis=1, kind="stable")[:, :quietest]
    ratios: Samples = np.median(np.take_along_axis(reference / other, chosen, axis=1), axis=1)
    return ratios


def speedup_interval(
    reference: Sequence[Samples], other: Sequence[Samples], *, seed: int, share: float = NOMINAL
) -> tuple[float, float]:
    """The bootstrap interval at level `share`, which covers the true speedup 95 times in 100.

    The bootstrap has two levels. Blocks are drawn with replacement, for both networks together;
    then samples within each block, for each network separately (a block drawn twice has its samples
    drawn twice). The interval is the middle of the 4000 draws' speedups that `tail_of` leaves. It
    is a deterministic function of the arguments, including the seed.

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
    """The tail that the bootstrap interval cuts off at each end, to cover the true value with
    probability `share`.

    Draws from a few blocks vary less than the blocks themselves: with the plain 2.5 %, intervals
    from 5 blocks are a third too narrow. The corrected tail is that of the normal distribution
    beyond sqrt(n / (n - 1)) times the quantile of Student's t with n - 1 degrees of freedom. One
    block gives no information about others, so its tail is not corrected.

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
    """The percentiles `share` of `times` bootstrap samples, each of the size of `samples`.

    Drawing thousands of samples would take seconds, so the order statistics are drawn directly. A
    draw with replacement is `sorted[floor(n U)]` for n uniform U, which preserves their order.
    Its k-th smallest entry therefore comes from the k-th smallest U, which has the distribution
    Beta(k, n - k + 1), and the next one from the smallest of the n - k uniforms above it. A
    percentile lies between two entries, so these two are enough.
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
    """The indices of `uniforms` in `size` sorted samples; a uniform may be rounded to 1.0."""
    return np.minimum((uniforms * size).astype(np.int64), size - 1)


def reach(speedup: float, low: float, high: float) -> float:
    """The distance from a speedup to the farther end of its interval, relative to the speedup.

    >>> reach(2.0, 1.5, 2.25)
    0.25
    """
    return max(high - speedup, speedup - low) / speedup


def speedup_verdict(low: float | None, high: float | None) -> str:
    """The verdict of a speedup's interval: "faster", "slower", or neither if it contains 1.

    >>> speedup_verdict(0.98, 1.03), speedup_verdict(None, None)
    ('no measurable difference', 'no interval')
    """
    if low is None or high is None:
        return "no interval"
    if low > 1:
        return "faster"
    return "slower" if high < 1 else "no measurable difference"
