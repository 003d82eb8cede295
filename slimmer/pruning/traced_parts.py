"""The scope of pruning: the whole network, or the parts that the user names."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd
from torch.utils._pytree import tree_map_only

from slimmer.errors import NETWORK_FAULTS, ModelError, UntraceableError
from slimmer.graph import (
    Call,
    ChannelGraph,
    Fixed,
    Inputs,
    Parts,
    build_graph,
    capture,
    evaluating,
    shapes,
    tensors_in,
    traceable,
)
from slimmer.models.copying import duplicate
from slimmer.pruning.apply import Cut, prune
from slimmer.pruning.float64 import in_double, widen_
from slimmer.pruning.masked_comparison import told
from slimmer.pruning.masks import Masked, hard_mask
from slimmer.pruning.plan import Plan
from slimmer.pruning.self_check import check_same, enliven_, example, probe

NEAR = 1e-6  # of the output's scale: the whole network may use narrower types
NUDGE = 1e-12  # of the inputs: outputs that this changes beyond NEAR are decided by rounding


@dataclass(frozen=True, eq=False)
class Scope:
    """The whole network, or `parts` of it with their calls in one real call of the network.

    `inputs` are those with which the scope is traced, counted and checked; `whole` are the inputs
    of the whole network.
    """

    inputs: Inputs
    whole: Inputs
    parts: tuple[str, ...] = ()
    calls: tuple[Call, ...] = ()

    def of(self, model: nn.Module) -> nn.Module:
        """The part of `model`, dense or slim, that is traced, counted and checked: itself or its
        parts.
        """
        return Parts(model, self.calls) if self.parts else model

    @property
    def described(self) -> str:
        """What the FLOPs are counted of, as text."""
        return f"{self.named} in {shapes(self.whole)}" if self.parts else shapes(self.whole)

    @property
    def named(self) -> str:
        """The names of the parts, as text."""
        noun = "parts" if len(self.parts) > 1 else "part"
        return f"the traced {noun} {' and '.join(self.parts)}"


def scope_of(model: nn.Module, inputs: Inputs, parts: Sequence[str] = ()) -> Scope:
    """The scope of a network that takes `inputs`: the whole network, or the submodules `parts`.

    Raises ModelError if a part does not exist, is not called, or shares parameters with modules
    that are not traced.

    >>> net = nn.Sequential(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 2, 1))
    >>> scope = scope_of(net, (3, 4, 4), ["1"])
    >>> [tuple(x.shape) for x in scope.inputs]
    [(1, 8, 4, 4)]
    >>> [name for name, _ in scope.of(net).named_parameters()]
    ['1.weight', '1.bias']
    """
    if not parts:
        return Scope(inputs, inputs)
    calls, captured = capture(model, example(model, inputs, images=1), parts)
    return Scope(captured, inputs, tuple(parts), calls)


def graph_of(model: nn.Module, scope: Scope, *, equal_splits: bool = False) -> ChannelGraph:
    """The channel groups of the scope; layers outside are listed as fixed. See `build_graph` for
    `equal_splits`.

    Raises ModelError if the scope can't be traced; for a whole network, the message lists the parts
    that could be.
    """
    try:
        graph = build_graph(scope.of(model), scope.inputs, equal_splits=equal_splits)
    except UntraceableError as error:
        if scope.parts:
            raise
        found = traceable(model, example(model, scope.inputs, images=1))
        if not found:
            raise
        setting = f"--trace {','.join(found)} (model.trace, in Python trace=)"
        right = f"{error.right}; or prune the parts that can be traced: {setting}"
        raise ModelError(error.where, error.found, right) from error
    if not scope.parts:
        return graph
    known = {name for name, _ in scope.of(model).named_modules()}
    rows = (_of_part(row) for row in graph.fixed)
    return replace(graph, fixed=(*rows, *_outside(model, known, scope)))


def _of_part(row: Fixed) -> Fixed:
    """A fixed layer with its reason in terms of parts."""
    said = row.reason.replace("the network's output", "the output of a traced part")
    return replace(row, reason=said.replace("the network's input", "the input of a traced part"))


def _outside(model: nn.Module, known: set[str], scope: Scope) -> Iterator[Fixed]:
    """The convolution and linear layers that are not traced."""
    for name, module in model.named_modules():
        if name not in known and isinstance(module, (_ConvNd, nn.Linear)):
            size = module.out_channels if isinstance(module, _ConvNd) else module.out_features
            yield Fixed(name, size, size, f"outside {scope.named}")


def probe_scope(
    model: nn.Module, graph: ChannelGraph, scope: Scope, cut: Cut = prune
) -> ChannelGraph:
    """As `probe`, for the scope; groups whose removal makes the whole network fail are fixed
    too.
    """
    also: Callable[[Plan], str | None] = lambda _: None  # noqa: E731 - the name is the type's
    if scope.parts:
        lively = duplicate(model)
        enliven_(lively)
        also = partial(_fault_of_whole, lively, graph, scope)
    return probe(scope.of(model), graph, scope.inputs, cut, also)


def check_scope(
    model: nn.Module, graph: ChannelGraph, plan: Plan, scope: Scope, cut: Cut = prune
) -> None:
    """Raise ModelError if the slim network does not match the masked one, in the scope or as a
    whole.
    """
    check_same(scope.of(model), graph, plan, scope.inputs, cut)
    fault = _fault_of_whole(model, graph, scope, plan) if scope.parts else None
    if fault is not None:
        cause = "code outside the traced parts may read their weights or stored values"
        right = f"{cause}; keep those layers (--keep)"
        raise ModelError(type(model).__name__, f"with {scope.named} pruned, {fault}", right)


@torch.no_grad()
def _fault_of_whole(model: nn.Module, graph: ChannelGraph, scope: Scope, plan: Plan) -> str | None:
    """How the whole slim network fails or differs from the masked one; None if it is right.

    Outputs that rounding decides (which of two equal boxes comes first) are not compared: a nudge
    to the inputs changes them in the masked network too. A network that can't run in float64 is run
    but not compared.
    """
    mode: Callable[[], Any] = in_double
    network = widen_(duplicate(model))
    drawn = example(network, scope.whole, images=1)
    wanted = _answer(_masked(network, graph, plan), drawn, mode)
    if isinstance(wanted, str):
        network, mode = model, nullcontext
        drawn = example(network, scope.whole, images=1)
    got = _answer(prune(network, plan), drawn, mode)
    if isinstance(got, str):
        return f"the whole network fails: {got}"
    if isinstance(wanted, str) or _alike(got, wanted):
        return None
    nudged = _answer(_masked(network, graph, plan), _nudged(drawn), mode)
    steady = not isinstance(nudged, str) and _alike(nudged, wanted)
    return "the whole network's outputs differ from the masked network's" if steady else None


def _masked(model: nn.Module, graph: ChannelGraph, plan: Plan) -> Masked:
    parameter = next(model.parameters())
    return Masked(model, graph, hard_mask(plan, parameter.dtype).to(parameter.device))


def _answer(
    network: nn.Module, args: tuple[Any, ...], mode: Callable[[], Any]
) -> list[Tensor] | str:
    """The tensors that a network returns in eval mode, or how it fails."""
    try:
        with evaluating(network), mode():
            return tensors_in(network(*args))
    except NETWORK_FAULTS as error:
        return told(error)


def _alike(ours: Sequence[Tensor], theirs: Sequence[Tensor]) -> bool:
    """Whether two outputs have the same tensors, up to NEAR relative to the scale of each."""
    if [each.shape for each in ours] != [each.shape for each in theirs]:
        return False
    for our, their in zip(ours, theirs, strict=True):
        if not our.numel():
            continue
        a, b = our.double(), their.double()
        # `not <=`, so that NaN is a difference
        if not float((a - b).abs().max()) <= NEAR * max(NEAR, float(b.abs().max())):
            return False
    return True


def _nudged(args: tuple[Any, ...]) -> Any:
    """The same arguments, with every floating-point number scaled by 1 + NUDGE."""
    return tree_map_only(Tensor, lambda x: x * (1 + NUDGE) if x.is_floating_point() else x, args)
