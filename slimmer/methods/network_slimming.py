"""Network Slimming: batch-norm scales are trained under an L1 penalty and then rank the
channels.
"""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from slimmer.criteria import ScoreRequest, bn_scale_scores, normed_groups
from slimmer.errors import ModelError
from slimmer.graph import ChannelGraph
from slimmer.methods.method import MethodSetup
from slimmer.pruning.plan import Plan
from slimmer.pruning.published_cuts import cut_by_share
from slimmer.recipe import trained_methods as options

DEAD = 1e-3  # of the mean magnitude: a smaller scale counts as removed


class NetworkSlimming:
    """L = L_task + strength * sum of |gamma| over the batch-norm scales; the masks stay at one.

    Only this penalty acts on the scales: unlike the published code, the optimizer has no weight
    decay on vectors. It acts only on scales whose channels can be pruned. A budget replaces the
    published threshold over all |gamma|.

    Source: Liu et al., Learning Efficient Convolutional Networks through Network Slimming (2017),
    github.com/Eric-mingjie/network-slimming.
    """

    has_masks = False
    trains_masks = False
    closed = 0.0

    def __init__(
        self,
        units: int,
        scales: Sequence[nn.Parameter],
        strength: float,
        measure: Callable[[], Tensor],
        find: Callable[[nn.Module], Sequence[nn.Parameter]],
    ) -> None:
        """`scales` are the batch norms' weights, and `find` finds them in another network;
        `measure` returns the scores (units,) of their current values in the whole network.
        """
        self._units = units
        self._scales = tuple(scales)
        self._strength = strength
        self._measure = measure
        self._find = find

    @property
    def state(self) -> dict[str, Tensor]:
        """Empty: the scales are part of the network."""
        return {}

    def start(self) -> Tensor:
        """Masks of one."""
        return torch.ones(self._units, dtype=torch.float32)

    def gate(self, variables: Tensor, *, training: bool) -> Tensor:
        """The variables themselves, ones."""
        del training
        return variables

    def penalty(self, variables: Tensor, step: int) -> Tensor:
        """The sum of the scales' magnitudes times strength; its gradient is the published
        subgradient, strength * sign(gamma).
        """
        del variables, step
        return self._strength * torch.cat(self._scales).abs().sum()

    def after_backward_(self, variables: nn.Parameter, step: int) -> None:
        """Do nothing: the optimizer updates the scales."""

    def scores(self, variables: Tensor) -> Tensor:
        """The current magnitudes of each unit's scales."""
        del variables
        return self._measure()

    def settled(self, variables: Tensor) -> Tensor:
        """The units whose scales are below a thousandth of the mean magnitude."""
        scores = self.scores(variables)
        return scores < DEAD * scores.mean()

    def follow_(self, network: nn.Module) -> None:
        """Put the penalty on the scales of `network`."""
        self._scales = tuple(self._find(network))


def find_scales(model: nn.Module, graph: ChannelGraph) -> list[nn.Parameter]:
    """The weights of the batch norms whose channels are in a group. Raises ModelError if there are
    none.
    """
    touched: set[str] = set()
    for group in graph.groups:
        touched.update(part.axis.tensor for part in group.slices)
    scales = []
    for name, module in model.named_modules():
        if not isinstance(module, _BatchNorm) or not module.affine:
            continue
        if f"{name}.weight".removeprefix(".") in touched:
            scales.append(module.weight)
    if not scales:
        raise ModelError(
            "model", "has no batch norm on prunable channels", "use another method.name"
        )
    return scales


def build(setup: MethodSetup[options.NetworkSlimming]) -> NetworkSlimming:
    """The method for the network's scales; they are set to `scale_start`, if given, unless the run
    is resumed.
    """
    section = setup.options
    scales = find_scales(setup.model, setup.graph)
    if section.scale_start is not None and not setup.resumed:
        with torch.no_grad():
            for scale in scales:
                scale.fill_(section.scale_start)
    measure = partial(bn_scale_scores, setup.model, setup.graph)
    find = partial(find_scales, graph=setup.graph)
    return NetworkSlimming(setup.graph.units, scales, section.strength, measure, find)


def cut(request: ScoreRequest[options.NetworkSlimming], scores: Tensor) -> Plan:
    """The plan that removes the published share of all channels, `method.ratio`, by one
    threshold.
    """
    share = request.options.ratio or 0.0
    return cut_by_share(scores, request.graph, share, normed_groups(request.model, request.graph))
