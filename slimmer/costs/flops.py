"""FLOPs (fvcore's: one per multiply-add) as a closed form, from fvcore's count of every layer."""

import warnings
from collections import Counter
from collections.abc import Mapping

import torch
from fvcore.nn import FlopCountAnalysis
from torch import nn
from torch.fx import GraphModule
from torch.utils.flop_counter import FlopCounterMode

from slimmer.costs.closed_form import Cost, Term, closed_form, volume
from slimmer.errors import ModelError, first_line
from slimmer.graph import ChannelGraph, Inputs, Operation, evaluating, example_inputs, place_of, tracing

CONVENTION = "fvcore, 1 FLOP per multiply-add"


def flops_cost(model: nn.Module, graph: ChannelGraph, inputs: Inputs) -> Cost:
    """The FLOPs of one image of (C, H, W), or of one call with the given inputs, in the widths of `graph.groups`.

    Every count is fvcore's own, taken once on the dense model; what fvcore counts and no group touches is a
    constant. Raises ModelError where a count can't be told apart by layer.
    """
    counts = count_by_operation(model, graph, inputs)
    terms: list[Term] = []
    constant = 0
    by_place: dict[tuple[str, str], list[Operation]] = {}
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
                raise ModelError(
                    place[0] or "the top module",
                    f"{count} FLOPs of {place[1]} don't divide by its widths",
                    "put each such operation into a module of its own",
                )
            terms.append(Term(factor, operation.axes))
    return closed_form("flops", graph, terms, constant + sum(counts.values()))


def count_by_operation(model: nn.Module, graph: ChannelGraph, inputs: Inputs) -> dict[tuple[str, str], int]:
    """As `count_by_module`, the places being those of the graph's operations.

    A program (`slimmer.rewrite`) runs the operations of all modules in one place: there each one's share is told from
    its volume. What can't be shared out in whole numbers stays in that place.
    """
    counts = count_by_module(model, inputs)
    if not isinstance(model, GraphModule):
        return counts
    moved: dict[str, list[Operation]] = {}
    for operation in graph.operations:
        own = operation.module and (operation.module, operation.kind) in counts  # a batch norm, called as a module
        if not own and ("", operation.kind) in counts:
            moved.setdefault(operation.kind, []).append(operation)
    for kind, operations in moved.items():
        volumes = [operation.volume * volume(graph, operation.axes) for operation in operations]
        count, whole = counts["", kind], sum(volumes)
        if all(count * part % whole == 0 for part in volumes):
            del counts["", kind]
            for operation, part in zip(operations, volumes, strict=True):
                place = (operation.module, kind)
                counts[place] = counts.get(place, 0) + count * part // whole
    return counts


def count_by_module(model: nn.Module, inputs: Inputs) -> dict[tuple[str, str], int]:
    """Fvcore's FLOPs by (module, operation), each module's own share without its children's."""
    nested = _analyse(model, inputs).by_module_and_operator()
    own: dict[tuple[str, str], int] = {}
    for name, by_operator in nested.items():
        rest: Counter[str] = Counter(by_operator)
        for child in _children(name, nested):
            rest.subtract(nested[child])
        own.update({(name, operator): int(count) for operator, count in rest.items() if count})
    return own


def count_flops(model: nn.Module, inputs: Inputs) -> int:
    """Fvcore's FLOPs of one image of (C, H, W), or of one call with the given inputs, through `model` in eval mode."""
    return int(_analyse(model, inputs).total())


def count_conv_linear(model: nn.Module, inputs: Inputs) -> int:
    """torch.utils.flop_counter's count of one image: two per multiply-add, convolutions and matrix products only."""
    example = example_inputs(model, inputs, images=1)
    with evaluating(model), torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(*example)
    return int(counter.get_total_flops())


def _analyse(model: nn.Module, inputs: Inputs) -> FlopCountAnalysis:
    example = example_inputs(model, inputs, images=1)

    def counted() -> FlopCountAnalysis:
        analysis = FlopCountAnalysis(model, example)
        analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False).tracer_warnings("none")
        analysis.total()
        return analysis

    with evaluating(model), tracing(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit.trace is deprecated; fvcore still stands on it
        try:
            return counted()
        except (RuntimeError, TypeError, ValueError, AssertionError, AttributeError, IndexError) as error:
            found = f"fvcore can't count its FLOPs, {place_of(model, counted)}: {first_line(error)}"
            right = "write this operation in a way that torch.jit.trace follows"
            raise ModelError(type(model).__name__, found, right) from error


def _children(name: str, nested: Mapping[str, object]) -> list[str]:
    prefix = f"{name}." if name else ""
    return [
        other
        for other in nested
        if other and other.startswith(prefix) and "." not in other[len(prefix) :] and other != name
    ]
