"""Line charts: values over time."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from statistics import fmean

from slimmer.reports.page.charts.chart import Chart, Key, Shape, Tick
from slimmer.reports.page.charts.scale import full_scale, round_scale

MOST = 300  # points of a line; more are averaged
MARKED = 60  # points; more are drawn without dots

Show = Callable[[float], str]


@dataclass(frozen=True)
class Line:
    """A line: a label, points from left to right, and a style."""

    label: str
    x: Sequence[float]
    y: Sequence[float]
    style: str = "slim"


@dataclass(frozen=True)
class Rule:
    """A horizontal or a vertical line at one value."""

    label: str
    value: float
    style: str = "limit"
    vertical: bool = False


@dataclass(frozen=True)
class Axis:
    """The label of an axis, how its values and its ticks are written, values that it must contain,
    and the largest value that its ticks may have.
    """

    label: str
    show: Show
    tick: Show
    contains: tuple[float, ...] = ()
    most: float | None = None


def line_chart(
    title: str,
    says: str,
    axes: tuple[Axis, Axis],
    lines: Sequence[Line],
    rules: Sequence[Rule] = (),
) -> Chart:
    """Lines over a common x axis. Points of several lines at one x share a stop and a row."""
    x, y = axes
    drawn = [thinned(line) for line in lines]
    across = full_scale([*chain.from_iterable(line.x for line in drawn), *x.contains])
    levels = [rule.value for rule in rules if not rule.vertical]
    heights = chain.from_iterable(line.y for line in drawn)
    up = round_scale([*heights, *levels, *y.contains], most=y.most)
    shapes = []
    for rule in rules:
        at = across.at(rule.value) if rule.vertical else 100 - up.at(rule.value)
        path = f"M{at} 0V100" if rule.vertical else f"M0 {at}H100"
        shapes.append(Shape(f"rule {rule.style}", path))
    for line in drawn:
        points = [
            f"{across.at(a):g} {100 - up.at(b):g}" for a, b in zip(line.x, line.y, strict=True)
        ]
        shapes.append(Shape(f"line {line.style}", f"M{'L'.join(points)}"))
        if len(points) <= MARKED:
            shapes.append(Shape(f"dots {line.style}", "".join(f"M{point}h0" for point in points)))
    rows = _rows(drawn)
    stops = [Tick(across.at(at), _said(x, y, at, values)) for at, values in rows.items()]
    cells = []
    for at, values in rows.items():
        found = [y.show(values[line.label]) if line.label in values else "" for line in drawn]
        cells.append((x.show(at), *found))
    return Chart(
        title=title,
        says=says,
        x_label=x.label,
        x_ticks=across.ticks(x.tick),
        y_ticks=up.ticks(y.tick),
        shapes=tuple(shapes),
        keys=(
            *(Key(f"line {line.style}", line.label) for line in drawn),
            *(Key(f"rule {rule.style}", rule.label) for rule in rules),
        ),
        stops=tuple(stops),
        heads=(x.label, *(line.label for line in drawn)),
        rows=tuple(cells),
    )


def thinned(line: Line, most: int = MOST) -> Line:
    """The line with at most about `most` points: the means of equal parts, and both ends.

    >>> thinned(Line("", [0, 1, 2, 3, 4, 5], [0, 1, 2, 3, 4, 5]), most=2).y
    [0, 2.0, 4.0, 5]
    """
    size = -(-len(line.x) // most)
    if size <= 1:
        return line
    xs, ys = [line.x[0]], [line.y[0]]
    for start in range(1, len(line.x) - 1, size):
        stop = min(start + size, len(line.x) - 1)
        xs.append(fmean(line.x[start:stop]))
        ys.append(fmean(line.y[start:stop]))
    return Line(line.label, [*xs, line.x[-1]], [*ys, line.y[-1]], line.style)


def _rows(lines: Sequence[Line]) -> dict[float, dict[str, float]]:
    """The values by x, then by line."""
    found: dict[float, dict[str, float]] = {}
    for line in lines:
        for at, value in zip(line.x, line.y, strict=True):
            found.setdefault(at, {})[line.label] = value
    return dict(sorted(found.items()))


def _said(x: Axis, y: Axis, at: float, values: dict[str, float]) -> str:
    figures = ", ".join(f"{label} {y.show(value)}" for label, value in values.items())
    return f"{x.label} {x.show(at)}: {figures}"
