"""Data that a function in the user's own Python file returns: FILE.py:FUNCTION."""

import importlib.util
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import TensorDataset

from slimmer.data.check_data import check_targets
from slimmer.data.images import Data, Images, InMemory, Wanted
from slimmer.data.processes import InProcesses, in_processes
from slimmer.data.torch_dataset import Items, class_names, is_dataset, items_of
from slimmer.errors import DataError
from slimmer.registry import hint

_RIGHT = (
    "return slimmer.data.Data, or (train, test) or {'train': ..., 'test': ...} of "
    "torch Datasets or of (images, labels): images are a tensor (N, C, H, W), uint8 or float, "
    "and labels an int64 tensor (N,); for other tasks float (N, K), or int64 masks (N, H, W)"
)
IGNORED = 255  # the usual number of pixels without a class
_OPTIONS = ("classes", "mean", "std", "augment", "size", "workers")


def is_reference(name: str) -> bool:
    """Whether `name` is written as FILE.py:FUNCTION.

    >>> is_reference("mine/flowers.py:flowers"), is_reference("cifar10")
    (True, False)
    """
    file, _, function = name.rpartition(":")
    return file.endswith(".py") and function.isidentifier()


def from_file(name: str, wanted: Wanted) -> Data:
    """The data set that FILE.py:FUNCTION returns when it is called without arguments.

    See `from_value`. Raises DataError if the file, the function or its return value does not fit.
    """
    return from_value(name, _called(name), wanted)


def from_value(name: str, made: Any, wanted: Wanted | None = None) -> Data:
    """The data set called `name` for a value `made`, which may be anything that a data file's
    function may return: two torch Datasets, or two pairs of tensors.

    A mapping may also contain "classes", "mean", "std", "augment", and for Datasets "size" (of PIL
    images) and "workers" (processes). By default classes are those of the training Dataset or
    numbers, mean is 0, std is 1, and images are not augmented except by the Dataset itself. Float
    images are only normalised by mean and std. What is `wanted` comes first. Raises DataError if
    the value does not fit.
    """
    if isinstance(made, Data):
        return made
    parts, options = _parts(name, made)
    wanted = _with_options(name, wanted or Wanted(), options)
    train, notes = _part(f"{name}, train", parts["train"], wanted)
    test, more = _part(f"{name}, test", parts["test"], wanted)
    channels, height, width = train.load(torch.tensor([0])).shape[1:]
    count = _count_classes(name, train, test)
    own = class_names(parts["train"])
    if own is None or len(own) < count:
        own = tuple(str(label) for label in range(count))
    return Data(
        name=name,
        train=train,
        test=test,
        classes=_tuple(name, options.get("classes", own), "classes", str),
        mean=_tuple(name, options.get("mean", (0.0,) * channels), "mean", (int, float)),
        std=_tuple(name, options.get("std", (1.0,) * channels), "std", (int, float)),
        size=(height, width),
        augment=options.get("augment", _own_augmentation(train)),
        notes=(*notes, *more),
    )


def _with_options(name: str, wanted: Wanted, options: Mapping[str, Any]) -> Wanted:
    """What is wanted of a Dataset's images, with the options of a mapping for what is left out."""
    size, workers = options.get("size"), options.get("workers")
    if isinstance(size, int):
        size = (size, size)
    if size is not None:
        size = _tuple(name, size, "size", int)
    if workers is not None and (not isinstance(workers, int) or workers < 0):
        raise DataError(name, f"workers is {workers!r}", "give a number of processes, 0 or more")
    mean = options.get("mean")
    return replace(
        wanted,
        size=wanted.size or size,
        workers=workers if wanted.workers is None else wanted.workers,
        grey=wanted.grey or (isinstance(mean, tuple | list) and len(mean) == 1),
    )


def _part(where: str, part: Any, wanted: Wanted) -> tuple[Images, tuple[str, ...]]:
    """The training or the test images, and notes on them."""
    if isinstance(part, TensorDataset):
        part = part.tensors
    if not is_dataset(part):
        return _split(where, part), ()
    items, notes = items_of(where, part, wanted)
    check_targets(where, items.labels, len(items))
    return InProcesses(items, wanted.workers or 0), notes


