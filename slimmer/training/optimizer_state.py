"""The state of a PyTorch optimizer for each parameter, as tensors by name."""

from collections.abc import Callable, Mapping
from copy import copy
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from slimmer.pruning.apply import slice_tensors, widen_tensors
from slimmer.pruning.plan import Plan

_NUMBER = "number:"  # before the key of a plain number


def state_of(optimizer: Optimizer, network: nn.Module) -> dict[str, Tensor]:
    """The optimizer's state: each "KEY.PARAMETER" with its tensor; a plain number becomes a tensor
    without axes.

    Raises TypeError for an optimizer that stores other types for a parameter.
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
    """Restore the state that `state_of` returned, on the devices and in the types that PyTorch's
    `load_state_dict` chooses.
    """
    of_parameter: dict[str, dict[str, Any]] = {}
    for place, tensor in state.items():
        key, _, name = place.partition(".")
        value = tensor.item() if key.startswith(_NUMBER) else tensor.clone()
        of_parameter.setdefault(name, {})[key.removeprefix(_NUMBER)] = value
    names = {parameter: name for name, parameter in network.named_parameters()}
    ordered: list[nn.Parameter] = []
    for group in optimizer.param_groups:
        ordered += group["params"]
    wanted = copy(optimizer.state_dict())
    wanted["state"] = {}
    for index, parameter in enumerate(ordered):
        name = names.get(parameter, "")
        if name in of_parameter:
            wanted["state"][index] = of_parameter[name]
    optimizer.load_state_dict(wanted)


def sliced_state(optimizer: Optimizer, network: nn.Module, plan: Plan) -> dict[str, Tensor]:
    """The state after pruning by `plan`: tensors of the parameter's shape are sliced like the
    parameter, numbers are kept.

    The state of a parameter is dropped if the optimizer stores a tensor of another shape for it,
    because it is unknown how to slice that.
    """
    return _reshaped(optimizer, network, partial(slice_tensors, plan=plan))


def widened_state(optimizer: Optimizer, network: nn.Module, plan: Plan) -> dict[str, Tensor]:
    """The reverse of `sliced_state`, for the optimizer of a network that `plan` has pruned: the
    state of the whole network, with zeros for what was removed.

    The same state is dropped.
    """
    return _reshaped(optimizer, network, partial(widen_tensors, plan=plan))


def _reshaped(
    optimizer: Optimizer,
    network: nn.Module,
    change: Callable[[Mapping[str, Tensor]], dict[str, Tensor]],
) -> dict[str, Tensor]:
    """The state with tensors of the parameter's shape changed by `change`, as the parameter is."""
    parameters = dict(network.named_parameters())
    state = state_of(optimizer, network)
    dropped = set()
    for place, tensor in state.items():
        if tensor.dim() and tensor.shape != parameters[_name(place)].shape:
            dropped.add(_name(place))
    kept: dict[str, Tensor] = {}
    for place, tensor in state.items():
        name = _name(place)
        if name in dropped:
            continue
        if tensor.dim():
            kept[place] = change({name: tensor})[name]
        else:
            kept[place] = tensor
    return kept


def sliced_state_dict(
    optimizer: Optimizer, parameters: Mapping[str, Tensor], plan: Plan
) -> dict[str, Any]:
    """The `state_dict` of an optimizer after pruning by `plan` the network with these `parameters`.

    It fits an optimizer of the slim network with the same parameter groups. Tensors are sliced as
    in `sliced_state`; the state of parameters outside the network is kept whole.
    """
    names = {parameter: name for name, parameter in parameters.items()}
    found = optimizer.state_dict()
    ordered: list[Tensor] = []
    for group in optimizer.param_groups:
        ordered += group["params"]
    kept: dict[int, Any] = {}
    for index, values in found["state"].items():
        parameter = ordered[index]
        if parameter not in names:
            kept[index] = values
            continue
        sliced = _sliced(names[parameter], parameter.shape, values, plan)
        if sliced is not None:
            kept[index] = sliced
    return {**found, "state": kept}


def _sliced(
    name: str, shape: torch.Size, values: Mapping[str, Any], plan: Plan
) -> dict[str, Any] | None:
    """The state of one parameter, sliced; None if it is unknown how to slice it."""
    kept: dict[str, Any] = {}
    for key, value in values.items():
        kept[key] = value
        if isinstance(value, Tensor) and value.dim():
            if value.shape != shape:
                return None
            kept[key] = slice_tensors({name: value}, plan)[name]
    return kept


def _name(place: str) -> str:
    """The parameter of `KEY.PARAMETER`."""
    return place.partition(".")[2]


def _kind(value: float) -> torch.dtype:
    if isinstance(value, bool):
        return torch.bool
    return torch.int64 if isinstance(value, int) else torch.float64
