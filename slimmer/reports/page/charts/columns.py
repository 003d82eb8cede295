"""Column charts: one column for each layer or bin, the slim network's in front of the dense."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, groupby

from slimmer.reports.page.charts.chart import Band, Chart, Key, Shape, Tick
from slimmer.reports.page.charts.scale import round_scale

FILLED = 0.84  # of the width of a column
PHONE, DESKTOP = 290, 850  # pixels: the width of a plot
LETTER, LETTERS = 6.5, 5  # pixels of a letter, and letters without which a label says nothing
COUNTED = 24  # columns; more have no room for numbers


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
    tick: Callable[[float], str] | None = None,
    x_ticks: tuple[Tick, ...] = (),
    mirrored: bool = False,
    beside: bool = False,
) -> Chart:
    """Columns named `names`, the later series in front of the earlier; `head` says what a column
    is, and `tick` writes the ticks of the y axis. Without `x_ticks`, the first parts of the names
    are written below the columns. With `mirrored`, columns grow from the middle up and down, as in
    drawings of networks. With `beside`, series stand next to each other instead.
    """
    up = round_scale([0.0, *chain.from_iterable(each.values for each in series)])
    width = 100 / len(names)
    share = FILLED / len(series) if beside else FILLED
    shapes = []
    for number, each in enumerate(series):
        left = width * (1 - FILLED) / 2
        if beside:
            left += width * share * number
        heights = [up.at(value) for value in each.values]
        path = _path(heights, left, width, width * share, mirrored=mirrored)
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
        x_ticks=x_ticks,
        y_ticks=() if mirrored else up.ticks(tick or show),
        shapes=tuple(shapes),
        keys=tuple(Key(f"bars {each.style}", each.label) for each in series),
        stops=tuple(stops),
        heads=(head, *(each.label for each in series)),
        rows=tuple(rows),
        bands=() if x_ticks else bands(names),
        counts=tuple(_counts(series, show)) if mirrored and len(names) <= COUNTED else (),
        mirrored=mirrored,
        grid=not mirrored,
    )


def _path(
    heights: Sequence[float], left: float, step: float, width: float, *, mirrored: bool
) -> str:
    """The outline of columns of one width, one every `step`, the first of them at `left`."""
    path = ""
    for place, height in enumerate(heights):
        if not height:
            continue
        bottom = 50 + height / 2 if mirrored else 100
        path += f"M{left + step * place:.3f} {bottom:.2f}h{width:.3f}v{-height:.2f}h{-width:.3f}z"
    return path


def _counts(series: Sequence[Columns], show: Callable[[float], str]) -> Iterator[tuple[str, str]]:
    """The values of the last and of the first series."""
    first, *_, last = [each.values for each in series]
    for before, now in zip(first, last, strict=True):
        yield show(now), "" if now == before else show(before)


def bands(names: Sequence[str]) -> tuple[Band, ...]:
    """Neighbouring names with the same first part, counted.

    >>> bands(["conv1", "layer1.0.conv1", "layer1.0.conv2"])
    (Band(span=1, text='conv1', room=''), Band(span=2, text='layer1', room=''))
    """
    found = []
    for text, same in groupby(name.partition(".")[0] for name in names):
        span = len(list(same))
        found.append(Band(span, text, _room(span / len(names), text)))
    return tuple(found)


def _room(share: float, text: str) -> str:
    """How little room a label has in this share of the plot's width: not for its first letters."""
    needed = min(len(text), LETTERS) * LETTER
    if share * DESKTOP < needed:
        return "tiny"
    return "narrow" if share * PHONE < needed else ""
