"""Weights under the network's own names: the prefixes that other programs add are found by
comparing with the network.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Final

from torch import Tensor

from slimmer.models.match import OPTIONAL, layer_weight

# Parts that wrappers insert into names: torch.compile, FSDP, activation checkpointing.
_WRAPPERS: Final = ("_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module.")
_HEADS: Final = re.compile(r"(^|\.)(\w*head|classifier)\.")  # OpenMMLab's, and others' after them
_EMA: Final = re.compile(r"(^|[^a-z])(ema|swa|averaged)([^a-z]|$)", re.IGNORECASE)
_MOST_FITTING = 8  # prefixes that are found at most
_MOST_TRIED = 64  # prefixes that are compared to find the nearest


@dataclass(frozen=True, eq=False)
class Named:
    """Weights under a network's own names, without the `prefix` that they had; and in `passed` the
    keys that do not belong to the network.
    """

    weights: Mapping[str, Tensor]
    prefix: str = ""
    passed: tuple[str, ...] = ()


def is_average(name: str) -> bool:
    """Whether weights of that name are a running average of others.

    >>> list(filter(is_average, ("model", "model_ema", "emanuel", "params_ema", "ema.module")))
    ['model_ema', 'params_ema', 'ema.module']
    """
    return _EMA.search(name) is not None


def complete(
    own: Mapping[str, Tensor], weights: Mapping[str, Tensor], head: str | None
) -> list[Named]:
    """The complete sets of a network's keys among `weights`, each under another prefix; only the
    set without a prefix if there is one.

    `own` is the network's state, and `head` its last layer, which may be stored separately under a
    name with "head". Keys with the prefix must belong to the network, except counters (whole
    numbers, such as those of an average); keys with another prefix are skipped. Shapes are not
    compared.
    """
    weights = _unwrapped(own, weights)
    body = _required(own)
    if head is not None:
        body = [key for key in body if key.rpartition(".")[0] != head]
    found: list[Named] = []
    for prefix in _prefixes(own, weights):
        if len(found) == _MOST_FITTING:
            break
        if weights.keys() >= {prefix + key for key in body}:
            named = _take(own, weights, prefix, head)
            if named is not None:
                found.append(named)
    bare = [each for each in found if not each.prefix]
    return bare or found


def _required(own: Mapping[str, Tensor]) -> list[str]:
    """The keys that a complete set of weights must have."""
    return [key for key in own if not key.endswith(OPTIONAL)]


def nearest_names(own: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> Named:
    """The weights under the prefix that matches most of the network's keys, complete or not."""
    weights = _unwrapped(own, weights)
    tried = ["", *islice(_prefixes(own, weights), _MOST_TRIED)]
    prefix = max(tried, key=lambda each: sum(each + key in weights for key in own))
    inner, outer = _split(weights, prefix)
    return Named(inner, prefix, tuple(outer))


def _unwrapped(own: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """The weights without the parts that wrappers insert into names, unless the network has such
    names itself.
    """
    for wrapper in _WRAPPERS:
        if _occurs(wrapper, weights) and not _occurs(wrapper, own):
            plain = {key.replace(wrapper, ""): each for key, each in weights.items()}
            if len(plain) == len(weights):
                weights = plain
    return weights


def _occurs(part: str, keys: Iterable[str]) -> bool:
    return any(part in key for key in keys)


def _prefixes(own: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> Iterator[str]:
    """The prefixes of the network's first kernel among the weights."""
    kernel = next(iter(own), "")
    for key, tensor in own.items():
        if tensor.ndim >= 2:
            kernel = key
            break
    for key in weights:
        if key == kernel or key.endswith(f".{kernel}"):
            yield key[: len(key) - len(kernel)]


def _split(
    weights: Mapping[str, Tensor], prefix: str
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The weights that have the prefix, without it; and the others."""
    inner, outer = {}, {}
    for key, tensor in weights.items():
        if key.startswith(prefix):
            inner[key[len(prefix) :]] = tensor
        else:
            outer[key] = tensor
    return inner, outer


def _take(
    own: Mapping[str, Tensor], weights: Mapping[str, Tensor], prefix: str, head: str | None
) -> Named | None:
    """The network's weights under that prefix; None if some are missing, or if weights that do not
    belong to the network have the prefix too.
    """
    inner, outer = _split(weights, prefix)
    missing = [key for key in _required(own) if key not in inner]
    if missing:
        place = None if head is None else _head_elsewhere(own, outer, head)
        if place is None:
            return None
        for key in missing:
            inner[key] = outer.pop(place + key.rpartition(".")[2])
    found, passed = {}, []
    for key, tensor in inner.items():
        if key in own:
            found[key] = tensor
        elif _counts(tensor):
            passed.append(prefix + key)
        else:
            return None
    return Named(found, prefix, (*passed, *outer))


def _counts(tensor: Tensor) -> bool:
    """Whether it is a single whole number, which is a counter and not, for example, a learnt
    scale.
    """
    return tensor.numel() == 1 and not (tensor.is_floating_point() or tensor.is_complex())


def _head_elsewhere(
    own: Mapping[str, Tensor], outer: Mapping[str, Tensor], head: str
) -> str | None:
    """The prefix of the last layer's weights if they are stored separately; None unless there is
    exactly one candidate.
    """
    kernel = own[layer_weight(head)]
    parts = []
    for key in own:
        layer, _, part = key.rpartition(".")
        if layer == head:
            parts.append(part)
    fitting = []
    for key, tensor in outer.items():
        place = key.removesuffix("weight")
        named = place.endswith(".") and place != key and _HEADS.search(key)
        alike = tensor.ndim == kernel.ndim and tensor.shape[1:] == kernel.shape[1:]
        if named and alike and all(place + part in outer for part in parts):
            fitting.append(place)
    return fitting[0] if len(fitting) == 1 else None
