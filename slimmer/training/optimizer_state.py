"""What any of PyTorch's optimizers remembers of each parameter, as tensors by name."""

from collections.abc import Mapping
from copy import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from slimmer.pruning.apply import slice_tensors
from slimmer.pruning.plan import Plan

_NUMBER = "number:"  # before the key of what is no tensor


def state_of(optimizer: Optimizer, network: nn.Module) -> dict[str, Tensor]:
    """The optimizer's state, "KEY.PARAMETER" to its tensor; a plain number is a tensor without
    axes.

    Raises TypeError for an optimizer that remembers other things of a parameter.
    """
    found = {}
    for name, parameter in network.named_parameters():
        for key, value in optimizer.state.get(parameter, {}).items():
            if isinstance(value, Tensor):
                found[f"{key}.{name}"] = value.detach()
            elif isinstance(value, int | float):
                found[f"{_NUMBER}{key}.{name}"] = torch.tensor(value, dtype=_kind(value))
            elif value is not None:
                raise TypeError(
                    f"{type(optimizer).__name__} keeps a {type(value).__name__} as {key} of {name}"
                )
    return found


def restore_(optimizer: Optimizer, network: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Put back what `state_of` gave, on the devices and in the types that PyTorch's
    `load_state_dict` chooses.
    """
    of_parameter: dict[str, dict[str, Any]] = {}
    for place, tensor in state.items():
        key, _, name = place.partition(".")
        number = key.startswith(_NUMBER)
        of_parameter.setdefault(name, {})[key.removeprefix(_NUMBER)] = (
            tensor.item() if number else tensor.clone()
        )
    names = {parameter: name for name, parameter in network.named_parameters()}
    wanted = copy(optimizer.state_dict())
    ordered = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    wanted["state"] = {
        index: of_parameter[names[parameter]]
        for index, parameter in enumerate(ordered)
        if names.get(parameter) in of_parameter
    }
    optimizer.load_state_dict(wanted)


def sliced_state(optimizer: Optimizer, network: nn.Module, plan: Plan) -> dict[str, Tensor]:
    """What `plan` keeps of the state: tensors of the parameter's shape sliced as it is, numbers as
    they are.

    A parameter of which the optimizer keeps a tensor of another shape begins anew, since how to
    slice it is not known.
    """
    parameters = dict(network.named_parameters())
    state = state_of(optimizer, network)
    strange = {
        _name(place)
        for place, each in state.items()
        if each.dim() and each.shape != parameters[_name(place)].shape
    }
    kept: dict[str, Tensor] = {}
    for place, tensor in state.items():
        name = _name(place)
        if name not in strange:
            whole = tensor.dim() == 0
            kept[place] = tensor if whole else slice_tensors({name: tensor}, plan)[name]
    return kept


def _name(place: str) -> str:
    """The parameter of `KEY.PARAMETER`."""
    return place.partition(".")[2]


def _kind(value: float) -> torch.dtype:
    if isinstance(value, bool):
        return torch.bool
    return torch.int64 if isinstance(value, int) else torch.float64
