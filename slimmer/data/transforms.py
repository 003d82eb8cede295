"""Random transforms by name, from torchvision.transforms.v2."""

import importlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from slimmer.data.batches import is_map
from slimmer.data.image_files import cores
from slimmer.data.images import Data, Images, Relabelled
from slimmer.data.processes import InProcesses, in_processes, own_random_state, seed_all
from slimmer.errors import DataError, first_line
from slimmer.registry import hint

WHERE = "data.transforms"
_RIGHT = "write a name, or {Name: {argument: value}}, such as {RandAugment: {num_ops: 2}}"
_LEFT_OUT = ("Transform", "Lambda", "MixUp", "CutMix")  # they need code, or batches with labels
Spec = str | Mapping[str, Any]


def transformed(data: Data, specs: Sequence[Spec], workers: int | None) -> Data:
    """The data, whose training images are changed by `specs` after the crop, in `workers`
    processes, by default one per core.

    Raises DataError if torchvision is missing, for an unknown name or argument, if labels are
    masks, and if a transform changes the type or the shape of an image.
    """
    if is_map(data.train.labels, data.size):
        found = "would change the images, but not their labels for each pixel"
        right = "use data.augment, or a task with your DataLoader (--task)"
        raise DataError(WHERE, found, right)
    change = compose(specs)
    images: Images = data.train
    inner = in_processes(data.train)
    if inner is not None:
        images = Relabelled(inner.images, data.train.labels)
    _check_kept(change, images.load(torch.tensor([0]))[0])
    if workers is None:
        workers = min(16, cores())
    augment = "transforms" if data.augment == "none" else data.augment
    return replace(data, train=InProcesses(images, workers, change), augment=augment)


def compose(specs: Sequence[Spec]) -> Callable[[Tensor], Tensor]:
    """One transform that applies those of `specs` in turn. Raises DataError."""
    v2 = _torchvision()
    composed: Callable[[Tensor], Tensor] = v2.Compose([_made(v2, spec) for spec in specs])
    return composed


def _torchvision() -> ModuleType:
    try:
        return importlib.import_module("torchvision.transforms.v2")
    except ImportError as error:
        right = "install it: pip install 'slimmer[torchvision]'"
        raise DataError(WHERE, "needs torchvision, which is not installed", right) from error
    except Exception as error:  # built for another version of torch
        found = f"torchvision can't be imported ({type(error).__name__}: {first_line(error)})"
        raise DataError(WHERE, found, "install the version that fits torch") from error


def _made(v2: ModuleType, spec: Spec) -> Any:
    """The transform of a name, or of a name with its arguments."""
    name, arguments = spec, None
    if isinstance(spec, Mapping):
        if len(spec) != 1:
            raise DataError(WHERE, f"{dict(spec)!r} has {len(spec)} names", _RIGHT)
        name, arguments = next(iter(spec.items()))
    known = [key for key, value in vars(v2).items() if _is_transform(v2, value)]
    if name not in known:
        raise DataError(
            WHERE, f"{name!r} is not in torchvision.transforms.v2", hint(str(name), known)
        )
    if arguments is None:
        arguments = {}
    if not isinstance(arguments, Mapping):
        raise DataError(f"{WHERE}, {name}", f"its arguments are {arguments!r}", _RIGHT)
    values = {key: _value(v2, key, value) for key, value in arguments.items()}
    try:
        return getattr(v2, str(name))(**values)
    except (TypeError, ValueError) as error:
        wanted = str(inspect.signature(getattr(v2, str(name))))
        raise DataError(f"{WHERE}, {name}", first_line(error), f"it takes {wanted}") from error


def _is_transform(v2: ModuleType, value: Any) -> bool:
    if not inspect.isclass(value) or value.__name__ in _LEFT_OUT:
        return False
    return issubclass(value, v2.Transform)


def _value(v2: ModuleType, key: str, value: Any) -> Any:
    """The value of an argument: text names interpolations and policies, and transforms nest."""
    if key == "transforms" and isinstance(value, list | tuple):
        return [_made(v2, spec) for spec in value]
    kind = {"interpolation": v2.InterpolationMode, "policy": v2.AutoAugmentPolicy}.get(key)
    if kind is None or not isinstance(value, str):
        return value
    known = [entry.value for entry in kind]
    if value not in known:
        raise DataError(f"{WHERE}, {key}", f"{value!r} is not known", hint(value, known))
    return kind(value)


def _check_kept(change: Callable[[Tensor], Tensor], image: Tensor) -> None:
    """Raise DataError if a transform fails on an image, or changes its type or shape."""
    try:
        with own_random_state():
            seed_all(0)
            made = change(image)
    except Exception as error:  # torchvision raises anything
        found = f"failed with {type(error).__name__}: {first_line(error)}"
        raise DataError(WHERE, found, "each takes a uint8 or float tensor (C, H, W)") from error
    if not isinstance(made, Tensor) or (made.shape, made.dtype) != (image.shape, image.dtype):
        found = f"an image of {_kind(image)} becomes {_kind(made)}"
        right = "leave out transforms that convert, normalise or resize; slimmer does that itself"
        raise DataError(WHERE, found, right)


def _kind(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"{value.dtype} {tuple(value.shape)}"
    return type(value).__name__
