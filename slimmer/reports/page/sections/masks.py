"""Trained masks: their values, and sparsity over time, in all and by channel group."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from slimmer.reports.figures.series import Event, mask_moments, sparsity
from slimmer.reports.page.charts.chart import Chart, Shape, Tick
from slimmer.reports.page.charts.columns import Columns, column_chart
from slimmer.reports.page.charts.lines import Axis, Line, Rule, line_chart
from slimmer.reports.page.run_files import RunFiles
from slimmer.reports.page.section import Section
from slimmer.reports.page.sections.training import epochs_axis, removal_rule
from slimmer.reports.page.words import percent, round_percent

STYLES = ("slim", "second", "third", "fourth")
MOMENTS, CELLS = 60, 6000  # columns and cells of the map of channel groups
LEVELS = 16  # of its shading
ROW = 18  # pixels


def view(files: RunFiles) -> Mapping[str, Any] | None:
    """The charts; None if no masks were trained."""
    charts = [histogram(files), over_time(files), by_group(files)]
    found = [chart for chart in charts if chart is not None]
    return {"charts": found} if found else None


def histogram(files: RunFiles) -> Chart | None:
    """The values of the masks at the end of mask training, and at its beginning."""
    moments = mask_moments(files.events, earlier=1)
    if not moments:
        return None
    last = moments[-1]
    number, bins = sum(last["histogram"]), len(last["histogram"])
    if not number:
        return None
    dead = 1 - sum(last["widths"]) / number
    series = []
    for event, style in zip(moments[::-1], ("slim", "outline"), strict=False):
        when = "at the end" if event is last else "at the start"
        series.append(Columns(when, [each / number for each in event["histogram"]], style))
    return column_chart(
        "Values of the masks",
        f"{percent(dead)} of {number:,} channels have a mask of exactly 0 at the end of mask "
        "training.",
        [f"{place / bins:.2f} to {(place + 1) / bins:.2f}" for place in range(bins)],
        series,
        percent,
        head="mask",
        tick=round_percent,
        x_ticks=tuple(Tick(100 * value, f"{value:g}") for value in (0, 0.25, 0.5, 0.75, 1)),
    )


def over_time(files: RunFiles) -> Chart | None:
    """The sparsity of every cost under the masks and after removal, with the budgets."""
    lines, rules, said = [], [], []
    for number, kind in enumerate(files.costs):
        found = sparsity(files.events, kind.name)
        if not found.epochs:
            continue
        style = STYLES[number % len(STYLES)]
        lines.append(Line(kind.label, found.epochs, found.values, style))
        said.append(f"{kind.label} {percent(found.values[-1])}")
        limit = files.report[kind.name]["limit_ratio"]
        if limit is not None:
            rules.append(Rule(f"{kind.label}: target {percent(1 - limit)}", 1 - limit, style))
    if not lines:
        return None
    return line_chart(
        "Sparsity over time",
        f"Removed in the end: {', '.join(said)}.",
        (epochs_axis(files), Axis("sparsity", percent, round_percent, (0.0,), most=1.0)),
        lines,
        [*rules, *removal_rule(files)],
    )


def by_group(files: RunFiles) -> Chart | None:
    """A map: the share of channels whose mask is 0, by channel group and over time."""
    groups = files.report["groups"]
    events = _recorded(files.events, len(groups))
    if not groups or not events:
        return None
    events = _evenly(events, max(2, min(MOMENTS, CELLS // len(groups))))
    sizes = [group["dense"] for group in groups]
    shares = []
    for event in events:
        pairs = zip(event["widths"], sizes, strict=True)
        shares.append([1 - width / size for width, size in pairs])
    names = [Tick(100 - 100 * (row + 0.5) / len(groups), g["name"]) for row, g in enumerate(groups)]
    ends = [Tick(name.at, percent(share, 0)) for name, share in zip(names, shares[-1], strict=True)]
    most = max(range(len(groups)), key=lambda row: shares[-1][row])
    epochs = [f"{event['epoch']:.2g}" for event in events]
    stops = []
    for place, event in enumerate(events):
        at = round(100 * (place + 0.5) / len(events), 2)
        removed = percent(1 - sum(event["widths"]) / sum(sizes))
        stops.append(Tick(at, f"epoch {epochs[place]}: {removed} of all channels"))
    said = "No mask is 0 at the end."
    if shares[-1][most]:
        named = f"{groups[most]['name']}, {percent(shares[-1][most])}"
        said = f"The stronger the colour, the more channels; most at the end: {named}."
    first, last = [percent(each) for each in shares[0]], [percent(each) for each in shares[-1]]
    rows = zip([group["name"] for group in groups], first, last, strict=True)
    return Chart(
        title="Channels whose mask is 0, by channel group",
        says=said,
        x_label="epoch",
        x_ticks=(Tick(0, epochs[0]), Tick(100, epochs[-1])),
        y_ticks=tuple(names),
        shapes=(*_rows(len(groups)), *_cells(shares)),
        keys=(),
        stops=tuple(stops),
        heads=("channel group", f"epoch {epochs[0]}", f"epoch {epochs[-1]}"),
        rows=tuple(rows),
        ends=tuple(ends),
        height=max(60, ROW * len(groups)),
        grid=False,
    )


def _rows(number: int) -> Iterator[Shape]:
    """The background of the rows."""
    height = 100 / number
    path = "".join(f"M0 {row * height:.2f}h100v{height * 0.9:.2f}h-100z" for row in range(number))
    yield Shape("row", path)


def _cells(shares: Sequence[Sequence[float]]) -> Iterator[Shape]:
    """The cells of a map of columns of shares; one shape for all cells of nearly one share."""
    width, height = 100 / len(shares), 100 / len(shares[0])
    paths: dict[int, str] = {}
    for place, column in enumerate(shares):
        for row, share in enumerate(column):
            level = round(share * LEVELS)
            paths.setdefault(level, "")
            left, top = f"{place * width:.2f}", f"{row * height:.2f}"
            paths[level] += f"M{left} {top}h{width:.2f}v{height * 0.9:.2f}h-{width:.2f}z"
    for level in sorted(paths.keys() - {0}):
        yield Shape("cell", paths[level], level / LEVELS)


def _recorded(events: Sequence[Event], groups: int) -> list[Event]:
    """The records of the masks in order of steps, of a network with this number of groups."""
    by_step = {}
    for event in events:
        if event["event"] == "masks" and len(event["widths"]) == groups:
            by_step[event["step"]] = event
    return [by_step[step] for step in sorted(by_step)]


def _evenly(events: Sequence[Event], most: int) -> list[Event]:
    """At most so many of the events, evenly spaced, with the first and the last."""
    if len(events) <= most:
        return list(events)
    last = len(events) - 1
    return [events[round(last * place / (most - 1))] for place in range(most)]


SECTION = Section("masks", "Masks", view)
