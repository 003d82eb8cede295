"""Scales: from values to positions, with round ticks."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from slimmer.reports.page.charts.chart import Tick

DIGITS = 2  # of a position in percent: a hundredth is a tenth of a pixel
SMALL = 1e-300  # a twentieth of less would be rounded to 0
TICKS = 5


@dataclass(frozen=True)
class Scale:
    """A linear scale from `low` to `high`, and the values of its ticks."""

    low: float
    high: float
    values: tuple[float, ...]

    def at(self, value: float) -> float:
        """The position of a value, 0 to 100.

        >>> Scale(0, 50, ()).at(20)
        40.0
        """
        return round(100 * (value - self.low) / (self.high - self.low), DIGITS)

    def ticks(self, show: Callable[[float], str]) -> tuple[Tick, ...]:
        """The ticks, labelled by `show`."""
        return tuple(Tick(self.at(value), show(value)) for value in self.values)


def round_scale(values: Iterable[float], *, most: float | None = None) -> Scale:
    """A scale of round numbers that covers `values`; it does not go beyond `most`.

    >>> round_scale([0.2, 9.1]).values
    (0.0, 2.0, 4.0, 6.0, 8.0, 10.0)
    """
    _, high, found = _extent(values)
    if most is not None and high <= most < found[-1]:
        found = [*(each for each in found if each < most), most]
    return Scale(found[0], found[-1], tuple(found))


def full_scale(values: Iterable[float]) -> Scale:
    """A scale that ends exactly at the smallest and the largest value, with round ticks between.

    >>> full_scale([0, 8.5]).values
    (0.0, 2.0, 4.0, 6.0, 8.0)
    """
    low, high, found = _extent(values)
    return Scale(low, high, tuple(each for each in found if low <= each <= high))


def _extent(values: Iterable[float]) -> tuple[float, float, Sequence[float]]:
    """The smallest and the largest value, made different, and round numbers around them."""
    from matplotlib.ticker import MaxNLocator  # noqa: PLC0415 - importing it takes a while

    given = list(values)
    low, high = min(given), max(given)
    if low == high:
        beside = max(abs(low or 1) / 20, SMALL)
        low, high = low - beside, high + beside
    locator = MaxNLocator(nbins=TICKS, steps=[1, 2, 2.5, 5, 10])
    # Twelve digits: 0.6, not 0.6000000000000001.
    ticks = sorted({float(f"{each:.12g}") for each in locator.tick_values(low, high)})
    if ticks[0] >= ticks[-1]:  # values so small that matplotlib takes them for 0
        ticks = [low, high]
    return low, high, ticks
