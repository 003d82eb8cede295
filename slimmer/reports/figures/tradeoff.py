"""Accuracy against remaining FLOPs: one line per method."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from slimmer.recipe.keys import label
from slimmer.reports.figures.canvas import GREY, legend, new_figure, percent, save, style
from slimmer.reports.metric_text import metric_of
from slimmer.reports.rows import column

MARKERS = "osD^vPX*"
# The x axis covers at least this many percent of the FLOPs. Otherwise small differences between
# runs of one budget would look like different budgets.
NARROWEST = 4.0


def draw_tradeoff(comparison: Mapping[str, Any], path: Path) -> Path:
    """The PNG of a comparison from `slimmer.compare`.

    Points with the same method and settings are connected in the order of their FLOPs. Error bars
    are one standard deviation over seeds. The dashed line is the main metric of the dense network,
    if it was trained. Rows without accuracy are left out.
    """
    lines: dict[str, list[Mapping[str, Any]]] = {}
    dense, metric = [], metric_of(comparison["rows"][0] if comparison["rows"] else None)
    for row in comparison["rows"]:
        if row["accuracy"] is None:
            continue
        settings = label(row["settings"]).replace(",", ", ")
        name = f"{row['method']} {settings}" if settings else row["method"]
        lines.setdefault(name, []).append(row)
        if row["accuracy"]["dense"] is not None:
            dense.append(row["accuracy"]["dense"]["mean"])
    figure, [axes] = new_figure(4.5)
    if dense:
        mean = metric.scaled(sum(dense) / len(dense))
        axes.axhline(mean, color=GREY, linestyle="--", linewidth=1, label="dense")
    for number, (name, rows) in enumerate(lines.items()):
        colour, dashes = style(number)
        ordered = sorted(rows, key=lambda row: row["flops"]["ratio"]["mean"])
        slim = column(column(ordered, "accuracy"), "slim")
        axes.errorbar(
            percent(row["flops"]["ratio"]["mean"] for row in ordered),
            [metric.scaled(accuracy["mean"]) for accuracy in slim],
            yerr=[metric.scaled(accuracy["std"] or 0) for accuracy in slim],
            label=name,
            marker=MARKERS[number % len(MARKERS)],
            color=colour,
            linestyle=dashes,
            capsize=3,
        )
    low, high = axes.get_xlim()
    middle, half = (low + high) / 2, max(high - low, NARROWEST) / 2
    axes.set_xlim(middle - half, middle + half)
    axes.set_xlabel("remaining FLOPs, % of dense", fontsize=9)
    better = "" if metric.higher_is_better else " (lower is better)"
    percents = ", %" if metric.percent else ""
    axes.set_ylabel(f"{metric.name} of the slim network{percents}{better}", fontsize=9)
    legend(figure, [axes])
    return save(figure, path)
