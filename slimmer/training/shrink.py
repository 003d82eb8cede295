"""A network under masks without its removed units, and the way back into the whole network."""

from dataclasses import replace

import torch

from slimmer.graph import Axis, ChannelSlice
from slimmer.pruning.apply import widen_tensors
from slimmer.pruning.masks import Masked
from slimmer.pruning.plan import Plan
from slimmer.training.learner import Learner, make_learner
from slimmer.training.optimizer_state import restore_, sliced_state, widened_state
from slimmer.training.schedule import Training


def shrunk(
    whole: Learner, network: Masked, plan: Plan, training: Training, *, train_masks: bool
) -> Learner:
    """The learner that goes on where `whole` is, with `network`, which `plan` has pruned, and what
    is left of the optimizer's state.
    """
    if training.compile:
        torch.compiler.reset()  # of one function, PyTorch compiles few networks before it gives up
    learner = make_learner(network, training, train_masks=train_masks)
    kept = sliced_state(whole.optimizer, whole.network, _under_masks(plan))
    restore_(learner.optimizer, network, kept)
    learner.step = whole.step
    return learner


def return_(learner: Learner, whole: Learner, plan: Plan) -> None:
    """Bring `whole` to where `learner` is, which trains the network that `plan` has pruned; weights
    and optimizer state of removed channels are zero.
    """
    placed = _under_masks(plan)
    whole.network.load_state_dict(widen_tensors(learner.network.state_dict(), placed))
    state = widened_state(learner.optimizer, learner.network, placed)
    restore_(whole.optimizer, whole.network, state)
    whole.step = learner.step


def _under_masks(plan: Plan) -> Plan:
    """The plan with the names that tensors have in `Masked`."""
    groups = []
    for group in plan.groups:
        slices = []
        for part in group.slices:
            place = Axis(f"model.{part.axis.tensor}", part.axis.dim)
            slices.append(ChannelSlice(place, part.index))
        groups.append(replace(group, slices=tuple(slices)))
    return replace(plan, groups=tuple(groups))
