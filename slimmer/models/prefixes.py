"""Weights by the network's own names: what other programs put in front of them, found from the
network.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Final

from torch import Tensor

from slimmer.models.match import OPTIONAL, layer_weight

# What wrappers put into the middle of names: torch.compile, FSDP, activation checkpointing.
_WRAPPERS: Final = ("_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module.")
_HEADS: Final = re.compile(r"(^|\.)(\w*head|classifier)\.")  # OpenMMLab's, and others' after them
_EMA: Final = re.compile(r"(^|[^a-z])(ema|swa|averaged)([^a-z]|$)", re.IGNORECASE)
_MOST_FITTING = 8  # prefixes that are told apart in a message
_MOST_TRIED = 64  # prefixes of which the nearest is found


@dataclass(frozen=True, eq=False)
class Named:
    """Weights by a network's own names, without the `prefix` that they had; and the keys that are
    not the network's.
    """

    weights: Mapping[str, Tensor]
    prefix: str = ""
    passed: tuple[str, ...] = ()


def is_average(name: str) -> bool:
    """Whether weights of that name are a running average of others.

    >>> [name for name in ("model", "model_ema", "emanuel", "params_ema", "ema.module") if is_average(name)]
    ['model_ema', 'params_ema', 'ema.module']
    """
    return _EMA.search(name) is not None


def complete(
    own: Mapping[str, Tensor], weights: Mapping[str, Tensor], head: str | None
) -> list[Named]:
    """The sets of all of a network's keys among `weights`, each under a prefix of its own; one
    alone where it has none.

    `own` is the network's state, and `head` its last layer, which may lie beside the rest under a
    name with "head". What has the prefix must be the network's, but for counters (whole numbers,
    such as an average's); what has another is passed over. Shapes are not looked at.
    """
    weights = _unwrapped(own, weights)
    required = [key for key in own if not key.endswith(OPTIONAL)]
    body = [key for key in required if head is None or key.rpartition(".")[0] != head]
    fitting = (
        prefix for prefix in _prefixes(own, weights) if all(prefix + key in weights for key in body)
    )
    named = (_take(own, weights, prefix, head) for prefix in fitting)
    found = list(islice((each for each in named if each is not None), _MOST_FITTING))
    bare = [each for each in found if not each.prefix]
    return bare or found


def nearest_names(own: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> Named:
    """The weights under the prefix that most of the network's keys have, whole or not."""
    weights = _unwrapped(own, weights)
    tried = ["", *islice(_prefixes(own, weights), _MOST_TRIED)]
    prefix = max(tried, key=lambda each: sum(each + key in weights for key in own))
    inner, outer = _split(weights, prefix)
    return Named(inner, prefix, tuple(outer))


def _unwrapped(own: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """The weights without what wrappers put into the middle of names, where the network has no such
    names.
    """
    for wrapper in _WRAPPERS:
        if any(wrapper in key for key in weights) and not any(wrapper in key for key in own):
            plain = {key.replace(wrapper, ""): each for key, each in weights.items()}
            weights = plain if len(plain) == len(weights) else weights
    return weights


def _prefixes(own: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> Iterator[str]:
    """What stands in front of the network's first kernel among the weights."""
    kernel = next((key for key, each in own.items() if each.ndim >= 2), next(iter(own), ""))
    for key in weights:
        if key == kernel or key.endswith(f".{kernel}"):
            yield key[: len(key) - len(kernel)]


def _split(
    weights: Mapping[str, Tensor], prefix: str
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Those that have the prefix, without it; and the others."""
    inner = {key[len(prefix) :]: each for key, each in weights.items() if key.startswith(prefix)}
    return inner, {key: each for key, each in weights.items() if not key.startswith(prefix)}


def _take(
    own: Mapping[str, Tensor], weights: Mapping[str, Tensor], prefix: str, head: str | None
) -> Named | None:
    """The network's weights under that prefix; None where some are missing, or others have it too."""
    inner, outer = _split(weights, prefix)
    missing = [key for key in own if key not in inner and not key.endswith(OPTIONAL)]
    if missing:
        place = None if head is None else _head_elsewhere(own, outer, head)
        if place is None:
            return None
        for key in missing:
            inner[key] = outer.pop(place + key.rpartition(".")[2])
    extra = [key for key in inner if key not in own]
    if not all(_counts(inner[key]) for key in extra):
        return None
    passed = (*(prefix + key for key in extra), *outer)
    return Named({key: each for key, each in inner.items() if key in own}, prefix, passed)


def _counts(tensor: Tensor) -> bool:
    """Whether it is one whole number: nothing that a network computes with, as a learnt scale would
    be.
    """
    return tensor.numel() == 1 and not (tensor.is_floating_point() or tensor.is_complex())


def _head_elsewhere(
    own: Mapping[str, Tensor], outer: Mapping[str, Tensor], head: str
) -> str | None:
    """The prefix of the last layer's weights beside the network's; None unless there is exactly one
    such.
    """
    kernel = layer_weight(head)
    parts = [key.rpartition(".")[2] for key in own if key.rpartition(".")[0] == head]
    places = [
        key.removesuffix("weight")
        for key in outer
        if _HEADS.search(key) and key.endswith(".weight")
    ]
    fitting = [
        place
        for place in places
        if all(place + part in outer for part in parts)
        and outer[place + "weight"].shape[1:] == own[kernel].shape[1:]
        and outer[place + "weight"].ndim == own[kernel].ndim
    ]
    return fitting[0] if len(fitting) == 1 else None
