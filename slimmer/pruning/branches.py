"""Residual branches: sets of channel groups that can be removed whole."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from slimmer.graph import Axis, ChannelGraph, ChannelGroup, Layer, tensors_in
from slimmer.models.copying import duplicate, set_mode_
from slimmer.pruning.apply import Cut, prune
from slimmer.pruning.float64 import in_double, widen_
from slimmer.pruning.masked_comparison import answer, difference, fails_in_training
from slimmer.pruning.plan import make_plan
from slimmer.pruning.self_check import enliven_, example
from slimmer.pruning.traced_parts import Scope

Branch = frozenset[str]
OWN = {"weight", "bias", "running_mean", "running_var"}  # tensors of layers that can be replaced


@dataclass(frozen=True)
class _Reader:
    """A layer: the groups that it reads and makes, and whether these are all that it reads and
    makes.
    """

    reads: Branch
    reads_only: bool
    makes: Branch
    makes_only: bool


def find_branches(
    model: nn.Module,
    graph: ChannelGraph,
    floors: Mapping[str, int],
    scope: Scope,
    cut: Cut = prune,
) -> ChannelGraph:
    """The graph with its `branches`: sets of groups without all of which every output still depends
    on the inputs, because another path goes around them.

    The layers that read such groups read nothing else, so that they make a constant. The sets are
    checked like a plan: the slim network equals the masked one, and it trains. Sets that pass
    together are not checked one by one. Groups with a minimum width (`floors`) above one stay.
    """
    found = [one for one in candidates(graph) if max(map(floors.__getitem__, one)) <= 1]
    graph = replace(graph, branches=tuple(found))
    right = _right(found, _passing(scope.of(model), graph, scope, cut))
    return replace(graph, branches=tuple(right))


def candidates(graph: ChannelGraph) -> list[Branch]:
    """The largest sets of groups, in the order of the graph, that are useless if one of them is
    removed.
    """
    readers = [_reader(graph, layer) for layer in graph.layers]
    found: list[Branch] = []
    for group in graph.groups:
        branch = None
        if _can_go(graph, group):
            branch = _with_idle(graph, frozenset({group.name}), readers)
        if branch is not None and branch not in found:
            found.append(branch)
    return [one for one in found if not _part_of_another(one, found)]


def _part_of_another(branch: Branch, others: Sequence[Branch]) -> bool:
    return any(branch < other for other in others)


def _can_go(graph: ChannelGraph, group: ChannelGroup) -> bool:
    """Whether a group is no residual stream, and no weight is computed from what it holds."""
    if group.name in graph.streams:
        return False
    held = [axis.tensor for axis in group.axes if not axis.tensor.startswith("@")]
    names = [tensor.rpartition(".")[2] for tensor in held if "#" not in tensor]
    return OWN.issuperset(names)


def _reader(graph: ChannelGraph, layer: Layer) -> _Reader:
    """What a layer reads and makes."""
    reads, makes = _there(graph, layer.in_axis), _there(graph, layer.out_axis)
    sizes: dict[Axis | None, int] = {None: -1, **dict(graph.sizes)}
    return _Reader(
        frozenset(reads),
        sum(reads.values()) == sizes[layer.in_axis],
        frozenset(makes),
        sum(makes.values()) == sizes[layer.out_axis],
    )


def _there(graph: ChannelGraph, axis: Axis | None) -> dict[str, int]:
    """How many channels of each group an axis holds."""
    found = {}
    for group in graph.groups:
        number = group.axes.get(axis) if axis is not None else None
        if number is not None:
            found[group.name] = number
    return found


def _with_idle(graph: ChannelGraph, branch: Branch, readers: Sequence[_Reader]) -> Branch | None:
    """The branch with all groups that only it reads; None if a layer reads more than the branch."""
    known: Branch = frozenset()
    while branch != known:
        known = branch
        for group in graph.groups:
            if _can_go(graph, group) and _is_idle(group.name, branch, readers):
                branch |= {group.name}
    for reader in readers:
        inside = reader.reads_only and reader.reads <= branch
        if reader.reads & branch and not reader.makes <= branch and not inside:
            return None
    return branch


def _is_idle(group: str, branch: Branch, readers: Collection[_Reader]) -> bool:
    """Whether all layers that read a group make channels of the branch, and nothing else."""
    own = [reader for reader in readers if group in reader.reads]
    useless = [reader.makes_only and reader.makes <= branch | {group} for reader in own]
    return all(useless) and any(reader.makes & branch for reader in own)


def _right(
    branches: Sequence[Branch],
    passes: Callable[[Sequence[Branch]], bool],
    before: Sequence[Branch] = (),
) -> list[Branch]:
    """Branches that pass together with those `before` them, found by bisection."""
    if not branches or passes([*before, *branches]):
        return [*before, *branches]
    if len(branches) == 1:
        return list(before)
    half = len(branches) // 2
    return _right(branches[half:], passes, _right(branches[:half], passes, before))


def _passing(
    model: nn.Module, graph: ChannelGraph, scope: Scope, cut: Cut
) -> Callable[[Sequence[Branch]], bool]:
    """A function that says whether the network is right without some branches."""
    model = widen_(duplicate(model))
    enliven_(model)
    drawn = example(model, scope.inputs)
    runs = cache(partial(answer, model, model, drawn))
    others = tree_map_only(Tensor, _other, drawn)
    moved = partial(_moved, drawn=drawn, others=others)
    wanted = moved(set_mode_(duplicate(model), training=False))

    def passes(branches: Sequence[Branch]) -> bool:
        plan = make_plan(graph, dict.fromkeys(chain.from_iterable(branches), ()))
        if difference(model, graph, plan, drawn=drawn, cut=cut, runs=runs) is not None:
            return False
        if fails_in_training(model, plan, drawn=drawn, cut=cut) is not None:
            return False
        found = moved(set_mode_(cut(model, plan), training=False))
        return any(wanted) and all(now >= then for now, then in zip(found, wanted, strict=True))

    return passes


def _moved(network: nn.Module, drawn: tuple[Any, ...], others: tuple[Any, ...]) -> list[bool]:
    """Which outputs are others for other inputs."""
    with torch.no_grad(), in_double():
        first, second = tensors_in(network(*drawn)), tensors_in(network(*others))
    return [not torch.equal(one, two) for one, two in zip(first, second, strict=True)]


def _other(value: Tensor) -> Tensor:
    """Another input: the images in another order, or the negative of a single one."""
    if value.dim() and len(value) > 1:
        return value.flip(0)
    return -value if value.is_floating_point() else value
