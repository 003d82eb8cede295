"""Figures of one run and of several runs, drawn from the events that the runs recorded."""

from slimmer.reports.figures.one_run import draw_run
from slimmer.reports.figures.several_runs import draw_runs

__all__ = ["draw_run", "draw_runs"]
