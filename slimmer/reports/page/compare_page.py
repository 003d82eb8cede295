"""The HTML page of a comparison: accuracy against every cost and latency, and a table of rows."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain
from pathlib import Path, PurePath
from typing import Any
from urllib.parse import quote

from slimmer.atomic_files import read_bytes, write_text
from slimmer.errors import RunError
from slimmer.recipe.costs import costs_in
from slimmer.reports.comparison_columns import Column, columns
from slimmer.reports.comparison_table import legend, title
from slimmer.reports.metric_text import MetricText, metric_of
from slimmer.reports.page.charts.lines import Axis
from slimmer.reports.page.charts.scatter import Point, Scatter, scatter
from slimmer.reports.page.metric import axis, shown
from slimmer.reports.page.render import render
from slimmer.reports.page.words import milliseconds, percent, round_percent
from slimmer.runs.directory import Run

MARK = b'<meta name="generator" content="slimmer">'  # in every page of slimmer
HEAD = 4096  # bytes in which the mark stands
STYLES = 6  # of methods
LONGEST = 100 << 20  # bytes of a file that may be a page

Row = Mapping[str, Any]
Find = Callable[[Row], float | None]


def write_compare_page(path: Path, comparison: Mapping[str, Any]) -> Path:
    """Write a comparison from `slimmer.compare` to an HTML file, and return its path.

    Rows link to the pages of their runs, relative to the file. Raise RunError if `path` is a
    directory or a file that slimmer did not write.
    """
    _check_place(path)
    write_text(path, compare_page(comparison, path.parent))
    return path


def compare_page(comparison: Mapping[str, Any], folder: Path) -> str:
    """The HTML of a comparison's page, for a file in `folder`."""
    rows = comparison["rows"]
    metric = metric_of(rows[0])
    marks = _marks(comparison)
    charts = list(_charts(comparison, metric))
    shown = _columns(comparison)
    links = [_links(row, folder) for row in rows]
    fronts = []
    for chart in charts:
        fronts += [point.row for point in chart.points if point.best]
    return render(
        "compare.html",
        title=f"{comparison['arch'] or 'module'}: {len(rows)} rows compared",
        name=PurePath(comparison["arch"] or "module").name,
        comparison=comparison,
        said=title(comparison),
        metric=metric,
        charts=charts,
        marks=marks,
        keys=dict(zip((row["method"] for row in rows), marks, strict=True)),
        links=links,
        opens=[_opens(number, found) for number, found in enumerate(links)],
        unlinked=None in [link["address"] for link in chain.from_iterable(links)],
        heads=[" ".join(each.head) for each in shown],
        cells=list(zip(*(each.cells for each in shown), strict=True)),
        fronts=set(fronts),
        legend=legend(comparison),
        carried=comparison,
        more_script="compare.js",
    )


def _columns(comparison: Mapping[str, Any]) -> list[Column]:
    """The columns of the comparison, without what is removed of a cost: that is 100 % minus what is
    left.
    """
    removed = {(kind.short_head, "removed %") for kind in costs_in(*comparison["rows"])}
    return [each for each in columns(comparison) if each.head not in removed]


def _marks(comparison: Mapping[str, Any]) -> list[str]:
    """A CSS class for each row: rows of one method share it."""
    numbers: dict[str, int] = {}
    for row in comparison["rows"]:
        numbers.setdefault(row["method"], len(numbers) % STYLES)
    return [f"m{numbers[row['method']]}" for row in comparison["rows"]]


def _charts(comparison: Mapping[str, Any], metric: MetricText) -> Iterator[Scatter]:
    """The metric against what remains of every cost, and against every latency."""
    rows = comparison["rows"]
    y = axis(metric)
    for kind in costs_in(*rows):
        x = Axis(f"{kind.label} left", percent, round_percent)
        yield from _chart(comparison, metric, (x, y), partial(_left, cost=kind.name))
    places: dict[str, None] = {}
    for row in rows:
        places |= dict.fromkeys(row["profiled"])
    for where in places:
        x = Axis(f"latency (ms), {where}", milliseconds, "{:g}".format)
        yield from _chart(comparison, metric, (x, y), partial(_slim_ms, place=where))


def _left(row: Row, cost: str) -> float | None:
    return row[cost]["ratio"]["mean"] if cost in row else None


def _slim_ms(row: Row, place: str) -> float | None:
    return row["profiled"][place]["slim_ms"]["mean"] if place in row["profiled"] else None


def _chart(
    comparison: Mapping[str, Any], metric: MetricText, axes: tuple[Axis, Axis], find: Find
) -> Iterator[Scatter]:
    """One chart, unless no row has both values."""
    points, dense = [], []
    for number, row in enumerate(comparison["rows"]):
        x, accuracy = find(row), row["accuracy"]
        if x is None or accuracy is None:
            continue
        y = accuracy["slim"]["mean"]
        text = (
            f"{row['method']}: {axes[0].show(x)} {axes[0].label}, {shown(metric, y)} {metric.name}"
        )
        points.append(Point(number, x, y, text))
        if accuracy["dense"] is not None:
            dense.append(accuracy["dense"]["mean"])
    if points:
        level = sum(dense) / len(dense) if dense else None
        name = f"{metric.name} against {axes[0].label}"
        yield scatter(name, axes, points, up=metric.higher_is_better, level=level)


def _links(row: Row, folder: Path) -> list[dict[str, str | None]]:
    """The runs of a row by name, with the address of the page of each, None if it has no page."""
    found: list[dict[str, str | None]] = []
    for run in row["runs"]:
        page, address = Run(Path(run)).page, None
        if page.is_file():
            relative = PurePath(os.path.relpath(page.resolve(), folder.resolve())).as_posix()
            address = f"./{quote(relative)}"
        found.append({"run": run, "name": PurePath(run).name or run, "address": address})
    return found


def _opens(number: int, links: Sequence[Mapping[str, str | None]]) -> str:
    """What a click on the point of a row opens: the first run that has a page, else the row."""
    addresses = [link["address"] for link in links if link["address"]]
    return addresses[0] if addresses else f"#row-{number}"


def _check_place(path: Path) -> None:
    """Raise RunError if a page would replace something that is not a page of slimmer."""
    if not path.exists():
        return
    if not path.is_file():
        raise RunError(str(path), "is not a file", "the name of an HTML file")
    if MARK not in read_bytes(path, LONGEST)[:HEAD]:
        found = "exists, and is not a page that slimmer wrote"
        raise RunError(str(path), found, "choose another file with --html")
