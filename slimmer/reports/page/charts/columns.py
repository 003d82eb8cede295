"""Column charts: one column for each layer or bin, the slim network's in front of the dense."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby

from slimmer.reports.page.charts.chart import Band, Chart, Key, Shape, Tick
from slimmer.reports.page.charts.scale import round_scale

FILLED = 0.84  # of the width of a column


@dataclass(frozen=True)
class Columns:
    """The columns of one network: a label, a value for each column, and a style."""

    label: str
    values: Sequence[float]
    style: str


def column_chart(
    title: str,
    says: str,
    names: Sequence[str],
    series: Sequence[Columns],
    show: Callable[[float], str],
    *,
    head: str,
    mirrored: bool = False,
) -> Chart:
    """Columns named `names`, the later series in front of the earlier; `head` says what a column
    is. With `mirrored`, columns grow from the middle up and down, as in drawings of networks.
    """
    up = round_scale([0.0, *(value for each in series for value in each.values)])
    width = 100 / len(names)
    shapes = []
    for each in series:
        path = ""
        for place, value in enumerate(each.values):
            height = up.at(value)
            bottom = 50 + height / 2 if mirrored else 100
            left = width * (place + (1 - FILLED) / 2)
            path += f"M{left:.3f} {bottom:.2f}h{width * FILLED:.3f}v{-height:.2f}h"
            path += f"{-width * FILLED:.3f}z"
        shapes.append(Shape(f"bars {each.style}", path))
    stops, rows = [], []
    for place, name in enumerate(names):
        shown = [show(each.values[place]) for each in series]
        figures = ", ".join(
            f"{each.label} {text}" for each, text in zip(series, shown, strict=True)
        )
        stops.append(Tick(round(width * (place + 0.5), 2), f"{name}: {figures}"))
        rows.append((name, *shown))
    return Chart(
        title=title,
        says=says,
        x_label=head,
        x_ticks=(),
        y_ticks=() if mirrored else up.ticks(show),
        shapes=tuple(shapes),
        keys=tuple(Key(f"bars {each.style}", each.label) for each in series),
        stops=tuple(stops),
        heads=(head, *(each.label for each in series)),
        rows=tuple(rows),
        bands=bands(names),
        mirrored=mirrored,
        grid=not mirrored,
    )


def bands(names: Sequence[str]) -> tuple[Band, ...]:
    """Neighbouring names with the same first part, counted.

    >>> bands(["conv1", "layer1.0.conv1", "layer1.0.conv2"])
    (Band(span=1, text='conv1'), Band(span=2, text='layer1'))
    """
    firsts = [name.partition(".")[0] for name in names]
    return tuple(Band(len(list(same)), text) for text, same in groupby(firsts))
