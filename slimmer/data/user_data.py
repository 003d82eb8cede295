"""Data that a function in the user's own Python file returns: FILE.py:FUNCTION."""

import importlib.util
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from slimmer.data.images import Data, InMemory, Wanted
from slimmer.errors import DataError
from slimmer.registry import hint

_RIGHT = (
    "return slimmer.data.Data, or (train, test) or {'train': ..., 'test': ...} of (images, labels): images a "
    "tensor (N, C, H, W), uint8 or float, labels an int64 tensor (N,)"
)
_OPTIONS = ("classes", "mean", "std", "augment")


def is_reference(name: str) -> bool:
    """Whether `name` is written as FILE.py:FUNCTION.

    >>> is_reference("mine/flowers.py:flowers"), is_reference("cifar10")
    (True, False)
    """
    file, _, function = name.rpartition(":")
    return file.endswith(".py") and function.isidentifier()


def from_file(name: str, _wanted: Wanted) -> Data:
    """The data set that FILE.py:FUNCTION returns when it is called without arguments.

    A mapping may also hold "classes", "mean", "std" and "augment". Left out, classes are numbers,
    mean is 0 and std 1, and images do not vary. Float images are fed as they are but for mean and
    std. Raises DataError that says what was found where the file, the function or what it returns
    does not fit.
    """
    return from_value(name, _called(name))


def from_value(name: str, made: Any) -> Data:
    """The data set that `made` describes, called `name`; `made` is whatever a data file's function
    may return.

    Raises DataError that says what was found where it does not fit.
    """
    if isinstance(made, Data):
        return made
    parts, options = _parts(name, made)
    train, test = _split(f"{name}, train", parts["train"]), _split(f"{name}, test", parts["test"])
    channels, height, width = train.images.shape[1:]
    numbered = tuple(str(label) for label in range(_count_classes(name, train, test)))
    return Data(
        name=name,
        train=train,
        test=test,
        classes=_tuple(name, options.get("classes", numbered), "classes", str),
        mean=_tuple(name, options.get("mean", (0.0,) * channels), "mean", (int, float)),
        std=_tuple(name, options.get("std", (1.0,) * channels), "std", (int, float)),
        size=(height, width),
        augment=options.get("augment", "none"),
    )


def _called(name: str) -> Any:
    file, _, function = name.rpartition(":")
    if not Path(file).is_file():
        raise DataError(file, "there is no such file", f"{name} names a function in a Python file")
    spec = importlib.util.spec_from_file_location(f"slimmer_data_{Path(file).stem}", file)
    if spec is None or spec.loader is None:
        raise DataError(file, "is no Python file", "give FILE.py:FUNCTION")
    module = importlib.util.module_from_spec(spec)
    # Dataclasses and pickles look their module up by name.
    sys.modules[spec.name] = module
    _run(name, partial(spec.loader.exec_module, module))
    factory = getattr(module, function, None)
    if not callable(factory):
        known = [
            key
            for key, value in vars(module).items()
            if callable(value) and not key.startswith("_")
        ]
        raise DataError(file, f"there is no function {function!r}", hint(function, known))
    return _run(name, factory)


def _run(name: str, call: Callable[[], Any]) -> Any:
    try:
        return call()
    except DataError:
        raise
    except Exception as error:
        found = f"failed with {type(error).__name__}: {error}"
        raise DataError(
            name, found, "mend the file; its function is called without arguments"
        ) from error


def _tuple(name: str, value: Any, key: str, kind: type | tuple[type, ...]) -> tuple[Any, ...]:
    if not isinstance(value, tuple | list) or not all(isinstance(entry, kind) for entry in value):
        raise DataError(
            name, f"{key} is {value!r}", f"a tuple of {'names' if kind is str else 'numbers'}"
        )
    return tuple(value)


def _parts(name: str, made: Any) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    if isinstance(made, tuple | list) and len(made) == 2:
        return {"train": made[0], "test": made[1]}, {}
    if not isinstance(made, Mapping):
        size = f" of {len(made)}" if isinstance(made, tuple | list) else ""
        raise DataError(name, f"the function returned a {type(made).__name__}{size}", _RIGHT)
    missing = [key for key in ("train", "test") if key not in made]
    foreign = [str(key) for key in made if key not in ("train", "test", *_OPTIONS)]
    if missing or foreign:
        right = f"{_RIGHT}; a mapping may also hold {', '.join(_OPTIONS)}"
        raise DataError(name, f"the mapping lacks {missing} and has unknown keys {foreign}", right)
    return made, {key: made[key] for key in _OPTIONS if key in made}


def _split(where: str, pair: Any) -> InMemory:
    if not isinstance(pair, tuple | list) or len(pair) != 2:
        raise DataError(where, f"a {type(pair).__name__}", _RIGHT)
    images, labels = pair
    if not isinstance(images, Tensor) or not isinstance(labels, Tensor):
        raise DataError(
            where, f"a pair of {type(images).__name__} and {type(labels).__name__}", _RIGHT
        )
    if images.ndim != 4 or not (images.dtype == torch.uint8 or images.is_floating_point()):
        raise DataError(where, f"images are {images.dtype} of shape {tuple(images.shape)}", _RIGHT)
    if labels.dtype != torch.int64 or labels.shape != images.shape[:1]:
        found = f"labels are {labels.dtype} of shape {tuple(labels.shape)} for {len(images)} images"
        raise DataError(where, found, _RIGHT)
    if not len(images):
        raise DataError(where, "there are no images", "give at least one image")
    if images.is_floating_point() and not images.isfinite().all():
        raise DataError(where, "images hold NaN or infinite values", "finite numbers")
    return InMemory(images.detach().cpu(), labels.cpu())


def _count_classes(name: str, train: InMemory, test: InMemory) -> int:
    count = int(train.labels.max()) + 1
    beyond = int(test.labels.max())
    if beyond >= count:
        raise DataError(f"{name}, test", f"label {beyond}", f"training labels end at {count - 1}")
    return count
