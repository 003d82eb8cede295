"""Scores by batch-norm scales."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from slimmer.criteria.request import ScoreRequest, joined
from slimmer.errors import ModelError
from slimmer.graph import ChannelGraph, ChannelGroup, ChannelSlice
from slimmer.recipe.method_options import MethodOptions


def bn_scale(request: ScoreRequest[MethodOptions]) -> Tensor:
    """Magnitudes of the scales, see `bn_scale_scores`."""
    return bn_scale_scores(request.model, request.graph)


def bn_scale_scores(model: nn.Module, graph: ChannelGraph) -> Tensor:
    """The magnitude of each unit's batch-norm scale, or the mean of several; (units,), float64.

    Units of a group without a batch norm, which the paper does not cover, get the largest score, so
    they are removed last. Raises ModelError if no group has a batch norm, or if a scale is NaN or
    infinite.

    Source: Liu et al., Learning Efficient Convolutional Networks through Network Slimming (2017),
    section 3.
    """
    scales = model.state_dict()
    found = {group.name: _scales(model, group) for group in graph.groups}
    if graph.groups and not any(found.values()):
        right = "use another criterion, such as l1 or taylor"
        raise ModelError(
            "method.name", "no channel group of the network has a batch norm with scales", right
        )
    parts: list[Tensor | None] = []
    for group in graph.groups:
        rows = [
            scales[s.axis.tensor].double().cpu().abs()[torch.tensor(s.index)]
            for s in found[group.name]
        ]
        parts.append(torch.cat(rows, 1).mean(1) if rows else None)
    most = max((float(part.max()) for part in parts if part is not None), default=0.0)
    sizes = [group.size for group in graph.groups]
    whole = [torch.full((n,), most, dtype=torch.float64) for n in sizes]
    return joined([full if part is None else part for part, full in zip(parts, whole, strict=True)])


def normed_groups(model: nn.Module, graph: ChannelGraph) -> frozenset[str]:
    """The names of the groups that a batch norm with scales belongs to."""
    return frozenset(group.name for group in graph.groups if _scales(model, group))


def _scales(model: nn.Module, group: ChannelGroup) -> list[ChannelSlice]:
    """The slices of a group on batch-norm scales."""
    names = set(_batch_norms(model))
    return [part for part in group.slices if part.axis.tensor in names]


def _batch_norms(model: nn.Module) -> Iterator[str]:
    for name, module in model.named_modules():
        if isinstance(module, _BatchNorm) and module.affine:
            yield f"{name}.weight" if name else "weight"
