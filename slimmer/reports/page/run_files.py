"""What the page of a run is made of: the files of the run, read and validated."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slimmer.profiling.results import SCHEMA
from slimmer.recipe import Recipe
from slimmer.recipe.costs import CostKind, costs_in
from slimmer.reports.figures.series import Event
from slimmer.reports.metric_text import MetricText, metric_of
from slimmer.runs.directory import Run


@dataclass(frozen=True)
class RunFiles:
    """The contents of a finished run's files; None for files that the run does not have.

    `profile` is None too if another version of slimmer wrote it; `outdated` is True then.
    """

    run: Run
    recipe: Recipe
    report: Mapping[str, Any]
    events: Sequence[Event]
    exported: Mapping[str, Any] | None = None
    profile: Mapping[str, Any] | None = None
    outdated: bool = False

    @property
    def costs(self) -> list[CostKind]:
        """The costs in the report, in the order of tables."""
        return costs_in(self.report)

    @property
    def metric(self) -> MetricText:
        """The metric that the accuracies of the report are values of."""
        return metric_of(self.report)

    @property
    def name(self) -> str:
        """The name of the network, without folders."""
        return Path(self.report["arch"] or "module").name


def read_files(run: Run) -> RunFiles:
    """The files of a finished run. Raise RunError for a file that is missing or damaged, and
    RecipeError for a recipe that is not valid.
    """
    profile = run.read_profile(SCHEMA)
    outdated = profile is not None and profile["schema"] != SCHEMA
    return RunFiles(
        run,
        run.recipe(),
        run.read_report(),
        run.read_events(),
        run.read_exported(),
        None if outdated else profile,
        outdated,
    )
