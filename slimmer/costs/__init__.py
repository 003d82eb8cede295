"""The cost of a network at given widths: exact for a plan, differentiable for masks."""

from slimmer.costs.closed_form import ClosedForm, Term, closed_form
from slimmer.costs.cost import ArrayCost, Budget, Cost
from slimmer.costs.flops import flops_cost
from slimmer.costs.params import params_cost
from slimmer.costs.subject import Subject

__all__ = [
    "ArrayCost",
    "Budget",
    "ClosedForm",
    "Cost",
    "Subject",
    "Term",
    "closed_form",
    "flops_cost",
    "params_cost",
]
