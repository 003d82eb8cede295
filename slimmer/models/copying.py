"""Independent copies of networks."""

from contextlib import suppress
from copy import deepcopy
from functools import partial
from inspect import signature
from types import CellType, FunctionType, MethodType
from typing import Any, TypeVar

from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

Network = TypeVar("Network", bound=nn.Module)


def duplicate(model: Network) -> Network:
    """A deep copy, also of modules that store computed tensors: an activation, a weight
    (`nn.utils.weight_norm`).

    PyTorch refuses to copy tensors that belong to an autograd graph; the copy stores their values.
    Python does not copy functions: if a module stores a function (an assigned `forward`, a hook)
    whose closure contains modules of the network, the copy's function refers to the copies.

    >>> conv = nn.utils.spectral_norm(nn.Conv2d(3, 4, 3))
    >>> answer = conv(Tensor(1, 3, 3, 3))
    >>> conv.weight.is_leaf, duplicate(conv).weight.is_leaf
    (False, True)
    """
    held: list[Any] = []
    for module in model.modules():
        held += tree_leaves(vars(module))
    copies: dict[int, Any] = {}
    for value in held:
        if isinstance(value, Tensor) and not value.is_leaf:
            copies[id(value)] = value.detach().clone()
    copy = deepcopy(model, copies)
    for module in copy.modules():
        own = vars(module)
        hooks = [value for name, value in own.items() if name.endswith("_hooks")]
        for place in (own, *hooks):
            if isinstance(place, dict):
                place.update({key: _bound_again(value, copies) for key, value in place.items()})
    return copy


def _bound_again(value: Any, copies: dict[int, Any]) -> Any:
    """A function that calls the copy if `value` calls the given network; any other value unchanged.

    `copies` are the copies of all objects, by the identity of the original.
    """
    if isinstance(value, MethodType):
        return MethodType(value.__func__, copies.get(id(value.__self__), value.__self__))
    if isinstance(value, partial):
        args = [_copy_of(part, copies) for part in value.args]
        called = partial(_copy_of(value.func, copies), *args, **value.keywords)
        called.__dict__.update(value.__dict__)
        return called
    if isinstance(value, FunctionType) and value.__closure__:
        return _function_again(value, copies)
    return value


def _function_again(value: FunctionType, copies: dict[int, Any]) -> FunctionType:
    """The same function, with copies in its closure."""
    cells = tuple(CellType() for _ in value.__closure__ or ())
    again = FunctionType(
        value.__code__, value.__globals__, value.__name__, value.__defaults__, cells
    )
    again.__kwdefaults__ = value.__kwdefaults__
    again.__dict__.update(value.__dict__)
    copies[id(value)] = again  # first, since its closure may contain itself
    for new, old in zip(cells, value.__closure__ or (), strict=True):
        with suppress(ValueError):  # of a variable without a value yet
            new.cell_contents = _copy_of(old.cell_contents, copies)
    return again


def _copy_of(value: Any, copies: dict[int, Any]) -> Any:
    return copies[id(value)] if id(value) in copies else _bound_again(value, copies)


def set_mode_(model: Network, training: bool) -> Network:
    """The model itself, with every module put into training or eval mode through its flag.

    `train` and `eval` are not called, because they may mean something else to a subclass (to run a
    trainer). The exception is an overridden `train` that takes a `mode`, as PyTorch's does: it is
    called for training mode, because it decides which parts stay frozen.

    >>> set_mode_(nn.Sequential(nn.Dropout()), training=False)[0].training
    False
    """
    own = type(model).train
    if training and own is not nn.Module.train and "mode" in signature(own).parameters:
        model.train(mode=True)
        return model
    model.training = training
    for module in model.children():
        set_mode_(module, training)
    return model
