"""Figures of one run: mask values, sparsity and accuracy over time, widths of channel groups."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slimmer.recipe.costs import costs_in
from slimmer.reports.figures.canvas import (
    BLACK,
    BLUE,
    GREY,
    ORANGE,
    PALE,
    VERMILION,
    legend,
    name_groups,
    names_height,
    new_figure,
    percent,
    save_all,
    style,
)
from slimmer.reports.figures.series import (
    Event,
    mask_moments,
    over_epochs,
    removal,
    running_mean,
    sparsity,
)
from slimmer.reports.metric_text import metric_of
from slimmer.reports.rows import column

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Report = Mapping[str, Any]
MARKED = 40  # epochs; more are drawn without markers
FEW = 20  # channel groups; with more there is no room for numbers above the bars


def draw_run(events: Sequence[Event], report: Report, folder: Path) -> list[Path]:
    """The PNG files drawn into `folder`: masks, sparsity, training and widths, if the run has them.

    `events` are those of the run in recorded order, and `report` is its report. A run that did
    not train masks has no masks.png and no sparsity.png; a run without data has no training.png.
    """
    figures = {
        "masks": masks_figure(events),
        "sparsity": sparsity_figure(events, report),
        "training": training_figure(events, report),
        "widths": widths_figure(report),
    }
    return save_all(figures, folder)


def masks_figure(events: Sequence[Event]) -> "Figure | None":
    """A histogram of mask values: bars at the end of mask training, lines at earlier times."""
    moments = mask_moments(events)
    if not moments:
        return None
    *earlier, last = moments
    figure, (axes,) = new_figure(3.4)
    number = sum(last["histogram"])
    bins = len(last["histogram"])
    edges = [place / bins for place in range(bins + 1)]
    shares = percent(count / number for count in last["histogram"])
    label = f"epoch {round(last['epoch'], 2):g}, at the end"
    axes.bar(
        edges[:-1],
        shares,
        width=1 / bins,
        align="edge",
        color=BLUE,
        edgecolor="white",
        lw=0.5,
        label=label,
    )
    for event, colour, dash in zip(
        earlier, (ORANGE, VERMILION, BLACK), (":", "--", "-"), strict=False
    ):
        heights = percent(count / number for count in event["histogram"])
        label = f"epoch {round(event['epoch'], 2):g}"
        axes.stairs(heights, edges, color=colour, linestyle=dash, linewidth=1.1, label=label)
    dead = 1 - sum(last["widths"]) / number
    axes.set_xlabel(
        f"value of the mask, {number:,} channels; {dead:.1%} of them exactly 0 at the end",
        fontsize=9,
    )
    axes.set_ylabel("channels, %", fontsize=9)
    axes.set_xlim(-0.01, 1.01)
    legend(figure, [axes])
    return figure


def sparsity_figure(events: Sequence[Event], report: Report) -> "Figure | None":
    """Sparsity of every cost, under the masks and after channel removal, with targets."""
    kinds = [kind for kind in costs_in(report) if sparsity(events, kind.name).epochs]
    if not kinds:
        return None
    figure, (axes,) = new_figure(3.4)
    top = 0.0
    for number, kind in enumerate(kinds):
        cost, label, (colour, _) = kind.name, kind.label, style(number)
        epochs, values = sparsity(events, cost)
        end = max(epochs[-1], report["epochs"])
        heights = percent([*values, values[-1]])
        axes.plot([*epochs, end], heights, color=colour, linewidth=1.6, label=label)
        top = max(top, *heights)
        limit = report[cost]["limit_ratio"]
        if limit is not None:
            target = 100 * (1 - limit)
            text = f"{label}: target {target:.4g}%"
            axes.axhline(target, color=colour, linestyle=(0, (5, 3)), linewidth=1, label=text)
            top = max(top, target)
    _mark_removal(axes, events)
    axes.set_ylim(0, min(100, top * 1.08) or 1)
    axes.set_xlim(0, end)
    axes.set_xlabel("epochs", fontsize=9)
    axes.set_ylabel("sparsity, %", fontsize=9)
    legend(figure, [axes])
    return figure


def training_figure(events: Sequence[Event], report: Report) -> "Figure | None":
    """The main metric on the test data over the epochs since channel removal, and the training loss
    below it.
    """
    top1 = over_epochs(events, ("removed", "epoch"), "accuracy")
    loss = over_epochs(events, ("step",), "loss")
    if report["accuracy"] is None or not loss.epochs:
        return None
    figure, (above, below) = new_figure(4.6, rows=2)
    dense, metric = report["accuracy"]["dense"], metric_of(report)
    label = f"dense {metric.shown(dense)}"
    height, dashes = metric.scaled(dense), (0, (5, 3))
    above.axhline(height, color=GREY, linestyle=dashes, linewidth=1, label=label)
    marker = "o" if len(top1.epochs) <= MARKED else ""
    slim = f"slim {metric.shown(report['accuracy']['slim'])} at the end"
    above.plot(
        top1.epochs,
        [metric.scaled(value) for value in top1.values],
        color=BLUE,
        marker=marker,
        ms=4,
        clip_on=False,
        linewidth=1.6,
        label=slim,
    )
    percents = ", %" if metric.percent else ""
    above.set_ylabel(f"{metric.name}, test data{percents}", fontsize=9)
    reach = len(loss.values) // 60
    if reach:
        below.plot(*loss, color=PALE, linewidth=0.8)
        below.plot(loss.epochs, running_mean(loss.values, reach), color=BLUE, linewidth=1.6)
    else:
        below.plot(*loss, color=BLUE, linewidth=1.4)
    below.set_ylim(0, None)
    below.set_xlim(0, max(report["epochs"], loss.epochs[-1]))
    below.set_ylabel("training loss", fontsize=9)
    below.set_xlabel("epochs", fontsize=9)
    _mark_removal(above, events)
    _mark_removal(below, events)
    figure.align_ylabels()
    legend(figure, [above])
    return figure


def widths_figure(report: Report) -> "Figure | None":
    """The channels of every group, dense and slim, in network order; the removed share above few
    groups.
    """
    groups = report["groups"]
    if not groups:
        return None
    names = column(groups, "name")
    figure, (axes,) = new_figure(3.0 + names_height(names))
    dense, slim = column(groups, "dense"), column(groups, "slim")
    places = range(len(groups))
    share = 1 - sum(slim) / sum(dense)
    axes.bar(places, dense, width=0.8, color=PALE, label=f"dense, {sum(dense):,} channels")
    axes.bar(
        places, slim, width=0.8, color=BLUE, label=f"slim, {sum(slim):,} ({share:.1%} removed)"
    )
    if len(groups) <= FEW:
        for place, whole_width, width in zip(places, dense, slim, strict=True):
            removed = ""
            if width < whole_width:
                removed = f"−{1 - width / whole_width:.0%}"  # noqa: RUF001
            axes.annotate(
                removed,
                (place, whole_width),
                (0, 2),
                textcoords="offset points",
                ha="center",
                fontsize=7,
            )
    axes.set_ylabel("channels", fontsize=9)
    name_groups(axes, names)
    legend(figure, [axes])
    return figure


def _mark_removal(axes: "Axes", events: Sequence[Event]) -> None:
    """Draw a line where the channels were removed, unless that was before the first step."""
    epoch = removal(events)
    if epoch:
        axes.axvline(epoch, color=GREY, linestyle=":", linewidth=1.2, label="channels removed")
