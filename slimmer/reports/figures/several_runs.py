"""Figures that compare runs: sparsity over time, and sparsity by channel group."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slimmer.errors import RunError
from slimmer.recipe.costs import CostKind, costs_in
from slimmer.reports.figures.canvas import (
    GREY,
    PALE,
    legend,
    name_groups,
    names_height,
    new_figure,
    percent,
    save_all,
    style,
)
from slimmer.reports.figures.series import Event, Series, sparsity
from slimmer.reports.rows import column

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Recorded = tuple[Sequence[Event], Mapping[str, Any]]  # a run's events and its report


def draw_runs(named_runs: Mapping[str, Recorded], folder: Path) -> list[Path]:
    """The PNG files drawn into `folder`: sparsity over time if runs had masks, and sparsity by
    channel group.

    Each run is its events and its report, by the name that the legend shows. Raise RunError if
    the runs have different channel groups, because their bars could not be compared.
    """
    figures = {
        "sparsity_over_time": over_time_figure(named_runs),
        "sparsity_by_group": by_group_figure(named_runs),
    }
    return save_all(figures, folder)


def over_time_figure(named_runs: Mapping[str, Recorded]) -> "Figure | None":
    """The sparsity of every run that had masks, until channel removal.

    There is one panel for each cost that a run limits. A target is drawn if all runs share it.
    """
    numbers, masked, reports = {}, {}, []
    for number, (name, (events, report)) in enumerate(named_runs.items()):
        numbers[name] = number
        if _masked(events, report):
            masked[name] = events
            reports.append(report)
    limited = [kind for kind in costs_in(*reports) if _limits(kind, reports) != {None}]
    if not limited:
        return None
    figure, panels = new_figure(3.8, columns=len(limited))
    for axes, kind in zip(panels, limited, strict=True):
        for name, events in masked.items():
            # A run keeps its colour in both figures, whether or not the others had masks.
            _plot_sparsity(axes, sparsity(events, kind.name), numbers[name], name)
        first, *others = _limits(kind, reports)
        if first is not None and not others:
            target = 100 * (1 - first)
            axes.axhline(target, color=GREY, linestyle=(0, (5, 3)), linewidth=1, label="target")
        axes.set_ylim(0, None)
        axes.set_xlim(0, None)
        axes.set_xlabel("epochs", fontsize=9)
        axes.set_ylabel(f"sparsity of {kind.label}, %", fontsize=9)
    legend(figure, panels)
    return figure


def _plot_sparsity(axes: "Axes", found: Series, number: int, name: str) -> None:
    colour, dash = style(number)
    shown = percent(found.values)
    axes.plot(found.epochs, shown, color=colour, linestyle=dash, linewidth=1.6, label=name)


def _masked(events: Sequence[Event], report: Mapping[str, Any]) -> bool:
    """Whether a run trained masks."""
    return any(sparsity(events, kind.name).epochs for kind in costs_in(report))


def _limits(kind: CostKind, reports: Sequence[Mapping[str, Any]]) -> set[float | None]:
    """The runs' limits of a cost as shares of the dense network; None for a run without one."""
    return {report.get(kind.name, {}).get("limit_ratio") for report in reports}


def by_group_figure(named_runs: Mapping[str, Recorded]) -> "Figure | None":
    """The removed share of every channel group, in network order: one panel per run, one scale."""
    if not named_runs:
        return None
    groups = _common_groups(named_runs)
    if not groups:
        return None
    names = [name for name, _ in groups]
    height = 0.6 + 1.15 * len(named_runs) + names_height(names)
    figure, panels = new_figure(height, rows=len(named_runs))
    for number, (name, (_, report)) in enumerate(named_runs.items()):
        axes, (colour, _) = panels[number], style(number)
        removed = percent(1 - group["slim"] / group["dense"] for group in report["groups"])
        axes.bar(range(len(removed)), [100] * len(removed), width=0.8, color=PALE, alpha=0.35)
        axes.bar(range(len(removed)), removed, width=0.8, color=colour)
        sparsities = []
        for kind in costs_in(report):
            sparsities.append(f"{kind.label} {report[kind.name]['sparsity']:.1%}")
        axes.set_title(f"{name}  ({', '.join(sparsities)})", loc="left", fontsize=9)
        axes.set_ylim(0, 100)
        axes.set_yticks([0, 50, 100])
        axes.set_ylabel("removed, %", fontsize=9)
    name_groups(panels[-1], names)
    return figure


def _common_groups(named_runs: Mapping[str, Recorded]) -> list[tuple[str, int]]:
    """The name and dense width of every group. Raise RunError if runs differ in them."""
    (first, (_, report)), *others = named_runs.items()
    expected = _groups(report)
    for name, (_, other) in others:
        if _groups(other) != expected:
            raise RunError(
                name, f"has different channel groups from {first}", "compare runs of one network"
            )
    return expected


def _groups(report: Mapping[str, Any]) -> list[tuple[str, int]]:
    groups = report["groups"]
    return list(zip(column(groups, "name"), column(groups, "dense"), strict=True))
