"""Compare a slim network with the masked network, in float64."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from slimmer.errors import NETWORK_FAULTS, ModelError, first_line
from slimmer.graph import ChannelGraph, evaluating, following_calls, own_line, tensors_in
from slimmer.models.copying import duplicate, set_mode_
from slimmer.pruning.apply import Cut
from slimmer.pruning.at_fault import Failure
from slimmer.pruning.float64 import in_double
from slimmer.pruning.masks import Masked, hard_mask
from slimmer.pruning.plan import Plan

TOLERANCE = 1e-9  # of the output's scale, in float64
LEAST_SCALE = 1e-5  # what is smaller may be rounding itself


def answer(model: nn.Module, network: nn.Module, drawn: tuple[Any, ...]) -> list[Tensor]:
    """The outputs of `network`, which is `model` itself or `model` under a mask. Raises ModelError
    if it can't be run.
    """
    try:
        with evaluating(model), torch.no_grad(), in_double():
            return tensors_in(network(*drawn))
    except NETWORK_FAULTS as error:
        found = f"the self-check can't run it in float64: {told(error)}"
        raise ModelError(
            type(model).__name__, found, "compute in the dtype of the inputs (x.dtype)"
        ) from error


def difference(
    model: nn.Module,
    graph: ChannelGraph,
    plan: Plan,
    *,
    drawn: tuple[Any, ...],
    cut: Cut,
    runs: Callable[[], object],
) -> Failure | None:
    """How the slim network's outputs differ from the masked network's, or None if they agree.

    If the slim network fails, `runs` is called: it raises if the network itself fails too.
    """
    slim = set_mode_(cut(model, plan), training=False)
    inside = [""]

    def leave() -> None:
        inside.pop()

    try:
        with torch.no_grad(), in_double(), following_calls(slim, inside.append, leave):
            got = tensors_in(slim(*drawn))
    except NETWORK_FAULTS as error:
        runs()
        return Failure(told(error), inside[-1])
    place = next(model.parameters()).device
    masked = Masked(model, graph, hard_mask(plan, torch.float64).to(place))
    wanted = answer(model, masked, drawn)
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
    """The largest difference of two tensors of one shape (booleans as 0 and 1), and the scale with
    which to compare it.
    """
    if not ours.numel():
        return 0.0, LEAST_SCALE
    if ours.dtype == torch.bool:
        ours = ours.double()
    if theirs.dtype == torch.bool:
        theirs = theirs.double()
    return float((ours - theirs).abs().max()), max(LEAST_SCALE, float(theirs.abs().max()))


def fails_in_training(
    model: nn.Module, plan: Plan, *, drawn: tuple[Any, ...], cut: Cut
) -> Failure | None:
    """How a slim network fails in training mode although `model` does not: code that only training
    runs may contain channel counts too.
    """

    def fault(network: nn.Module) -> Failure | None:
        try:
            with torch.random.fork_rng(devices=[]), torch.no_grad(), in_double():
                set_mode_(network, training=True)(*drawn)
        except NETWORK_FAULTS as error:
            return Failure(f"in training, {told(error)}")
        return None

    found = fault(cut(model, plan))
    if found is None or fault(duplicate(model)) is not None:
        return None
    return found


def check_steady(model: nn.Module, drawn: tuple[Any, ...]) -> None:
    """Raise ModelError if outputs can't be compared, because they contain NaN or differ between
    calls.
    """
    with evaluating(model), torch.no_grad(), in_double():
        first, second = tensors_in(model(*drawn)), tensors_in(model(*drawn))
    if any(bool(tensor.isnan().any()) for tensor in first):
        found = "its output for random images contains NaN, so pruning can't be verified"
        right = (
            "look for square roots, logarithms and divisions of values that may be negative or zero"
        )
    elif any(off > TOLERANCE * scale for off, scale in map(_apart, first, second)):
        differ = "in eval mode its outputs differ between calls on the same images"
        found = f"{differ}, so pruning can't be verified"
        right = "draw random numbers and update counters only in training (if self.training)"
    else:
        return
    raise ModelError(type(model).__name__, found, right)


def told(error: Exception) -> str:
    """The type and message of an error, and the line of the user's code that raised it."""
    kind, says = type(error).__name__, first_line(error)
    said = kind if says == kind else f"{kind}: {says}"
    return f"{said}{own_line(error)}"
