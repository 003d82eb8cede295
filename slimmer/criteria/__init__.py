"""Importance scores of channels, (units,), in the order of the graph's groups; one file per
criterion.
"""

from slimmer.criteria.bn_scale import bn_scale_scores, normed_groups
from slimmer.criteria.filter_norm import filter_norm_scores
from slimmer.criteria.magnitude import deal, magnitude_scores
from slimmer.criteria.random_numbers import random_scores
from slimmer.criteria.request import ScoreRequest
from slimmer.criteria.sensitivity import sensitivity_scores
from slimmer.criteria.taylor import taylor_scores

__all__ = [
    "ScoreRequest",
    "bn_scale_scores",
    "deal",
    "filter_norm_scores",
    "magnitude_scores",
    "normed_groups",
    "random_scores",
    "sensitivity_scores",
    "taylor_scores",
]
