"""How every picture looks: colours, axes, legends, the names of channel groups; and how it is
written.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from slimmer.atomic_files import whole

if TYPE_CHECKING:  # matplotlib takes a second to import, so only drawing does
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colours, told apart by the colour-blind, without the yellow that is too light on
# white.
BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY, BLACK = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#E69F00",
    "#56B4E9",
    "#000000",
)
COLOURS = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY, BLACK)
DASHES = ("-", (0, (5, 1.5)), (0, (1.5, 1.2)))
GREY, PALE = "#6E6E6E", "#D0D3D6"
WIDTH = 8.0  # inches
DPI = 150
ROW = 0.19  # inches of a row of a legend
LABELS = 48  # that fit side by side, upright
LONGEST = 32  # characters of a label


def new_figure(height: float, rows: int = 1, columns: int = 1) -> "tuple[Figure, list[Axes]]":
    """An empty figure of `height` inches and its axes, row by row; those of a column share their x
    axis.
    """
    from matplotlib.figure import Figure  # noqa: PLC0415

    figure = Figure(figsize=(WIDTH, height), dpi=DPI, layout="constrained", facecolor="white")
    panels = figure.subplots(rows, columns, squeeze=False, sharex="col")
    axes: list[Axes] = list(panels.flat)
    for each in axes:
        each.spines[["top", "right"]].set_visible(False)
        each.grid(axis="y", color="#E6E6E6", linewidth=0.8)
        each.set_axisbelow(True)
        each.tick_params(labelsize=9)
    return figure, axes


def style(number: int) -> tuple[str, str | tuple[float, tuple[float, ...]]]:
    """The colour and the dashes of the line with this number; 21 differ."""
    return COLOURS[number % len(COLOURS)], DASHES[number // len(COLOURS) % len(DASHES)]


def legend(figure: "Figure", axes: "Sequence[Axes]") -> None:
    """Put one legend for `axes` above them, where it hides nothing, in as many columns as its
    longest text allows.

    The figure grows by what more than three rows of it take.
    """
    found = {
        text: handle
        for each in axes
        for handle, text in zip(*each.get_legend_handles_labels(), strict=True)
    }
    columns = max(1, min(len(found), int(WIDTH * 14) // (max(map(len, found)) + 7)))
    figure.set_figheight(figure.get_figheight() + ROW * max(0, -(-len(found) // columns) - 3))
    figure.legend(
        found.values(),
        found.keys(),
        loc="outside upper left",
        ncols=columns,
        frameon=False,
        fontsize=9,
        borderpad=0.2,
    )


def name_groups(axes: "Axes", names: Sequence[str]) -> None:
    """Name the channel groups at 0, 1, 2, ... along the x axis; of many only every second, third,
    ...
    """
    every = -(-len(names) // LABELS)
    shown = range(0, len(names), every)
    axes.set_xticks(
        list(shown), [shorten(names[place]) for place in shown], rotation=90, fontsize=7
    )
    axes.set_xlim(-0.7, len(names) - 0.3)
    axes.tick_params(axis="x", length=2)
    ending = {2: "nd", 3: "rd"}.get(every, "th")
    note = "" if every == 1 else f" ({len(names)}, every {every}{ending} named)"
    axes.set_xlabel(f"channel group, in network order{note}", fontsize=9)


def names_height(names: Sequence[str]) -> float:
    """The inches that the names of channel groups take below the axis."""
    return 0.06 * max(len(shorten(name)) for name in names)


def shorten(name: str) -> str:
    """The name, without its beginning where it is long; its end tells the layer.

    >>> shorten("layer1.0.conv1")
    'layer1.0.conv1'
    """
    return name if len(name) <= LONGEST else f"…{name[1 - LONGEST :]}"


def save(figure: "Figure", path: Path) -> Path:
    """The path of the PNG that is written, whole or not at all; the same figure gives the same
    bytes.
    """
    with whole(path) as part:
        figure.savefig(part, format="png", dpi=DPI, metadata={"Software": None})
    return path
