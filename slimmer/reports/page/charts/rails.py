"""Rails: values as points on one common scale, each on a line of its own."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from slimmer.reports.page.charts.chart import Key, Tick
from slimmer.reports.page.charts.scale import round_scale


@dataclass(frozen=True)
class Reading:
    """A value with its label and text, an interval or None, another value to compare it with or
    None, and remarks. `style` is a CSS class of the point.
    """

    label: str
    text: str
    value: float
    interval: tuple[float, float] | None = None
    other: float | None = None
    change: str = ""
    worse: bool = False
    notes: str = ""
    style: str = "slim"


@dataclass(frozen=True)
class Placed:
    """A reading with its positions, in percent from the left."""

    reading: Reading
    at: float
    interval: tuple[float, float] | None
    other: float | None


@dataclass(frozen=True)
class Rails:
    """Readings on one scale; `base` is the position of the value that all are compared with."""

    title: str
    rows: tuple[Placed, ...]
    ticks: tuple[Tick, ...]
    base: float
    keys: tuple[Key, ...]

    @property
    def changes(self) -> bool:
        """Whether a reading has a change."""
        return any(row.reading.change for row in self.rows)


def rails(
    title: str,
    readings: Sequence[Reading],
    base: float,
    tick: Callable[[float], str],
    keys: Sequence[Key],
    most: float | None = None,
) -> Rails:
    """The readings on a scale of round numbers that contains `base` and ends at `most`."""
    values = [base]
    for each in readings:
        values += [each.value, *(each.interval or ())]
        if each.other is not None:
            values.append(each.other)
    scale = round_scale(values, most=most)
    rows = []
    for each in readings:
        interval = None
        if each.interval is not None:
            low, high = map(scale.at, each.interval)
            interval = low, round(high - low, 2)
        other = None if each.other is None else scale.at(each.other)
        rows.append(Placed(each, scale.at(each.value), interval, other))
    return Rails(title, tuple(rows), scale.ticks(tick), scale.at(base), tuple(keys))
