"""The inputs with which a network is traced, counted and checked: images of one size, or example
tensors.
"""

import inspect
from collections.abc import Iterable, Mapping
from typing import Any, TypeGuard

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map, tree_map_only

from slimmer.errors import ModelError
from slimmer.graph.nested import tensors_in
from slimmer.models.copying import duplicate, set_mode_

Inputs = tuple[int, ...] | tuple[Any, ...] | Mapping[str, Any]
"""(C, H, W) of one image; or positional arguments (tensors, or dictionaries of tensors); or
arguments by name.
"""

ORDER = "wrap it in a module whose forward takes all arguments in order"


class Captured(tuple[Tensor, ...]):
    """Positional arguments recorded from a real call; they are never replaced by random numbers."""

    __slots__ = ()


def example_inputs(model: nn.Module, inputs: Inputs, images: int) -> tuple[Any, ...]:
    """The positional arguments of one call of `model`: `images` images of zeros, or the given
    tensors.

    Floating-point tensors get the model's type, and all tensors its device.

    Raises:
        ModelError: the network's forward does not take these arguments, or takes some of them by
            name only.

    >>> [tuple(x.shape) for x in example_inputs(nn.Conv2d(3, 4, 1), (3, 8, 8), images=2)]
    [(2, 3, 8, 8)]
    >>> named = {"input": torch.zeros(1, 3, 5, 5)}
    >>> [tuple(x.shape) for x in example_inputs(nn.Conv2d(3, 4, 1), named, images=2)]
    [(1, 3, 5, 5)]
    """
    parameter = _first(model)
    if isinstance(inputs, Mapping):
        return tuple(_like(value, parameter) for value in by_position(model, inputs))
    if is_image(inputs):
        image = torch.zeros((images, *inputs), dtype=parameter.dtype, device=parameter.device)
        right = "give the network an attribute example_inputs with all arguments of one call"
        _arguments(model, (image,), {}, "a single image", right)
        return (image,)
    right = "give all arguments of one call, in forward's order or by name"
    _arguments(model, inputs, {}, f"{len(inputs)} example_inputs", right)
    return tuple(_like(value, parameter) for value in inputs)


def by_position(model: nn.Module, named: Mapping[str, Any]) -> tuple[Any, ...]:
    """All arguments of a call that gives them by name, in forward's order.

    Raises ModelError if the network's forward does not take them, or takes some by name only.
    """
    given = f"the inputs {', '.join(map(repr, named))}"
    right = "use forward's argument names, or give a tuple in forward's order"
    return _arguments(model, (), named, given, right)


def several_images(model: nn.Module, example: tuple[Any, ...]) -> tuple[Any, ...]:
    """The arguments of one call with every tensor doubled along its first axis, if all of these
    axes have length 1 and `model` accepts that.

    A program that is traced with one image is fixed to one image. The network accepts two if every
    tensor of its output then is twice as long; otherwise the given arguments are returned.

    >>> [tuple(x.shape) for x in several_images(nn.Conv2d(3, 4, 1), (torch.zeros(1, 3, 5, 5),))]
    [(2, 3, 5, 5)]
    """
    given = tensors_in(example)
    if not given or any(not tensor.dim() or len(tensor) != 1 for tensor in given):
        return example
    twice: tuple[Any, ...] = tree_map(
        lambda x: torch.cat([x, x]) if isinstance(x, Tensor) else x, example
    )
    network = set_mode_(duplicate(model), training=False)
    try:
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            one, two = tensors_in(network(*example)), tensors_in(network(*twice))
    except Exception:  # noqa: BLE001 - whatever the user's own code raises
        return example
    return twice if one and list(map(_doubled, one)) == [each.shape for each in two] else example


def _doubled(tensor: Tensor) -> tuple[int, ...]:
    """The shape of a tensor with twice the length along its first axis."""
    return (2 * len(tensor), *tensor.shape[1:]) if tensor.dim() else ()


def own_inputs(model: nn.Module) -> Inputs | None:
    """The arguments of one call that a network states in its attribute `example_inputs`; None if it
    has none.

    The attribute is a tensor, a tuple of tensors in the order of forward, or a dictionary of
    tensors by name.

    Raises:
        ModelError: the attribute is something else, or a tensor in it is empty.
    """
    own = getattr(model, "example_inputs", None)
    for tensor in tensors_in(own):
        if not tensor.numel():
            found = f"its example_inputs contain an empty tensor, {_size(tensor.shape)}"
            right = "give real inputs, such as a batch of two"
            raise ModelError(type(model).__name__, found, right)
    if own is None or (isinstance(own, (list, tuple, Mapping)) and len(own)):
        return tuple(own) if isinstance(own, list) else own
    if isinstance(own, Tensor):
        return (own,)
    found = f"its example_inputs are a {type(own).__name__}"
    raise ModelError(
        type(model).__name__,
        found,
        "give a tensor, a tuple of tensors, or a dictionary of them by name",
    )


def is_image(inputs: Inputs) -> TypeGuard[tuple[int, ...]]:
    """Whether `inputs` is the size of one image, not the arguments of a call."""
    if isinstance(inputs, Mapping) or not inputs:
        return False
    return all(isinstance(size, int) for size in inputs)


def shapes(inputs: Inputs) -> str:
    """The inputs of one call as text.

    >>> shapes((3, 32, 32)), shapes((torch.zeros(2, 3, 8, 8), torch.zeros(2, 4)))
    ('one image of 3x32x32', 'one call with inputs of 2x3x8x8 and 2x4')
    """
    if is_image(inputs):
        return f"one image of {_size(inputs)}"
    sizes = [_size(tensor.shape) for tensor in tensors_in(inputs)]
    return f"one call with inputs of {' and '.join(sizes)}"


def _size(shape: Iterable[int]) -> str:
    return "x".join(map(str, shape))


def _arguments(
    model: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any], given: str, right: str
) -> tuple[Any, ...]:
    """All arguments of a call, as positional ones. Raises ModelError if the network's forward does
    not take them.
    """
    try:
        bound = inspect.signature(model.forward).bind(*args, **kwargs)
    except TypeError as error:
        for each in inspect.signature(model.forward).parameters.values():
            if each.kind is each.KEYWORD_ONLY and each.default is each.empty:
                right = ORDER
        raise ModelError(
            type(model).__name__, f"its forward does not take {given}: {error}", right
        ) from error
    if bound.kwargs:
        names = ", ".join(map(repr, filter(bound.kwargs.__contains__, kwargs)))
        found = f"its forward takes {names} as keyword-only arguments, which would not be traced"
        raise ModelError(type(model).__name__, found, ORDER)
    bound.apply_defaults()
    return bound.args


def _first(model: nn.Module) -> Tensor:
    """The parameter whose type and device the inputs get: the first one of floating point, since
    complex ones do not meet the inputs directly.
    """
    for parameter in model.parameters():
        if parameter.is_floating_point():
            return parameter
    return next(model.parameters(), torch.zeros(()))


def _like(value: Any, parameter: Tensor) -> Any:
    """The same value, its tensors in the type and on the device of `parameter`."""
    return tree_map_only(
        Tensor,
        lambda x: x.to(parameter) if x.is_floating_point() else x.to(parameter.device),
        value,
    )
