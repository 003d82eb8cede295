"""A copy of a network that shares nothing with it."""

from copy import deepcopy
from typing import TypeVar

from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

Network = TypeVar("Network", bound=nn.Module)


def duplicate(model: Network) -> Network:
    """A deep copy, also of modules that hold what they computed: an activation, a weight (`nn.utils.weight_norm`).

    PyTorch refuses to copy what belongs to a gradient's graph; the copy holds its values.

    >>> conv = nn.utils.spectral_norm(nn.Conv2d(3, 4, 3))
    >>> answer = conv(Tensor(1, 3, 3, 3))
    >>> conv.weight.is_leaf, duplicate(conv).weight.is_leaf
    (False, True)
    """
    held = [value for module in model.modules() for value in tree_leaves(vars(module)) if isinstance(value, Tensor)]
    return deepcopy(model, {id(value): value.detach().clone() for value in held if not value.is_leaf})
