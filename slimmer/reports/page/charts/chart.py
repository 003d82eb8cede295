"""What a template needs to draw a chart. Positions are percentages of the plot, from the left and
from the bottom.
"""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Tick:
    """A label on an axis."""

    at: float
    text: str


@dataclass(frozen=True)
class Shape:
    """An SVG path in a square of 100 by 100, and its style: the name of a CSS class."""

    style: str
    path: str
    opacity: float = 1.0


@dataclass(frozen=True)
class Key:
    """An entry of the legend."""

    style: str
    text: str


@dataclass(frozen=True)
class Band:
    """A label below the plot for `span` neighbouring columns.

    `room` is "tiny" if the columns are too narrow for it, "narrow" if they are on a phone.
    """

    span: int
    text: str
    room: str = ""


@dataclass(frozen=True)
class Chart:
    """A chart.

    Attributes:
        title: what is shown.
        says: the main result in a sentence, for readers who do not see the chart.
        x_label: the quantity on the x axis.
        x_ticks: the labels below the plot.
        y_ticks: the labels to the left of it; each but those of rows has a grid line.
        shapes: what is drawn, from back to front.
        keys: the legend.
        stops: positions from the left, each with the values there, for hover and arrow keys.
        heads: the heads of the table of values.
        rows: its cells.
        bands: labels of neighbouring columns, instead of ticks.
        ends: labels to the right of rows.
        height: of the plot, in pixels.
        counts: two numbers below each column, for a chart of few columns.
        mirrored: whether columns grow from the middle in both directions.
        grid: whether the ticks of the y axis have lines.
    """

    title: str
    says: str
    x_label: str
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    shapes: tuple[Shape, ...]
    keys: tuple[Key, ...]
    stops: tuple[Tick, ...]
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    bands: tuple[Band, ...] = ()
    ends: tuple[Tick, ...] = field(default=())
    counts: tuple[tuple[str, str], ...] = ()
    height: int = 220
    mirrored: bool = False
    grid: bool = True

    @property
    def gutter(self) -> int:
        """The width that the labels on the left need, in characters."""
        return min(16, max((len(tick.text) for tick in self.y_ticks), default=0))
