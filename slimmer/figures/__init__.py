"""The pictures of a run and of several runs side by side, drawn from the events that they recorded."""

from slimmer.figures.decays import draw_decays
from slimmer.figures.one_run import draw_run

__all__ = ["draw_decays", "draw_run"]
