"""Scatter charts: accuracy against a cost, with the points that no other point beats."""

from collections.abc import Sequence
from dataclasses import dataclass

from slimmer.reports.page.charts.chart import Tick
from slimmer.reports.page.charts.lines import Axis
from slimmer.reports.page.charts.scale import Scale, round_scale


@dataclass(frozen=True)
class Point:
    """A point: the number of its row, its values, and its text."""

    row: int
    x: float
    y: float
    text: str


@dataclass(frozen=True)
class PlacedPoint:
    """A point with its position in percent, and whether it lies on the Pareto front."""

    row: int
    x: float
    y: float
    text: str
    best: bool


@dataclass(frozen=True)
class Scatter:
    """A scatter chart; `front` is the SVG path of the Pareto front, `level` the position of the
    dense network's accuracy or None, and `up` is True if higher values are better.
    """

    title: str
    x_label: str
    y_label: str
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    points: tuple[PlacedPoint, ...]
    front: str
    level: float | None
    up: bool

    @property
    def gutter(self) -> int:
        """The width that the labels on the left need, in characters."""
        return max(len(tick.text) for tick in self.y_ticks)


def scatter(
    title: str,
    axes: tuple[Axis, Axis],
    points: Sequence[Point],
    *,
    up: bool,
    level: float | None = None,
) -> Scatter:
    """The points on round scales. Smaller x is better; `up` says whether larger y is.

    `level` is the y of the dense network, which is drawn as a line.
    """
    x, y = axes
    across = round_scale([*(point.x for point in points), *x.contains], most=x.most)
    levels = [] if level is None else [level]
    along = round_scale([*(point.y for point in points), *levels], most=y.most)
    best = pareto([(point.x, point.y) for point in points], up=up)
    placed = []
    for place, point in enumerate(points):
        on_front = place in best
        placed.append(
            PlacedPoint(point.row, across.at(point.x), along.at(point.y), point.text, best=on_front)
        )
    return Scatter(
        title=title,
        x_label=x.label,
        y_label=y.label,
        x_ticks=across.ticks(x.tick),
        y_ticks=along.ticks(y.tick),
        points=tuple(placed),
        front=_front([placed[place] for place in best]),
        level=_at(along, level),
        up=up,
    )


def pareto(points: Sequence[tuple[float, float]], *, up: bool) -> list[int]:
    """The places of the points that no other point beats, by x.

    A point beats another if its x is not larger and its y is not worse, and one of them is better.

    >>> pareto([(1, 5), (2, 4), (3, 7)], up=True), pareto([(1, 5), (2, 4), (3, 7)], up=False)
    ([0, 2], [0, 1])
    """
    sign = 1 if up else -1
    order = sorted(
        range(len(points)), key=lambda place: (points[place][0], -sign * points[place][1])
    )
    best: list[int] = []
    for place in order:
        x, y = points[place]
        if best:
            last_x, last_y = points[best[-1]]
            if sign * y <= sign * last_y and (x, y) != (last_x, last_y):
                continue
        best.append(place)
    return best


def _front(points: Sequence[PlacedPoint]) -> str:
    """A staircase through the points of the front: up to each point only at its x."""
    path = ""
    for point in points:
        path += f"H{point.x}V{100 - point.y:g}" if path else f"M{point.x} {100 - point.y:g}"
    return path


def _at(scale: Scale, value: float | None) -> float | None:
    return None if value is None else scale.at(value)
