"""Scores read off the weights alone: norms of filters, batch-norm scales, and random numbers to compare with."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from slimmer.errors import ModelError
from slimmer.graph import ChannelGraph, ChannelGroup, ChannelSlice


def filter_norm_scores(model: nn.Module, graph: ChannelGraph, order: int) -> Tensor:
    """The norm of the filters that make each unit, 1 being an average filter of its layer; (units,), float64.

    A filter is the slice of a convolution's or linear layer's weight that one output channel is made by; the layers
    that read the channel have no say (`magnitude_scores` asks them too). Li et al. compare filters of one layer only.
    So that layers can be compared, each norm is divided by the mean of its layer, which also takes out what a batch
    norm behind it undoes; a unit that several filters make (a residual sum, a grouped convolution) has the mean of
    theirs, and one that no weight makes by itself (a grouped transposed convolution's) counts as average. Filters are
    scored independently: inputs that go in the same cut still count.

    Args:
        model: its weights are read.
        graph: its channel groups.
        order: 1 for sums of magnitudes, 2 for Euclidean norms.

    Raises:
        ModelError: a weight is not a finite number.

    Source: Li et al., Pruning Filters for Efficient ConvNets (2016), section 3.1; the mean over what is tied is
    DepGraph's (Fang et al. 2023), who add the weights that read a channel.
    """
    weights = model.state_dict()
    made = {layer.out_axis for layer in graph.layers if layer.out_axis.tensor in weights}
    norms = {}
    for axis in made:
        norm = torch.linalg.vector_norm(
            weights[axis.tensor].abs().double().cpu().movedim(axis.dim, 0).flatten(1), order, 1
        )
        norms[axis] = norm / norm.mean().clamp_min(1e-300)
    parts = []
    for group in graph.groups:
        filters = [norms[part.axis][torch.tensor(part.index)] for part in group.slices if part.axis in made]
        parts.append(torch.cat(filters, 1).mean(1) if filters else torch.ones(group.size, dtype=torch.float64))
    return _finite(parts)


def bn_scale_scores(model: nn.Module, graph: ChannelGraph) -> Tensor:
    """The magnitude of each unit's batch-norm scales, their mean where it has several; (units,), float64.

    Units of a group without a batch norm, which the paper does not know, get the largest score that there is: they
    go last. Raises ModelError where no group has one, or a scale is not a finite number.

    Source: Liu et al., Learning Efficient Convolutional Networks through Network Slimming (2017), section 3.
    """
    scales = model.state_dict()
    found = {group.name: _scales(model, group) for group in graph.groups}
    if graph.groups and not any(found.values()):
        right = "take another criterion, such as l1 or taylor"
        raise ModelError("method.name", "no channel group of the network has a batch norm with scales", right)
    parts: list[Tensor | None] = []
    for group in graph.groups:
        rows = [scales[s.axis.tensor].double().cpu().abs()[torch.tensor(s.index)] for s in found[group.name]]
        parts.append(torch.cat(rows, 1).mean(1) if rows else None)
    most = max((float(part.max()) for part in parts if part is not None), default=0.0)
    sizes = [group.size for group in graph.groups]
    whole = [torch.full((n,), most, dtype=torch.float64) for n in sizes]
    return _finite([full if part is None else part for part, full in zip(parts, whole, strict=True)])


def normed_groups(model: nn.Module, graph: ChannelGraph) -> frozenset[str]:
    """The names of the groups that a batch norm with scales belongs to."""
    return frozenset(group.name for group in graph.groups if _scales(model, group))


def random_scores(graph: ChannelGraph, seed: int) -> Tensor:
    """Uniform numbers in [0, 1) from `seed`: what any criterion has to beat; (units,), float64."""
    return torch.rand(graph.units, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def _scales(model: nn.Module, group: ChannelGroup) -> list[ChannelSlice]:
    """Where the group lies on batch-norm scales."""
    names = set(_batch_norms(model))
    return [part for part in group.slices if part.axis.tensor in names]


def _batch_norms(model: nn.Module) -> Iterator[str]:
    for name, module in model.named_modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.affine:  # noqa: SLF001 - the public base
            yield f"{name}.weight" if name else "weight"


def _finite(parts: list[Tensor]) -> Tensor:
    scores = torch.cat([*parts, torch.zeros(0, dtype=torch.float64)])
    if not scores.isfinite().all():
        raise ModelError("model", "has weights that are not numbers", "check its checkpoint")
    return scores
