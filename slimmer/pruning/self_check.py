"""The self-check: run slim networks against masked ones, and fix the groups that can't be
pruned.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from slimmer.errors import ModelError
from slimmer.graph import (
    Captured,
    ChannelGraph,
    ChannelGroup,
    Fixed,
    Inputs,
    example_inputs,
)
from slimmer.models.copying import duplicate
from slimmer.pruning.apply import Cut, prune
from slimmer.pruning.at_fault import Failure, at_fault
from slimmer.pruning.float64 import widen_
from slimmer.pruning.masked_comparison import answer, check_steady, difference, fails_in_training
from slimmer.pruning.plan import Plan

Fault = Callable[[Plan], str | None]
"""How the slim network of a plan fails, or None if it is right."""


def probe(
    model: nn.Module,
    graph: ChannelGraph,
    inputs: Inputs,
    cut: Cut | None = None,
    also: Fault = lambda _: None,
) -> ChannelGraph:
    """The graph without the groups that can't be pruned, found by comparing slim and masked
    networks on two plans.

    The first plan removes one unit of every group, the second every second unit (a count that the
    code rounds may survive the loss of one). If the outputs differ or the slim network fails, the
    groups at fault are searched, first in the failing module, then by bisection, until the other
    groups are right together. Their layers are listed as fixed, with the error and its source line
    as the reason. The same is done if only the slim network fails in training mode, and if `also`
    reports a fault.

    Raises ModelError if the network can't be run, returns NaN, or returns different outputs for the
    same inputs.
    """
    model = widen_(duplicate(model))
    enliven_(model)
    drawn = example(model, inputs)
    runs = cache(partial(answer, model, model, drawn))
    differ = partial(difference, model, graph, drawn=drawn, cut=cut or prune, runs=runs)
    trains = partial(fails_in_training, model, drawn=drawn, cut=cut or prune)
    bad: dict[str, str] = {}
    for kept_units, check in (
        (_all_but_one, differ),
        (_every_second, differ),
        (_all_but_one, trains),
        (_all_but_one, partial(_as_failure, also)),
    ):
        suspects = []
        for group in graph.groups:
            if group.size > 1 and group.name not in bad:
                suspects.append(group)
        while found := at_fault(graph, suspects, kept_units, check):
            if not bad:
                check_steady(model, drawn)
            bad |= found
            suspects = [group for group in suspects if group.name not in bad]
    if not bad:
        return graph
    kept = tuple(group for group in graph.groups if group.name not in bad)
    rows: list[Fixed] = []
    for group in graph.groups:
        if group.name in bad:
            rows += _rows(graph, group, bad[group.name])
    return replace(graph, groups=kept, fixed=(*graph.fixed, *rows))


def example(model: nn.Module, inputs: Inputs, images: int = 2) -> tuple[Any, ...]:
    """The arguments of one call, in the model's type and on its device: `images` random images, or
    the given inputs.

    Floating-point tensors are replaced by random ones, the same at every call, unless the inputs
    were captured.
    """
    if isinstance(inputs, Captured):
        return example_inputs(model, inputs, images)
    generator = torch.Generator().manual_seed(0)
    draw = partial(_random, generator=generator)
    drawn: tuple[Any, ...] = tree_map_only(Tensor, draw, example_inputs(model, inputs, images))
    return drawn


def _random(value: Tensor, generator: torch.Generator) -> Tensor:
    if not value.is_floating_point():
        return value
    return torch.randn(value.shape, generator=generator, dtype=torch.float64).to(value)


def enliven_(model: nn.Module) -> None:
    """Redraw every parameter whose entries are all equal: around 0 if they are zero, else around
    1.

    New norms, layer scales, skip gains and some heads are constants, often zero, and would hide the
    effect of the layers before or after them.
    """
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            first = parameter.flatten()[:1]
            if not parameter.numel() or not bool((parameter == first).all()):
                continue
            drawn = torch.rand(parameter.shape, generator=generator, dtype=torch.float64)
            is_zero = float(first.abs()) < 1e-12
            parameter.copy_(0.2 * drawn - 0.1 if is_zero else drawn + 0.5)


def check_same(
    model: nn.Module, graph: ChannelGraph, plan: Plan, inputs: Inputs, cut: Cut | None = None
) -> None:
    """Raise ModelError if the slim network does not match the masked one, so that no wrong network
    is written.
    """
    model = widen_(duplicate(model))
    drawn = example(model, inputs)
    runs = partial(answer, model, model, drawn)
    fault = difference(model, graph, plan, drawn=drawn, cut=cut or prune, runs=runs)
    if fault is not None:
        found = f"the slim network does not match the masked network: {fault.says}"
        cause = "code that depends on the number of channels can cause this"
        right = f"{cause}; if there is none, please report it with the model"
        raise ModelError(type(model).__name__, found, right)


def _all_but_one(size: int) -> range:
    return range(1, size)


def _every_second(size: int) -> range:
    return range(0, size, 2)


def _as_failure(also: Fault, plan: Plan) -> Failure | None:
    found = also(plan)
    return None if found is None else Failure(found)


def _rows(graph: ChannelGraph, group: ChannelGroup, fault: str) -> list[Fixed]:
    """The fixed rows of every layer whose outputs a group contains."""
    reason = f"the code depends on the number of channels; when pruned: {fault}"
    channels, sizes = group.axes, dict(graph.sizes)
    rows = []
    for layer in graph.layers:
        axis = layer.out_axis
        if axis in channels:
            rows.append(Fixed(layer.name, channels[axis], sizes[axis], reason))
    return rows
