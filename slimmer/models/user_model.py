"""Networks that are returned by a function in the user's own Python file."""

import inspect
import sys
from collections.abc import Callable
from functools import partial
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

from slimmer.errors import ModelError
from slimmer.models.architecture import Architecture
from slimmer.models.match import first_convolution, head
from slimmer.registry import hint

FORM = "give a file and a function in it that returns an nn.Module, such as path/to/net.py:make"


def file_architecture(arch: str) -> Architecture:
    """The architecture for `path/to/file.py:factory`; the file, which the user named, is imported
    and so is run.

    The factory is called once here: the network's attribute `input_size = (C, H, W)` is its input
    size (by default 224 x 224 with the channels of its first convolution), and its last linear
    layer gives the number of classes. `num_classes` and `in_channels` are passed if the factory's
    signature accepts them. Raises ModelError for a file or a function that is missing or fails, or
    that returns something else.
    """
    path, _, function = arch.rpartition(":")
    if not path.endswith(".py") or not function:
        raise ModelError(arch, "the function is missing", FORM)
    make = _factory(arch, _import(arch, Path(path)), function)
    with torch.random.fork_rng(devices=[]):  # the global random state is not changed
        model = _call(arch, make)
    convolution, last = first_convolution(model), head(model)
    if convolution is None or last is None:
        right = "give a convolutional network, since slimmer prunes channels"
        raise ModelError(arch, "its network has no convolution", right)
    input_size = _input_size(arch, getattr(model, "input_size", (convolution[1], 224, 224)))
    return Architecture(arch, partial(_make, arch, make), input_size, last[1])


def _import(arch: str, path: Path) -> ModuleType:
    if not path.is_file():
        raise ModelError(arch, f"the file {path} does not exist", FORM)
    name = str(path.resolve())
    spec = spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ModelError(arch, f"{path} is not a Python file", FORM)
    module = module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look up their module during the import
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # a user's file may raise anything
        del sys.modules[name]
        found = f"importing {path} raises {type(error).__name__}: {error}"
        right = "fix the file; to import modules next to it, add their folder to PYTHONPATH"
        raise ModelError(arch, found, right) from error
    return module


def _factory(arch: str, module: ModuleType, function: str) -> Callable[..., Any]:
    make = getattr(module, function, None)
    if callable(make):
        return make  # type: ignore[no-any-return]
    found = f"{function!r} is a {type(make).__name__}"
    if make is None:
        found = f"the file has no {function!r}"
    own = [name for name, value in vars(module).items() if _is_own(value, module)]
    raise ModelError(arch, found, hint(function, own) if own else FORM)


def _is_own(value: object, module: ModuleType) -> bool:
    return callable(value) and getattr(value, "__module__", None) == module.__name__


def _make(arch: str, make: Callable[..., Any], *, num_classes: int, in_channels: int) -> nn.Module:
    parameters = inspect.signature(make).parameters
    sizes = {"num_classes": num_classes, "in_channels": in_channels}
    kinds = [parameter.kind for parameter in parameters.values()]
    taken = {}
    for name, number in sizes.items():
        if name in parameters or inspect.Parameter.VAR_KEYWORD in kinds:
            taken[name] = number
    return _call(arch, make, **taken)


def _call(arch: str, make: Callable[..., Any], **sizes: int) -> nn.Module:
    try:
        model = make(**sizes)
    except Exception as error:  # a user's function may raise anything
        found = f"the factory raises {type(error).__name__}: {error}"
        right = "a factory must work without arguments, or with only the sizes"
        raise ModelError(arch, found, right) from error
    if not isinstance(model, nn.Module):
        raise ModelError(arch, f"the factory returns a {type(model).__name__}", FORM)
    return model


def _input_size(arch: str, size: Any) -> tuple[int, int, int]:
    try:
        channels, height, width = map(int, size)
    except (TypeError, ValueError):
        channels = height = width = 0
    if min(channels, height, width) < 1:
        right = "give three positive numbers: (C, H, W)"
        raise ModelError(arch, f"its input_size is {size!r}", right)
    return channels, height, width
