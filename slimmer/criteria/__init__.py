"""How much a channel matters: scores (units,), in the order of the graph's groups."""

from slimmer.criteria.magnitude import magnitude_scores
from slimmer.criteria.taylor import taylor_scores

__all__ = ["magnitude_scores", "taylor_scores"]
