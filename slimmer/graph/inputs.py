"""What a network is fed with while it is traced, counted and checked: images of one size, or
tensors of its own.
"""

import inspect
from collections.abc import Mapping
from typing import Any, TypeGuard

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map, tree_map_only

from slimmer.errors import ModelError
from slimmer.graph.nested import tensors_in
from slimmer.models.copying import duplicate, set_mode_

Inputs = tuple[int, ...] | tuple[Any, ...] | Mapping[str, Any]
"""(C, H, W) of one image; or positional arguments (tensors, or dictionaries of them); or arguments
by name.
"""


ORDER = "wrap it in a module whose forward takes all of them in order"


class Captured(tuple[Tensor, ...]):
    """Positional arguments that a real call was seen to get; no other numbers are drawn in their
    place.
    """

    __slots__ = ()


def example_inputs(model: nn.Module, inputs: Inputs, images: int) -> tuple[Any, ...]:
    """The positional arguments of one call of `model`: `images` black ones of a size, or the given
    tensors themselves.

    Tensors of floating point are brought to the model's type, and all tensors to its place.

    Raises: ModelError: the network's forward does not take so many arguments, or not by these
        names, or by name alone.

    >>> [tuple(x.shape) for x in example_inputs(nn.Conv2d(3, 4, 1), (3, 8, 8), images=2)]
    [(2, 3, 8, 8)]
    >>> [tuple(x.shape) for x in example_inputs(nn.Conv2d(3, 4, 1), {"input": torch.zeros(1, 3, 5, 5)}, images=2)]
    [(1, 3, 5, 5)]
    """
    parameter = _first(model)
    if isinstance(inputs, Mapping):
        named = f"the inputs {', '.join(map(repr, inputs))}"
        right = "name the inputs as forward does, or give them as a tuple in its order"
        return tuple(
            _like(value, parameter) for value in _arguments(model, (), inputs, named, right)
        )
    if is_image(inputs):
        image = torch.zeros((images, *inputs), dtype=parameter.dtype, device=parameter.device)
        right = "give the network an attribute example_inputs, with all that one call takes"
        _arguments(model, (image,), {}, "one image alone", right)
        return (image,)
    right = "give what one call takes, in forward's order or by name"
    _arguments(model, inputs, {}, f"as many example_inputs as {len(inputs)}", right)
    return tuple(_like(value, parameter) for value in inputs)


def several_images(model: nn.Module, example: tuple[Any, ...]) -> tuple[Any, ...]:
    """The arguments of one call with every tensor twice along its first axis, where that was 1 and
    `model` takes it.

    A program that is traced with one image holds that there is one. The network takes two where
    each tensor of its answer is twice as long then; otherwise the given arguments come back.

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
    longer = [(2 * len(each), *each.shape[1:]) if each.dim() else () for each in one]
    return twice if one and longer == [tuple(each.shape) for each in two] else example


def own_inputs(model: nn.Module) -> Inputs | None:
    """The arguments of one call that a network itself names, in its attribute `example_inputs`;
    None where it has none.

    That is a tensor, a tuple of them in the order of its forward, or a dictionary of them by name.

    Raises:
        ModelError: the attribute is something else, or a tensor in it is empty.
    """
    own = getattr(model, "example_inputs", None)
    empty = next((tensor for tensor in tensors_in(own) if not tensor.numel()), None)
    if empty is not None:
        found = f"its example_inputs hold an empty tensor, {'x'.join(map(str, empty.shape))}"
        raise ModelError(
            type(model).__name__, found, "give what a call really takes, such as a batch of two"
        )
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
    """Whether `inputs` are the size of one image, not the arguments of a call."""
    return (
        not isinstance(inputs, Mapping)
        and bool(inputs)
        and all(isinstance(size, int) for size in inputs)
    )


def shapes(inputs: Inputs) -> str:
    """What one call takes, for people.

    >>> shapes((3, 32, 32)), shapes((torch.zeros(2, 3, 8, 8), torch.zeros(2, 4)))
    ('one image of 3x32x32', 'one call of inputs of 2x3x8x8 and 2x4')
    """
    if is_image(inputs):
        return f"one image of {'x'.join(map(str, inputs))}"
    return f"one call of inputs of {' and '.join('x'.join(map(str, tensor.shape)) for tensor in tensors_in(inputs))}"


def _arguments(
    model: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any], given: str, right: str
) -> tuple[Any, ...]:
    """All positional arguments of a call. Raises ModelError where the network's forward does not
    take them.
    """
    try:
        bound = inspect.signature(model.forward).bind(*args, **kwargs)
    except TypeError as error:
        parameters = inspect.signature(model.forward).parameters.values()
        if any(
            each.kind is each.KEYWORD_ONLY and each.default is each.empty for each in parameters
        ):
            right = ORDER
        raise ModelError(
            type(model).__name__, f"its forward does not take {given}: {error}", right
        ) from error
    alone = [name for name in kwargs if name in bound.kwargs]
    if alone:
        found = f"its forward takes {', '.join(map(repr, alone))} by name alone, and would be traced without"
        raise ModelError(type(model).__name__, found, ORDER)
    bound.apply_defaults()
    return bound.args


def _first(model: nn.Module) -> Tensor:
    """The parameter whose type and place inputs have: the first real one, since complex ones meet
    images later.
    """
    parameters = [*model.parameters(), torch.zeros(())]
    return next((each for each in parameters[:-1] if each.is_floating_point()), parameters[0])


def _like(value: Any, parameter: Tensor) -> Any:
    """The same value, its tensors in the type and place of `parameter`."""
    return tree_map_only(
        Tensor,
        lambda x: x.to(parameter) if x.is_floating_point() else x.to(parameter.device),
        value,
    )
