"""FLOPs (one per multiply-add, that is MACs) as a closed form, from fvcore's count of every
layer.
"""

from torch import nn

from slimmer.costs.agreement import agreed_counts, check_agreement
from slimmer.costs.closed_form import ClosedForm, Term, closed_form, volume
from slimmer.costs.fvcore_count import Place, count_by_module, count_flops, uncounted
from slimmer.costs.placing import placed
from slimmer.costs.subject import Subject
from slimmer.costs.torch_count import count_conv_linear, multiply_adds
from slimmer.errors import ModelError
from slimmer.graph import ChannelGraph, Inputs, Operation

__all__ = [
    "build",
    "count",
    "count_by_module",
    "count_by_operation",
    "count_conv_linear",
    "count_flops",
    "flops_cost",
    "uncounted",
]


def build(subject: Subject) -> ClosedForm:
    """The FLOPs of the traced part of a network. Raises ModelError as `flops_cost` does."""
    return flops_cost(subject.traced, subject.graph, subject.inputs)


def count(subject: Subject) -> dict[str, int]:
    """The FLOPs by fvcore, and by torch.utils.flop_counter, which counts two per multiply-add.

    Raises ModelError if the two differ in a layer.
    """
    counts = count_by_module(subject.traced, subject.inputs)
    by_torch = multiply_adds(subject.traced, subject.inputs)
    check_agreement(type(subject.traced).__name__, counts, by_torch)
    return {"fvcore": sum(counts.values()), "torch": 2 * by_torch.total()}


def flops_cost(model: nn.Module, graph: ChannelGraph, inputs: Inputs) -> ClosedForm:
    """The FLOPs of one image of (C, H, W), or of one call with the given inputs, as a function of
    the widths of `graph.groups`.

    Every count is fvcore's, taken once on the dense model and confirmed layer by layer by
    torch.utils.flop_counter. Counts that no group affects are constant. Raises ModelError if the
    two differ, or if a count can't be divided among several layers.
    """
    counts = placed(agreed_counts(model, inputs), graph)
    terms: list[Term] = []
    constant = 0
    by_place: dict[Place, list[Operation]] = {}
    for operation in graph.operations:
        by_place.setdefault((operation.module, operation.kind), []).append(operation)
    for place, operations in by_place.items():
        count = counts.pop(place, 0)
        parts = [operation.volume * volume(graph, operation.axes) for operation in operations]
        if not any(operation.axes for operation in operations):
            constant += count
            continue
        for operation in operations if count else []:
            factor, rest = divmod(count * operation.volume, sum(parts))
            if rest:
                where = place[0] or "the top module"
                found = f"its {count} FLOPs of {place[1]} are not a multiple of its widths"
                right = "put each of these operations into its own module"
                raise ModelError(where, found, right)
            terms.append(Term(factor, operation.axes))
    return closed_form("flops", graph, terms, constant + sum(counts.values()))


def count_by_operation(model: nn.Module, graph: ChannelGraph, inputs: Inputs) -> dict[Place, int]:
    """As `count_by_module`, but by the modules and operations of the graph."""
    return placed(count_by_module(model, inputs), graph)
