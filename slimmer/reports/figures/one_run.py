"""The pictures of one run: mask values, sparsity and accuracy over time, widths of the channel
groups.
"""

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
    save,
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

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Report = Mapping[str, Any]
FEW = 20  # channel groups over whose bars there is room for a number


def draw_run(events: Sequence[Event], report: Report, folder: Path) -> list[Path]:
    """The PNG files drawn into `folder`: those of masks, sparsity, training and widths that the run
    has data for.

    `events` are a run's, in the order in which they were recorded, and `report` is its report. A
    run that trained under no masks has no masks.png and no sparsity.png; one without data no
    training.png.
    """
    figures = {
        "masks": masks_figure(events),
        "sparsity": sparsity_figure(events, report),
        "training": training_figure(events, report),
        "widths": widths_figure(report),
    }
    return [
        save(figure, folder / f"{name}.png")
        for name, figure in figures.items()
        if figure is not None
    ]


def masks_figure(events: Sequence[Event]) -> "Figure | None":
    """How many masks have which value: at the end of the training under masks as bars, at earlier
    moments as lines.
    """
    moments = mask_moments(events)
    if not moments:
        return None
    *earlier, last = moments
    figure, (axes,) = new_figure(3.4)
    number = sum(last["histogram"])
    bins = len(last["histogram"])
    edges = [place / bins for place in range(bins + 1)]
    shares = [100 * count / number for count in last["histogram"]]
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
        heights = [100 * count / number for count in event["histogram"]]
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
    """Sparsity of every cost under the masks and, after the removal, of the slim network; with
    targets.
    """
    kinds = [kind for kind in costs_in(report) if sparsity(events, kind.name).epochs]
    if not kinds:
        return None
    figure, (axes,) = new_figure(3.4)
    top = 0.0
    for number, kind in enumerate(kinds):
        cost, label, (colour, _) = kind.name, kind.label, style(number)
        epochs, values = sparsity(events, cost)
        end = max(epochs[-1], report["epochs"])
        percent = [100 * value for value in [*values, values[-1]]]
        axes.plot([*epochs, end], percent, color=colour, linewidth=1.6, label=label)
        top = max(top, *percent)
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
    """Accuracy on the test images over the epochs, from the removal on, and below it the training
    loss.
    """
    top1 = over_epochs(events, ("removed", "epoch"), "accuracy")
    loss = over_epochs(events, ("step",), "loss")
    if report["accuracy"] is None or not loss.epochs:
        return None
    figure, (above, below) = new_figure(4.6, rows=2)
    dense = report["accuracy"]["dense"]
    above.axhline(
        100 * dense, color=GREY, linestyle=(0, (5, 3)), linewidth=1, label=f"dense {dense:.2%}"
    )
    marker = "o" if len(top1.epochs) <= 40 else ""
    slim = f"slim {report['accuracy']['slim']:.2%} at the end"
    above.plot(
        top1.epochs,
        [100 * v for v in top1.values],
        color=BLUE,
        marker=marker,
        ms=4,
        clip_on=False,
        linewidth=1.6,
        label=slim,
    )
    above.set_ylabel("top-1, test images, %", fontsize=9)
    reach = len(loss.values) // 60
    below.plot(*loss, color=PALE if reach else BLUE, linewidth=0.8 if reach else 1.4)
    if reach:
        below.plot(loss.epochs, running_mean(loss.values, reach), color=BLUE, linewidth=1.6)
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
    """The channels of every group, dense and slim, in network order; over few groups also the share
    that is gone.
    """
    groups = report["groups"]
    if not groups:
        return None
    names = [group["name"] for group in groups]
    figure, (axes,) = new_figure(3.0 + names_height(names))
    dense, slim = [group["dense"] for group in groups], [group["slim"] for group in groups]
    places = range(len(groups))
    share = 1 - sum(slim) / sum(dense)
    axes.bar(places, dense, width=0.8, color=PALE, label=f"dense, {sum(dense):,} channels")
    axes.bar(
        places, slim, width=0.8, color=BLUE, label=f"slim, {sum(slim):,} ({share:.1%} removed)"
    )
    if len(groups) <= FEW:
        for place, whole_width, width in zip(places, dense, slim, strict=True):
            gone = f"−{1 - width / whole_width:.0%}" if width < whole_width else ""  # noqa: RUF001
            axes.annotate(
                gone,
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
    """Draw a line where the channels went for real, unless that was before the first step."""
    epoch = removal(events)
    if epoch:
        axes.axvline(epoch, color=GREY, linestyle=":", linewidth=1.2, label="channels removed")
