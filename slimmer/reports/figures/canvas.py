"""The style of every figure (colours, axes, legends, names of channel groups), and saving it."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slimmer.atomic_files import whole

if TYPE_CHECKING:  # importing matplotlib takes a second, so only drawing imports it
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# The colour-blind-safe palette of Okabe and Ito, without yellow, which is too light on white.
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
ROW = 0.19  # height of a legend's row in inches
LABELS = 48  # vertical labels that fit along the x axis
LONGEST = 32  # characters of a label


def new_figure(height: float, rows: int = 1, columns: int = 1) -> "tuple[Figure, list[Axes]]":
    """An empty figure of `height` inches and its axes, row by row; a column shares its x axis."""
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
    """The colour and the dashes of line `number`; they repeat after 21 lines."""
    return COLOURS[number % len(COLOURS)], DASHES[number // len(COLOURS) % len(DASHES)]


def legend(figure: "Figure", axes: "Sequence[Axes]") -> None:
    """Draw one legend for all `axes` above them, in as many columns as its longest text allows.

    If the legend has more than three rows, the figure grows to make room for them.
    """
    found: dict[str, Any] = {}
    for each in axes:
        handles, texts = each.get_legend_handles_labels()
        found |= dict(zip(texts, handles, strict=True))
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


def percent(shares: Iterable[float]) -> list[float]:
    """The shares in percent.

    >>> percent([0.5, 1])
    [50.0, 100]
    """
    return [100 * share for share in shares]


def name_groups(axes: "Axes", names: Sequence[str]) -> None:
    """Label the channel groups at 0, 1, 2, … of the x axis; if there are too many, only every
    second, third, ….
    """
    every = -(-len(names) // LABELS)
    shown = range(0, len(names), every)
    labels = list(map(shorten, names[::every]))
    axes.set_xticks(list(shown), labels, rotation=90, fontsize=7)
    axes.set_xlim(-0.7, len(names) - 0.3)
    axes.tick_params(axis="x", length=2)
    note = ""
    if every > 1:
        ending = {2: "nd", 3: "rd"}.get(every, "th")
        note = f" ({len(names)}, every {every}{ending} named)"
    axes.set_xlabel(f"channel group, in network order{note}", fontsize=9)


def names_height(names: Sequence[str]) -> float:
    """The height in inches of the channel groups' labels below the axis."""
    return 0.06 * max(map(len, map(shorten, names)))


def shorten(name: str) -> str:
    """The name; a long one loses its beginning, because its end identifies the layer.

    >>> shorten("layer1.0.conv1")
    'layer1.0.conv1'
    """
    return name if len(name) <= LONGEST else f"…{name[1 - LONGEST :]}"


def save_all(figures: "Mapping[str, Figure | None]", folder: Path) -> list[Path]:
    """The paths of the PNG files, one per figure, named after it; None is skipped."""
    paths = []
    for name, figure in figures.items():
        if figure is not None:
            paths.append(save(figure, folder / f"{name}.png"))
    return paths


def save(figure: "Figure", path: Path) -> Path:
    """The path of the PNG, written atomically; equal figures give equal bytes."""
    with whole(path) as part:
        figure.savefig(part, format="png", dpi=DPI, metadata={"Software": None})
    return path