def _own_augmentation(train: Images) -> str:
    """The default augmentation: none, but for the random transforms of a Dataset."""
    found = in_processes(train)
    if found is not None and isinstance(found.images, Items) and found.images.random:
        return "transforms"
    return "none"


def _called(name: str) -> Any:
    file, _, function = name.rpartition(":")
    if not Path(file).is_file():
        raise DataError(file, "does not exist", f"{name} must be a function in a Python file")
    spec = importlib.util.spec_from_file_location(f"slimmer_data_{Path(file).stem}", file)
    if spec is None or spec.loader is None:
        raise DataError(file, "is not a Python file", "give FILE.py:FUNCTION")
    module = importlib.util.module_from_spec(spec)
    # Dataclasses and pickle look up their module by name.
    sys.modules[spec.name] = module
    _run(name, partial(spec.loader.exec_module, module))
    factory = getattr(module, function, None)
    if not callable(factory):
        public = {key: value for key, value in vars(module).items() if not key.startswith("_")}
        known = [key for key, value in public.items() if callable(value)]
        raise DataError(file, f"there is no function {function!r}", hint(function, known))
    return _run(name, factory)


def _run(name: str, call: Callable[[], Any]) -> Any:
    try:
        return call()
    except DataError:
        raise
    except Exception as error:
        found = f"failed with {type(error).__name__}: {error}"
        right = "fix the file; its function is called without arguments"
        raise DataError(name, found, right) from error


def _tuple(name: str, value: Any, key: str, kind: type | tuple[type, ...]) -> tuple[Any, ...]:
    if not isinstance(value, tuple | list) or not all(isinstance(entry, kind) for entry in value):
        entries = "names" if kind is str else "numbers"
        raise DataError(name, f"{key} is {value!r}", f"give a tuple of {entries}")
    return tuple(value)


def _parts(name: str, made: Any) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    if isinstance(made, tuple | list) and len(made) == 2:
        return {"train": made[0], "test": made[1]}, {}
    if not isinstance(made, Mapping):
        found = f"the function returned a {type(made).__name__}"
        if isinstance(made, tuple | list):
            found += f" of {len(made)}"
        raise DataError(name, found, _RIGHT)
    missing = [key for key in ("train", "test") if key not in made]
    foreign = [str(key) for key in made if key not in ("train", "test", *_OPTIONS)]
    if missing or foreign:
        right = f"{_RIGHT}; a mapping may also contain {', '.join(_OPTIONS)}"
        raise DataError(name, f"the mapping lacks {missing} and has unknown keys {foreign}", right)
    return made, {key: made[key] for key in _OPTIONS if key in made}


def _split(where: str, pair: Any) -> InMemory:
    if not isinstance(pair, tuple | list) or len(pair) != 2:
        raise DataError(where, f"is a {type(pair).__name__}", _RIGHT)
    images, labels = pair
    if not isinstance(images, Tensor) or not isinstance(labels, Tensor):
        found = f"is a pair of {type(images).__name__} and {type(labels).__name__}"
        raise DataError(where, found, _RIGHT)
    if images.ndim != 4 or not (images.dtype == torch.uint8 or images.is_floating_point()):
        raise DataError(where, f"images are {images.dtype} of shape {tuple(images.shape)}", _RIGHT)
    check_targets(where, labels, len(images))
    if not len(images):
        raise DataError(where, "there are no images", "give at least one image")
    if images.is_floating_point() and not images.isfinite().all():
        raise DataError(where, "images contain NaN or infinite values", "give finite numbers")
    return InMemory(images.detach().cpu(), labels.cpu())


def _count_classes(name: str, train: Images, test: Images) -> int:
    """The number of classes, or of the numbers of each image."""
    labels = train.labels
    if labels.is_floating_point():
        return labels[0].numel()
    if labels.dim() > 1:
        known = labels[(labels >= 0) & (labels != IGNORED)]
        if not known.numel():
            return 2
        return max(2, int(known.max()) + 1)
    count = int(labels.max()) + 1
    beyond = int(test.labels.max())
    if beyond >= count:
        right = f"the largest training label is {count - 1}"
        raise DataError(f"{name}, test", f"contains the label {beyond}", right)
    return count
