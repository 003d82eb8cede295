"""A copy of a network that shares nothing with it."""

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
    """A deep copy, also of modules that hold what they computed: an activation, a weight
    (`nn.utils.weight_norm`).

    PyTorch refuses to copy what belongs to a gradient's graph; the copy holds its values. Python
    copies no functions: where a module holds one (a `forward` assigned to it, a hook) that has
    modules of the network in its closure, the copy's has the copies.

    >>> conv = nn.utils.spectral_norm(nn.Conv2d(3, 4, 3))
    >>> answer = conv(Tensor(1, 3, 3, 3))
    >>> conv.weight.is_leaf, duplicate(conv).weight.is_leaf
    (False, True)
    """
    held = [
        value
        for module in model.modules()
        for value in tree_leaves(vars(module))
        if isinstance(value, Tensor)
    ]
    copies: dict[int, Any] = {
        id(value): value.detach().clone() for value in held if not value.is_leaf
    }
    copy = deepcopy(model, copies)
    for module in copy.modules():
        own = vars(module)
        hooks = [
            value
            for name, value in own.items()
            if name.endswith("_hooks") and isinstance(value, dict)
        ]
        for place in (own, *hooks):
            place.update({key: _bound_again(value, copies) for key, value in place.items()})
    return copy


def _bound_again(value: Any, copies: dict[int, Any]) -> Any:
    """A function that runs the copy where `value` runs the given network; anything else as it is.

    `copies` are those of all that was copied, by the identity of the original.
    """
    if isinstance(value, MethodType):
        return MethodType(value.__func__, copies.get(id(value.__self__), value.__self__))
    if isinstance(value, partial):
        args = [_copy_of(part, copies) for part in value.args]
        called = partial(_copy_of(value.func, copies), *args, **value.keywords)
        called.__dict__.update(value.__dict__)
        return called
    return (
        _function_again(value, copies)
        if isinstance(value, FunctionType) and value.__closure__
        else value
    )


def _function_again(value: FunctionType, copies: dict[int, Any]) -> FunctionType:
    """The same function over the copies of what it holds."""
    cells = tuple(CellType() for _ in value.__closure__ or ())
    again = FunctionType(
        value.__code__, value.__globals__, value.__name__, value.__defaults__, cells
    )
    again.__kwdefaults__ = value.__kwdefaults__
    again.__dict__.update(value.__dict__)
    copies[id(value)] = again  # first, since it may hold itself
    for new, old in zip(cells, value.__closure__ or (), strict=True):
        with suppress(ValueError):  # of a variable without a value yet
            new.cell_contents = _copy_of(old.cell_contents, copies)
    return again


def _copy_of(value: Any, copies: dict[int, Any]) -> Any:
    return copies[id(value)] if id(value) in copies else _bound_again(value, copies)


def set_mode_(model: Network, training: bool) -> Network:
    """The model itself, every module of it put into training or eval mode by its flag.

    `train` and `eval` may mean something else to a subclass (to run a trainer), so they are not
    called; but a `train` that takes a `mode`, as PyTorch's does, is, where training begins: it says
    what stays frozen.

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
