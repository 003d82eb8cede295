"""A network that a function in the user's own Python file makes."""

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

FORM = "name a file and a function in it that returns an nn.Module, as in path/to/net.py:make"


def file_architecture(arch: str) -> Architecture:
    """The network that `path/to/file.py:factory` names; importing runs that file, which the user
    named.

    The factory is called once here: a net's attribute `input_size = (C, H, W)` is its input size
    (else 224 x 224 with the channels its first convolution reads), its last linear layer gives the
    classes. `num_classes` and `in_channels` are passed on where the factory's signature takes them.
    Raises ModelError for a file or a function that is absent or fails, or that makes something
    else.
    """
    path, _, function = arch.rpartition(":")
    if not path.endswith(".py") or not function:
        raise ModelError(arch, "no function is named", FORM)
    make = _factory(arch, _import(arch, Path(path)), function)
    with torch.random.fork_rng(
        devices=[]
    ):  # asking for an architecture leaves the random numbers alone
        model = _call(arch, make)
    convolution, last = first_convolution(model), head(model)
    if convolution is None or last is None:
        raise ModelError(
            arch, "its network has no convolution", "slimmer prunes the channels of convnets"
        )
    input_size = _input_size(arch, getattr(model, "input_size", (convolution[1], 224, 224)))
    return Architecture(arch, partial(_make, arch, make), input_size, last[1])


def _import(arch: str, path: Path) -> ModuleType:
    if not path.is_file():
        raise ModelError(arch, f"there is no file {path}", FORM)
    name = str(path.resolve())
    spec = spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ModelError(arch, f"{path} is not a Python file", FORM)
    module = module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up there while it is imported
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # whatever a user's file may raise
        del sys.modules[name]
        found = f"importing {path} raises {type(error).__name__}: {error}"
        right = "mend the file; modules beside it are found when their folder is in PYTHONPATH"
        raise ModelError(arch, found, right) from error
    return module


def _factory(arch: str, module: ModuleType, function: str) -> Callable[..., Any]:
    make = getattr(module, function, None)
    if callable(make):
        return make  # type: ignore[no-any-return]
    found = (
        f"the file has no {function!r}"
        if make is None
        else f"{function!r} is a {type(make).__name__}"
    )
    own = [name for name, value in vars(module).items() if _is_own(value, module)]
    raise ModelError(arch, found, hint(function, own) if own else FORM)


def _is_own(value: object, module: ModuleType) -> bool:
    return callable(value) and getattr(value, "__module__", None) == module.__name__


def _make(arch: str, make: Callable[..., Any], *, num_classes: int, in_channels: int) -> nn.Module:
    parameters = inspect.signature(make).parameters
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    offered = {"num_classes": num_classes, "in_channels": in_channels}
    return _call(
        arch, make, **{name: n for name, n in offered.items() if takes_any or name in parameters}
    )


def _call(arch: str, make: Callable[..., Any], **sizes: int) -> nn.Module:
    try:
        model = make(**sizes)
    except Exception as error:  # whatever a user's function may raise
        found = f"the factory raises {type(error).__name__}: {error}"
        raise ModelError(
            arch, found, "a factory must work with no arguments, or with sizes alone"
        ) from error
    if not isinstance(model, nn.Module):
        raise ModelError(arch, f"the factory returns a {type(model).__name__}", FORM)
    return model


def _input_size(arch: str, size: Any) -> tuple[int, int, int]:
    try:
        channels, height, width = (int(side) for side in size)
    except (TypeError, ValueError):
        channels = height = width = 0
    if min(channels, height, width) < 1:
        raise ModelError(arch, f"its input_size is {size!r}", "three positive numbers: (C, H, W)")
    return channels, height, width
