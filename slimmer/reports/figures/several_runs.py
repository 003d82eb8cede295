"""The pictures of several runs side by side: their sparsity over time and in every channel group."""

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
    save,
    style,
)
from slimmer.reports.figures.series import Event, sparsity

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Recorded = tuple[Sequence[Event], Mapping[str, Any]]  # a run's events and its report


def draw_runs(named_runs: Mapping[str, Recorded], folder: Path) -> list[Path]:
    """The PNG files drawn into `folder`: sparsity over time where runs had masks, and sparsity by
    channel group.

    Each run is its events and its report, under the name that the legend is to show. Raises
    RunError where the runs' channel groups are not the same, for then their bars can't be compared.
    """
    figures = {
        "sparsity_over_time": over_time_figure(named_runs),
        "sparsity_by_group": by_group_figure(named_runs),
    }
    return [
        save(figure, folder / f"{name}.png")
        for name, figure in figures.items()
        if figure is not None
    ]


def over_time_figure(named_runs: Mapping[str, Recorded]) -> "Figure | None":
    """The sparsity under the masks of every run that had any, to the moment of removal.

    A panel for each cost that a run limits; a target that they all have is drawn.
    """
    masked = {name: run for name, run in named_runs.items() if _masked(run)}
    reports = [report for _, report in masked.values()]
    costs = [
        kind
        for kind in costs_in(*reports)
        if any(_limit(kind, report) is not None for report in reports)
    ]
    if not costs:
        return None
    figure, panels = new_figure(3.8, columns=len(costs))
    for axes, kind in zip(panels, costs, strict=True):
        for number, (name, (events, _)) in enumerate(named_runs.items()):
            if name in masked:
                colour, dash = style(number)  # a run's colour is the same in both pictures
                epochs, values = sparsity(events, kind.name)
                axes.plot(
                    epochs,
                    [100 * v for v in values],
                    color=colour,
                    linestyle=dash,
                    linewidth=1.6,
                    label=name,
                )
        limits = {_limit(kind, report) for report in reports}
        limit = limits.pop()
        if not limits and limit is not None:
            axes.axhline(
                100 * (1 - limit), color=GREY, linestyle=(0, (5, 3)), linewidth=1, label="target"
            )
        axes.set_ylim(0, None)
        axes.set_xlim(0, None)
        axes.set_xlabel("epochs", fontsize=9)
        axes.set_ylabel(f"sparsity of {kind.label}, %", fontsize=9)
    legend(figure, panels)
    return figure


def _masked(run: Recorded) -> bool:
    """Whether a run was trained under masks."""
    events, report = run
    return any(sparsity(events, kind.name).epochs for kind in costs_in(report))


def _limit(kind: CostKind, report: Mapping[str, Any]) -> float | None:
    """The budget on a cost as a share of dense, or None."""
    limit: float | None = report.get(kind.name, {}).get("limit_ratio")
    return limit


def by_group_figure(named_runs: Mapping[str, Recorded]) -> "Figure | None":
    """The share of channels that is gone from every group, in network order: one run below the
    other, one scale.
    """
    if not named_runs:
        return None
    groups = _common_groups(named_runs)
    if not groups:
        return None
    names = [name for name, _ in groups]
    figure, panels = new_figure(
        0.6 + 1.15 * len(named_runs) + names_height(names), rows=len(named_runs)
    )
    for number, (axes, (name, (_, report))) in enumerate(
        zip(panels, named_runs.items(), strict=True)
    ):
        gone = [100 * (1 - group["slim"] / group["dense"]) for group in report["groups"]]
        axes.bar(range(len(gone)), [100] * len(gone), width=0.8, color=PALE, alpha=0.35)
        axes.bar(range(len(gone)), gone, width=0.8, color=style(number)[0])
        left = ", ".join(
            f"{kind.label} {report[kind.name]['sparsity']:.1%}" for kind in costs_in(report)
        )
        axes.set_title(f"{name}  ({left})", loc="left", fontsize=9)
        axes.set_ylim(0, 100)
        axes.set_yticks([0, 50, 100])
        axes.set_ylabel("removed, %", fontsize=9)
    name_groups(panels[-1], names)
    return figure


def _common_groups(named_runs: Mapping[str, Recorded]) -> list[tuple[str, int]]:
    """The name and dense width of every group, the same in all runs. Raises RunError."""
    (first, (_, report)), *others = named_runs.items()
    expected = [(group["name"], group["dense"]) for group in report["groups"]]
    for name, (_, other) in others:
        if [(group["name"], group["dense"]) for group in other["groups"]] != expected:
            raise RunError(
                name, f"has different channel groups from {first}", "compare runs of one network"
            )
    return expected
