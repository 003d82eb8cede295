"""Networks of torchvision and timm by name, always with random weights: nothing is downloaded."""

from collections.abc import Mapping
from difflib import get_close_matches
from functools import partial
from importlib import import_module
from inspect import signature
from typing import Any

from torch import nn

from slimmer.errors import ModelError
from slimmer.models.architecture import Architecture

PACKAGES = ("torchvision", "timm")
AUXILIARY = "+aux"  # a segmentation network with its auxiliary head, like the published ones
CLASSES = 1000  # of ImageNet
SEGMENTS = 21  # of Pascal VOC with background, like the published segmentation networks


def package_architecture(arch: str) -> Architecture:
    """The classifier (or segmentation network of torchvision) with the name `torchvision/NAME` or
    `timm/NAME`, with its default input size.

    Raises ModelError if the package is not installed or can't be imported, or has no such network.
    """
    package, _, name = arch.partition("/")
    module = _import(arch, package)
    if package == "torchvision":
        return _torchvision(arch, name, module)
    return _timm(arch, name, module)


def _import(arch: str, package: str) -> Any:
    try:
        return import_module(package)
    except ModuleNotFoundError as error:
        found = f"{package} is not installed"
        if error.name != package:
            found = f"importing {package} fails: {error}"
        raise ModelError(arch, found, _install(package)) from error
    except (ImportError, RuntimeError) as error:  # a build that does not fit the installed torch
        right = f"install the build of {package} that matches your torch"
        raise ModelError(arch, f"importing {package} fails: {error}", right) from error


def _install(package: str) -> str:
    return f"pip install 'slimmer[{package}]'"


def _torchvision(arch: str, name: str, torchvision: Any) -> Architecture:
    models = torchvision.models
    segmentation = models.list_models(module=models.segmentation)
    name, auxiliary, _ = name.partition(AUXILIARY)
    _known(arch, name, [*models.list_models(module=models), *segmentation])
    if name in segmentation:
        return _segmentation(arch, name, auxiliary, models)
    if auxiliary:
        _known(arch, name + auxiliary, segmentation)
    make, side = partial(_make_torchvision, models, name, {}), _side(models, name, "crop_size")
    return Architecture(arch, make, (3, side, side), CLASSES)


def _segmentation(arch: str, name: str, auxiliary: str, models: Any) -> Architecture:
    """A segmentation network of torchvision, with its auxiliary head if `auxiliary` is not
    empty.
    """
    special: dict[str, Any] = {"weights_backbone": None}  # otherwise they are downloaded
    others: tuple[str, ...] = ()
    if "aux_loss" in signature(models.get_model_builder(name)).parameters:
        special["aux_loss"] = bool(auxiliary)
        if not auxiliary:
            others = (arch + AUXILIARY,)
    elif auxiliary:
        _known(arch, name + auxiliary, models.list_models(module=models.segmentation))
    make, side = (
        partial(_make_torchvision, models, name, special),
        _side(models, name, "resize_size"),
    )
    return Architecture(arch, make, (3, side, side), SEGMENTS, others)


def _side(models: Any, name: str, key: str) -> int:
    """The image size of a network's published weights; 224 if there are none."""
    try:
        side: int = models.get_model_weights(name).DEFAULT.transforms.keywords[key]
    except (AttributeError, KeyError):
        return 224
    return side


def _make_torchvision(
    models: Any, name: str, special: Mapping[str, Any], *, num_classes: int, in_channels: int
) -> nn.Module:
    if in_channels != 3:
        found = f"{in_channels} input channels were requested, but torchvision's networks have 3"
        right = "use timm/NAME or your own file.py:factory, which can have another number"
        raise ModelError(f"torchvision/{name}", found, right)
    model: nn.Module = models.get_model(name, weights=None, num_classes=num_classes, **special)
    return model


def _timm(arch: str, name: str, timm: Any) -> Architecture:
    _known(arch, name.partition(".")[0], timm.list_models())  # a tag may follow: resnet34.a1_in1k
    published = timm.get_pretrained_cfg(name)
    input_size, num_classes = (3, 224, 224), CLASSES
    if published is not None:
        input_size, num_classes = tuple(published.input_size), published.num_classes
    return Architecture(arch, partial(_make_timm, timm, name), input_size, num_classes)


def _make_timm(timm: Any, name: str, *, num_classes: int, in_channels: int) -> nn.Module:
    model: nn.Module = timm.create_model(
        name, pretrained=False, num_classes=num_classes, in_chans=in_channels
    )
    return model


def _known(arch: str, name: str, known: list[str]) -> None:
    if name in known:
        return
    package = arch.partition("/")[0]
    near = get_close_matches(name, known, n=5)
    # These packages have hundreds of names, so only similar ones are listed.
    right = f"did you mean {', '.join(near)}?" if near else f"see the list of models of {package}"
    raise ModelError(arch, f"{package} has no network {name!r}", right)
