"""The self-check: what slicing alone gets wrong is found by running it, and fixed before anyone
relies on it.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from slimmer.errors import ModelError, first_line
from slimmer.graph import (
    Captured,
    ChannelGraph,
    ChannelGroup,
    Fixed,
    Inputs,
    evaluating,
    example_inputs,
    following_calls,
    own_line,
    tensors_in,
)
from slimmer.models.copying import duplicate, set_mode_
from slimmer.pruning.apply import Cut, prune
from slimmer.pruning.at_fault import Failure, at_fault
from slimmer.pruning.float64 import in_double, widen_
from slimmer.pruning.masks import Masked, hard_mask
from slimmer.pruning.plan import Plan

TOLERANCE = 1e-9  # of the output's scale, in float64
LEAST_SCALE = 1e-5  # what is smaller may be rounding itself
FAULTS = (RuntimeError, ValueError, TypeError, IndexError, AssertionError, AttributeError)


Fault = Callable[[Plan], str | None]
"""How the slim network of a plan fails, or None where it is right."""


def probe(
    model: nn.Module,
    graph: ChannelGraph,
    inputs: Inputs,
    cut: Cut | None = None,
    also: Fault = lambda _: None,
) -> ChannelGraph:
    """The graph without the groups that can't be cut: slim against masked, on two plans.

    First one unit leaves every group at once, then every second unit (a count that is rounded in
    the code survives the loss of one). Where the two differ, or the slim network fails, the groups
    at fault are found, first among those of the module that fails, else by halving, until the
    others are right together; their layers are listed as fixed with the error and its line as the
    reason. The same where the slim network fails in training, though the network itself does not,
    and where `also` finds a fault.

    Raises ModelError where the network can't be run, or gives no numbers, or not twice the same
    ones.
    """
    model = widen_(duplicate(model))
    enliven_(model)
    drawn = example(model, inputs)
    runs = cache(partial(_answer, model, model, drawn))
    differ = partial(_difference, model, graph, drawn=drawn, cut=cut or prune, runs=runs)
    trains = partial(_fails_in_training, model, drawn=drawn, cut=cut or prune)
    bad: dict[str, str] = {}
    for kept_units, check in (
        (_all_but_one, differ),
        (_every_second, differ),
        (_all_but_one, trains),
        (_all_but_one, partial(_as_failure, also)),
    ):
        suspects = [group for group in graph.groups if group.size > 1 and group.name not in bad]
        while found := at_fault(graph, suspects, kept_units, check):
            if not bad:
                _check_steady(model, drawn)
            bad |= found
            suspects = [group for group in suspects if group.name not in bad]
    if not bad:
        return graph
    kept = tuple(group for group in graph.groups if group.name not in bad)
    rows = [
        row
        for group in graph.groups
        if group.name in bad
        for row in _rows(graph, group, bad[group.name])
    ]
    return replace(graph, groups=kept, fixed=(*graph.fixed, *rows))


def example(model: nn.Module, inputs: Inputs, images: int = 2) -> tuple[Any, ...]:
    """One call's arguments in the model's own type and place: `images` random ones of a size, or
    the given inputs.

    Floating-point tensors are random, the same at every call, unless the inputs were captured.
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
    """Draw anew every parameter whose entries are all alike: ones about 1, zeros about 0.

    Fresh norms, layer scales and skip gains are constants, often zero, and so are some networks'
    heads: what stands before or behind them would say nothing.
    """
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            first = parameter.flatten()[:1]
            if not parameter.numel() or not bool((parameter == first).all()):
                continue
            drawn = torch.rand(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.copy_(0.2 * drawn - 0.1 if float(first.abs()) < 1e-12 else drawn + 0.5)


def check_same(
    model: nn.Module, graph: ChannelGraph, plan: Plan, inputs: Inputs, cut: Cut | None = None
) -> None:
    """Raise ModelError where the slim network differs from the masked one: nothing wrong is ever
    written.
    """
    model = widen_(duplicate(model))
    drawn = example(model, inputs)
    fault = _difference(
        model,
        graph,
        plan,
        drawn=drawn,
        cut=cut or prune,
        runs=partial(_answer, model, model, drawn),
    )
    if fault is not None:
        raise ModelError(
            type(model).__name__,
            f"the slim network does not match the masked network: {fault.says}",
            "code that depends on the number of channels can cause this; if there is none, please report it with the model",
        )


def _all_but_one(size: int) -> range:
    return range(1, size)


def _every_second(size: int) -> range:
    return range(0, size, 2)


def _as_failure(also: Fault, plan: Plan) -> Failure | None:
    found = also(plan)
    return None if found is None else Failure(found)


def _answer(model: nn.Module, network: nn.Module, drawn: tuple[Any, ...]) -> list[Tensor]:
    """What `model` gives, or `network` in which it stands under a mask. Raises ModelError where it
    can't be run.
    """
    try:
        with evaluating(model), torch.no_grad(), in_double():
            return tensors_in(network(*drawn))
    except FAULTS as error:
        found = f"the self-check can't run it in float64: {told(error)}"
        raise ModelError(
            type(model).__name__, found, "compute in the dtype of the inputs (x.dtype)"
        ) from error


def _difference(
    model: nn.Module,
    graph: ChannelGraph,
    plan: Plan,
    *,
    drawn: tuple[Any, ...],
    cut: Cut,
    runs: Callable[[], object],
) -> Failure | None:
    """How the slim network's outputs differ from the masked network's, or None where they agree.

    Where the slim network fails, `runs` is asked whether the network itself does not.
    """
    slim = set_mode_(cut(model, plan), training=False)
    inside = [""]

    def leave() -> None:
        inside.pop()

    try:
        with torch.no_grad(), in_double(), following_calls(slim, inside.append, leave):
            got = tensors_in(slim(*drawn))
    except FAULTS as error:
        runs()
        return Failure(told(error), inside[-1])
    place = next(model.parameters()).device
    masked = Masked(model, graph, hard_mask(plan, torch.float64).to(place))
    wanted = _answer(model, masked, drawn)
    for ours, theirs in zip(got, wanted, strict=True):
        if ours.shape != theirs.shape:
            return Failure(
                f"an output of shape {tuple(ours.shape)} instead of {tuple(theirs.shape)}"
            )
        off, scale = _apart(ours, theirs)
        if not off <= TOLERANCE * scale:
            return Failure(f"outputs differ by {off:.2g}")
    return None


def _apart(ours: Tensor, theirs: Tensor) -> tuple[float, float]:
    """The largest difference of two tensors of one shape, truths being 0 and 1, and what size to
    hold it against.
    """
    if not ours.numel():
        return 0.0, LEAST_SCALE
    ours, theirs = (
        tensor.double() if tensor.dtype == torch.bool else tensor for tensor in (ours, theirs)
    )
    return float((ours - theirs).abs().max()), max(LEAST_SCALE, float(theirs.abs().max()))


def _fails_in_training(
    model: nn.Module, plan: Plan, *, drawn: tuple[Any, ...], cut: Cut
) -> Failure | None:
    """How a slim network fails in training where `model` does not: code that only training runs may
    hold counts too.
    """

    def fault(network: nn.Module) -> Failure | None:
        try:
            with torch.random.fork_rng(devices=[]), torch.no_grad(), in_double():
                set_mode_(network, training=True)(*drawn)
        except FAULTS as error:
            return Failure(f"in training, {told(error)}")
        return None

    found = fault(cut(model, plan))
    return None if found is None or fault(duplicate(model)) is not None else found


def _check_steady(model: nn.Module, drawn: tuple[Any, ...]) -> None:
    """Raise ModelError where nothing could be compared: for what is no number, or another one at
    every call.
    """
    with evaluating(model), torch.no_grad(), in_double():
        first, second = (tensors_in(model(*drawn)) for _ in range(2))
    if any(bool(tensor.isnan().any()) for tensor in first):
        found = "its output for random images contains NaN, so pruning can't be verified"
        right = (
            "look for square roots, logarithms and divisions of values that may be negative or zero"
        )
    elif any(off > TOLERANCE * scale for off, scale in map(_apart, first, second)):
        found = "in eval mode its outputs differ between calls on the same images, so pruning can't be verified"
        right = "draw random numbers and update counters only in training (if self.training)"
    else:
        return
    raise ModelError(type(model).__name__, found, right)


def told(error: Exception) -> str:
    """An error's kind, what it says, and the line of the user's code that it came from."""
    kind, says = type(error).__name__, first_line(error)
    said = kind if says == kind else f"{kind}: {says}"
    return f"{said}{own_line(error)}"


def _rows(graph: ChannelGraph, group: ChannelGroup, fault: str) -> list[Fixed]:
    """For each layer whose output a group is part of, that it stays and why."""
    reason = f"the code depends on the number of channels; when pruned: {fault}"
    touched = {part.axis: sum(map(len, part.index)) for part in group.slices}
    sizes = dict(graph.sizes)
    return [
        Fixed(layer.name, touched[layer.out_axis], sizes[layer.out_axis], reason)
        for layer in graph.layers
        if layer.out_axis in touched
    ]
