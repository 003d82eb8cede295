"""Masks that act in a network of the user's: hooks multiply the weights that read a group's
channels while the network runs.
"""

from typing import Any

import torch
from torch import Tensor, nn

from slimmer.errors import ModelError
from slimmer.graph import ChannelGraph
from slimmer.pruning.masks import consumer_index


class LiveMasks:
    """The mask values (units,) of an attached network, shared by its hooks and those of its copies.

    A copy of the network (a moving average of the weights) runs under the same masks. A pickled
    network holds the values that the masks had.
    """

    def __init__(self, graph: ChannelGraph, device: torch.device) -> None:
        # The last value stands for all channels that are not pruned, and stays one.
        self.values = torch.ones(graph.units + 1, device=device, requires_grad=True)
        self._index: dict[str, list[tuple[int, Tensor]]] = {}
        for axis, units in consumer_index(graph).items():
            self._index.setdefault(axis.tensor, []).append((axis.dim, units.to(device)))

    @property
    def weights(self) -> list[str]:
        """The names of the masked weights in the network."""
        return list(self._index)

    @property
    def mask(self) -> Tensor:
        """A copy of the mask (units,), on the CPU."""
        return self.values.detach()[:-1].cpu()

    def set_(self, mask: Tensor) -> None:
        """Set the mask (units,)."""
        with torch.no_grad():
            self.values[:-1] = mask.to(self.values)

    def take_gradient(self) -> Tensor | None:
        """The gradient of the loss by the mask (units,) since the last call; None without one."""
        gradient, self.values.grad = self.values.grad, None
        return None if gradient is None else gradient[:-1]

    def give_gradient(self, gradient: Tensor | None) -> None:
        """Put back a gradient (units,) that was taken, as of a loss since the last call."""
        self.values.grad = None
        if gradient is not None:
            given = torch.cat([gradient, gradient.new_zeros(1)])
            self.values.grad = given.to(self.values)

    def masked(self, name: str, weight: Tensor) -> Tensor:
        """The weight of that name in the network under the masks."""
        for dim, units in self._index[name]:
            shape = [-1 if each == dim else 1 for each in range(weight.dim())]
            weight = weight * self.values[units].to(weight).view(shape)
        return weight

    def __deepcopy__(self, _memo: dict[int, Any]) -> "LiveMasks":
        return self

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "values": self.values.detach().requires_grad_()}


class Enter:
    """A hook before a module's forward: the masked weights take the parameters' places.

    Every module that contains a masked weight has the hook, so that masks also act if the user's
    code runs a part of the network alone (`model.backbone(x)`, activation checkpointing).
    """

    slimmer_masks = True  # by which `accept_model` knows the hook

    def __init__(self, masks: LiveMasks, slots: list[tuple[str, str, str]]) -> None:
        """`slots` are the masked weights below the module: the path of the module that owns one,
        the weight's name there, and its name in the network.
        """
        self.masks = masks
        self.slots = slots
        self.held: list[list[tuple[nn.Module, str, nn.Parameter]]] = []

    def __call__(self, module: nn.Module, _arguments: Any) -> None:
        """Replace the parameters; those that a module around this one replaced are left alone."""
        if getattr(module, "_is_replica", False):
            right = "use DistributedDataParallel, or one GPU"
            raise ModelError("slimmer.attach", "masks do not act in nn.DataParallel", right)
        replaced: list[tuple[nn.Module, str, nn.Parameter]] = []
        self.held.append(replaced)
        for path, name, place in self.slots:
            owner = module.get_submodule(path)
            own = owner._parameters  # noqa: SLF001 - as torch.func.functional_call does
            weight = own[name]
            if isinstance(weight, nn.Parameter):
                own[name] = self.masks.masked(place, weight)  # type: ignore[assignment]
                replaced.append((owner, name, weight))

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "held": []}


class Leave:
    """A hook after a module's forward: the parameters return to their places."""

    def __init__(self, enter: Enter) -> None:
        self.enter = enter

    def __call__(self, _module: nn.Module, _arguments: Any, _outputs: Any) -> None:
        """Put the parameters back that `enter` replaced, also if the forward failed."""
        if self.enter.held:
            for owner, name, weight in self.enter.held.pop():
                owner._parameters[name] = weight  # noqa: SLF001


class Hooks:
    """The hooks of a network, to be removed together."""

    def __init__(self, model: nn.Module, masks: LiveMasks) -> None:
        slots: dict[str, list[tuple[str, str, str]]] = {}
        for place in masks.weights:
            owner, _, name = place.rpartition(".")
            parts = owner.split(".") if owner else []
            for depth in range(len(parts) + 1):
                above, below = ".".join(parts[:depth]), ".".join(parts[depth:])
                slots.setdefault(above, []).append((below, name, place))
        self._handles = []
        for path, held in slots.items():
            module, enter = model.get_submodule(path), Enter(masks, held)
            # Last before the forward and first after it, so that the user's own hooks find the
            # parameters.
            self._handles.append(module.register_forward_pre_hook(enter))
            leave = Leave(enter)
            self._handles.append(
                module.register_forward_hook(leave, prepend=True, always_call=True)
            )

    def remove(self) -> None:
        """Remove them: the network is as it was."""
        for handle in self._handles:
            handle.remove()
