"""The number of parameters as a closed form in the groups' widths."""

from torch import nn

from slimmer.costs.closed_form import ClosedForm, Term, closed_form, volume
from slimmer.costs.subject import Subject
from slimmer.graph import Axis, ChannelGraph


def build(subject: Subject) -> ClosedForm:
    """The parameters of the whole network, even if only parts of it are traced."""
    return params_cost(subject.model, subject.graph)


def count(subject: Subject) -> dict[str, int]:
    """The number of parameters, counted by PyTorch."""
    return {"parameters": sum(parameter.numel() for parameter in subject.model.parameters())}


def params_cost(model: nn.Module, graph: ChannelGraph) -> ClosedForm:
    """The number of elements of all parameters (without buffers, shared ones counted once), as a
    function of the widths of the groups.
    """
    known: set[Axis] = set()
    for group in graph.groups:
        known.update(group.axes)
    terms, constant = [], 0
    for name, parameter in model.named_parameters():
        axes = tuple(Axis(name, dim) for dim in range(parameter.dim()) if Axis(name, dim) in known)
        if axes:
            terms.append(Term(parameter.numel() // volume(graph, axes), axes))
        else:
            constant += parameter.numel()
    return closed_form("params", graph, terms, constant)
