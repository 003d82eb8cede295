"""The networks of network_coverage.py by PACKAGE/NAME, with random weights that make them speak."""

from collections.abc import Sequence
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torchvision_here import import_torchvision

from slimmer.graph import tensors_in
from slimmer.pruning.self_check import enliven_

SIDES = (64, 96, 128, 224, 256)  # the first at which the network runs in eval and in train mode
WINDOWED = (
    "swin",
)  # names of networks that pad what is smaller than a window, in some layers most of it


def build(net: str, found: dict[str, Any]) -> tuple[nn.Module, tuple[int, ...], Sequence[str]]:
    """The network with random weights that make it speak, the image that it takes, and the parts to
    trace alone.
    """
    import_torchvision()
    torch.manual_seed(0)
    model, sizes, parts, module = _named(net)
    found.update(
        family=module.rpartition(".")[2], params=sum(p.numel() for p in model.parameters())
    )
    enliven_(model)
    size = sizes[0] if len(sizes) == 1 else smallest_size(model, sizes)
    found["side"] = size[-1]
    if not parts:  # what can't be traced is a detector, which trains with targets
        settle_(model, size)
    with torch.no_grad():
        first, second = (tensors_in(model.eval()(torch.randn(1, *size))) for _ in range(2))
    found["spread"] = max(_spread(*pair) for pair in zip(first, second, strict=False))
    if not parts and not found["spread"] > 1e-6:
        raise ValueError(
            f"two images get the same answer (spread {found['spread']:.2g}): nothing could be "
            "compared"
        )
    return model, size, parts


def _spread(first: Tensor, second: Tensor) -> float:
    """How far two answers are apart, as a share of the first's size; of other shapes, all of it."""
    if first.shape != second.shape:
        return 1.0
    return (
        float((first - second).abs().max() / first.abs().max().clamp_min(1e-30))
        if first.numel()
        else 0.0
    )


def _named(net: str) -> tuple[nn.Module, list[tuple[int, ...]], Sequence[str], str]:
    """A network by PACKAGE/NAME, the images to try, the parts to trace alone, and its family."""
    package, _, name = net.partition("/")
    if package in ("torchvision", "timm"):
        model, own_side, module = _torchvision(name) if package == "torchvision" else _timm(name)
        smaller = () if name.startswith(WINDOWED) else (side for side in SIDES if side < own_side)
        return model, [(3, side, side) for side in (*smaller, own_side)], (), module
    if package == "peers":
        return networks("peer_networks")[name](), [(3, 32, 32)], (), name
    entry = networks("package_networks")[net]
    return entry.make(), [entry.size], entry.trace, package


def networks(file: str) -> dict[str, Any]:
    """The NETWORKS of a file beside this one."""
    found: dict[str, Any] = import_module(file).NETWORKS
    return found


def _torchvision(name: str) -> tuple[nn.Module, int, str]:
    from torchvision import models  # noqa: PLC0415

    builder = models.get_model_builder(name)
    options: dict[str, Any] = {"weights": None}
    if "segmentation" in builder.__module__:
        options["weights_backbone"] = None
    if name in ("googlenet", "inception_v3"):
        options["init_weights"] = False  # drawn by scipy, tens of seconds
    own_side = 299 if name == "inception_v3" else 256 if name.startswith("swin_v2") else 224
    return builder(**options), own_side, builder.__module__


def _timm(name: str) -> tuple[nn.Module, int, str]:
    import timm  # noqa: PLC0415

    model = timm.create_model(name, pretrained=False)
    return (
        model,
        int(model.pretrained_cfg["input_size"][-1]),
        timm.model_entrypoint(name).__module__,
    )


def smallest_size(model: nn.Module, sizes: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    """The first of the sizes of an image with which `model` runs, in eval and in train mode."""
    for size in sizes:
        try:
            with torch.no_grad():
                for training in (False, True):
                    model.train(training)(torch.randn(2, *size))
        except Exception:  # any of many kinds; the network's own size is tried last, and may raise
            if size == sizes[-1]:
                raise
        else:
            return size
    raise AssertionError("the network's own size returns or raises")


@torch.no_grad()
def settle_(model: nn.Module, size: tuple[int, ...]) -> None:
    """Let the batch norms take their statistics from random images, so that no signal dies or
    explodes.
    """
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain mean over batches
    model.train()
    for _ in range(2):
        model(torch.randn(4, *size))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    model.eval()
