"""Accuracy against what remains of the FLOPs: one line a method."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from slimmer.recipe.keys import label
from slimmer.reports.figures.canvas import GREY, legend, new_figure, save, style

MARKERS = "osD^vPX*"
NARROWEST = 4.0  # percent of the FLOPs that the figure shows at least


def draw_tradeoff(comparison: Mapping[str, Any], path: Path) -> Path:
    """The PNG that is drawn of a comparison as `slimmer.compare` gives it.

    Points of one method with the same settings are joined in the order of their FLOPs; bars are one
    standard deviation over seeds; the dashed line is the dense network's top-1, where it was
    trained before. Rows without accuracy are left out.
    """
    lines: dict[str, list[Mapping[str, Any]]] = {}
    for row in comparison["rows"]:
        if row["accuracy"] is not None:
            name = " ".join(
                filter(None, [row["method"], label(row["settings"]).replace(",", ", ")])
            )
            lines.setdefault(name, []).append(row)
    figure, [axes] = new_figure(4.5)
    found = [row["accuracy"]["dense"] for rows in lines.values() for row in rows]
    dense = [each["mean"] for each in found if each is not None]
    if dense:
        axes.axhline(
            100 * sum(dense) / len(dense), color=GREY, linestyle="--", linewidth=1, label="dense"
        )
    for number, (name, rows) in enumerate(lines.items()):
        colour, dashes = style(number)
        ordered = sorted(rows, key=lambda row: row["flops"]["ratio"]["mean"])
        axes.errorbar(
            [100 * row["flops"]["ratio"]["mean"] for row in ordered],
            [100 * row["accuracy"]["slim"]["mean"] for row in ordered],
            yerr=[100 * (row["accuracy"]["slim"]["std"] or 0) for row in ordered],
            label=name,
            marker=MARKERS[number % len(MARKERS)],
            color=colour,
            linestyle=dashes,
            capsize=3,
        )
    low, high = axes.get_xlim()
    middle, half = (
        (low + high) / 2,
        max(high - low, NARROWEST) / 2,
    )  # else misses of hundredths would look like budgets
    axes.set_xlim(middle - half, middle + half)
    axes.set_xlabel("remaining FLOPs, % of dense", fontsize=9)
    axes.set_ylabel("top-1 of the slim network, %", fontsize=9)
    legend(figure, [axes])
    return save(figure, path)
