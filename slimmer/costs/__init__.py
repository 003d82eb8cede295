"""What a set of widths costs, as a closed form: exact for a finished plan, differentiable for a mask."""

from slimmer.costs.closed_form import Budget, Cost, Term, closed_form
from slimmer.costs.flops import flops_cost
from slimmer.costs.params import params_cost

__all__ = ["Budget", "Cost", "Term", "closed_form", "flops_cost", "params_cost"]
