"""How much a channel matters: scores (units,), in the order of the graph's groups."""

from slimmer.criteria.magnitude import deal, magnitude_scores
from slimmer.criteria.sensitivity import sensitivity_scores
from slimmer.criteria.taylor import taylor_scores
from slimmer.criteria.weights import bn_scale_scores, filter_norm_scores, normed_groups, random_scores

__all__ = [
    "bn_scale_scores",
    "deal",
    "filter_norm_scores",
    "magnitude_scores",
    "normed_groups",
    "random_scores",
    "sensitivity_scores",
    "taylor_scores",
]
