"""The optimizers of torch.optim, by name, and their options."""

import inspect
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import nn

from slimmer.errors import RecipeError, first_line
from slimmer.recipe.optimizers import OF_THE_SECTION, OPTIMIZERS, SGD, UNUSABLE
from slimmer.registry import hint

_KEY = "finetune.optimizer_options"


def make_optimizer(
    groups: Iterable[Mapping[str, Any]],
    name: str,
    options: Mapping[str, Any],
    *,
    lr: float,
    momentum: float,
    weight_decay: float,
) -> torch.optim.Optimizer:
    """The optimizer called `name` for parameter groups; `momentum` applies to SGD, with Nesterov.

    `options` are keyword arguments of its class, which override the others. Raises RecipeError for
    an unknown name, and whatever the class raises.

    >>> weight = nn.Parameter(torch.zeros(2))
    >>> make_optimizer([{"params": [weight]}], "adamw", {}, lr=0.1, momentum=0.9, weight_decay=0.0)
    ... # doctest: +ELLIPSIS
    AdamW (...
    """
    kind = getattr(torch.optim, OPTIMIZERS[name].torch_class)
    own = {"momentum": momentum, "nesterov": momentum > 0} if name == SGD else {}
    made: torch.optim.Optimizer = kind(
        [dict(group) for group in groups], lr=lr, weight_decay=weight_decay, **{**own, **options}
    )
    return made


def optimizer_options(name: str) -> list[str]:
    """The options of the optimizer called `name`, in addition to lr, momentum and weight decay.

    >>> optimizer_options("sgd")
    ['dampening', 'foreach', 'fused', 'nesterov']
    """
    kind = getattr(torch.optim, OPTIMIZERS[name].torch_class)
    left_out = {*OF_THE_SECTION, *UNUSABLE}
    if name == SGD:
        left_out.add("momentum")
    return sorted(set(inspect.signature(kind).parameters) - left_out)


def check_optimizer(name: str, options: Mapping[str, Any], *, momentum: float) -> None:
    """Raise RecipeError for an option that the optimizer does not have, or a value that it rejects.

    The values are tested by one step on a matrix and a vector.
    """
    known = optimizer_options(name)
    for option in options:
        if option not in known:
            found = f"{name} has no option {option!r}, or it can't be set here"
            raise RecipeError(_KEY, found, hint(option, known))
    parameters = [nn.Parameter(torch.ones(2, 2)), nn.Parameter(torch.ones(2))]
    groups = [{"params": [each]} for each in parameters]
    for each in parameters:
        each.grad = torch.ones_like(each)
    try:
        make_optimizer(groups, name, options, lr=0.01, momentum=momentum, weight_decay=0.0).step()
    except Exception as error:
        found = f"{name} rejects {dict(options)}: {first_line(error)}"
        right = f"give values that torch.optim.{OPTIMIZERS[name].torch_class} accepts"
        raise RecipeError(_KEY, found, right) from error
