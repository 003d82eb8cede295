"""Networks of torchvision and timm by name, always with random weights: nothing is ever downloaded."""

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
AUXILIARY = "+aux"  # a segmentation net with its auxiliary head, as published ones have it
CLASSES, SEGMENTS = (
    1000,
    21,
)  # of ImageNet; of Pascal VOC with its background, as published segmentation nets have


def package_architecture(arch: str) -> Architecture:
    """The classifier, or segmentation net of torchvision's, that `torchvision/NAME` or `timm/NAME`
    names.

    With its own input size. Raises ModelError where the package is not there or can't be imported,
    or has no such.
    """
    package, _, name = arch.partition("/")
    module = _import(arch, package)
    return (
        _torchvision(arch, name, module) if package == "torchvision" else _timm(arch, name, module)
    )


def _import(arch: str, package: str) -> Any:
    try:
        return import_module(package)
    except ModuleNotFoundError as error:
        if error.name != package:
            raise ModelError(
                arch, f"importing {package} fails: {error}", _install(package)
            ) from error
        raise ModelError(arch, f"{package} is not installed", _install(package)) from error
    except (ImportError, RuntimeError) as error:  # a build that does not fit the installed torch
        right = f"install the build of {package} that belongs to your torch"
        raise ModelError(arch, f"importing {package} fails: {error}", right) from error


def _install(package: str) -> str:
    return f"pip install 'slimmer[{package}]'"


def _torchvision(arch: str, name: str, torchvision: Any) -> Architecture:
    models = torchvision.models
    segmentation = models.list_models(module=models.segmentation)
    name, auxiliary, _ = name.partition(AUXILIARY)
    _known(arch, name, [*models.list_models(module=models), *segmentation])
    segments = name in segmentation
    try:
        side = models.get_model_weights(name).DEFAULT.transforms.keywords[
            "resize_size" if segments else "crop_size"
        ]
    except (AttributeError, KeyError):  # a model without published weights
        side = 224
    special: dict[str, Any] = (
        {"weights_backbone": None} if segments else {}
    )  # else they are downloaded
    others: tuple[str, ...] = ()
    helped = segments and "aux_loss" in signature(models.get_model_builder(name)).parameters
    if auxiliary and not helped:
        _known(arch, name + auxiliary, segmentation)
    if helped:
        special["aux_loss"] = bool(auxiliary)
        others = () if auxiliary else (arch + AUXILIARY,)
    make = partial(_make_torchvision, models, name, special)
    return Architecture(arch, make, (3, side, side), SEGMENTS if segments else CLASSES, others)


def _make_torchvision(
    models: Any, name: str, special: Mapping[str, Any], *, num_classes: int, in_channels: int
) -> nn.Module:
    if in_channels != 3:
        raise ModelError(
            f"torchvision/{name}",
            f"{in_channels} input channels are asked for, and torchvision's networks have 3",
            "use timm/NAME or your own file.py:factory, which can take another number",
        )
    model: nn.Module = models.get_model(name, weights=None, num_classes=num_classes, **special)
    return model


def _timm(arch: str, name: str, timm: Any) -> Architecture:
    _known(arch, name.partition(".")[0], timm.list_models())  # a tag may follow: resnet34.a1_in1k
    published = timm.get_pretrained_cfg(name)
    input_size = tuple(published.input_size) if published is not None else (3, 224, 224)
    num_classes = published.num_classes if published is not None else 1000
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
    # These packages know hundreds of names: only the near ones help.
    right = f"did you mean {', '.join(near)}?" if near else f"see {package}'s own list of models"
    raise ModelError(arch, f"{package} has no network {name!r}", right)
