"""What must hold of a network that slimmer pruned."""

import tempfile
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from slimmer.exporting.error_text import one_line
from slimmer.exporting.onnx import export_onnx
from slimmer.exporting.parity import check_parity
from slimmer.graph import ChannelGraph, Inputs, is_image, tensors_in
from slimmer.pruning.apply import Cut
from slimmer.pruning.masks import Masked, hard_mask
from slimmer.pruning.plan import Plan
from slimmer.pruning.self_check import example

EXACT = 1e-10  # largest difference over the output's largest magnitude, float64


@torch.no_grad()
def compare(
    model: nn.Module, graph: ChannelGraph, plan: Plan, size: Inputs, cut: Cut, found: dict[str, Any]
) -> None:
    """Masked against pruned in float64; `moved` says how far the mask moved the dense network's
    answer.
    """
    double = deepcopy(model).double().eval()
    given = example(double, size)
    dense = tensors_in(double(*given))
    masked = tensors_in(Masked(double, graph, hard_mask(plan, torch.float64)).eval()(*given))
    pruned = tensors_in(cut(double, plan).eval()(*given))
    found["difference"] = _difference(pruned, masked)
    found["moved"] = _difference(masked, dense)
    found["equal"] = bool(found["difference"] <= EXACT)


def _difference(ours: list[Tensor], theirs: list[Tensor]) -> float:
    """The largest difference over the output's largest magnitude; infinite where shapes differ or a
    NaN is met.
    """
    if [part.shape for part in ours] != [part.shape for part in theirs]:
        return float("inf")
    pairs = [(a.double(), b.double()) for a, b in zip(ours, theirs, strict=True) if a.numel()]
    worst = max(float((a - b).abs().max() / b.abs().max().clamp_min(1e-300)) for a, b in pairs)
    return worst if worst == worst else float("inf")  # noqa: PLR0124 - a NaN is not itself


def train(slim: nn.Module, size: Inputs) -> None:
    """One forward and backward pass in train mode. Raises where it fails or a gradient is no
    number.
    """
    slim.train()
    answers = [answer for answer in tensors_in(slim(*example(slim, size))) if answer.requires_grad]
    torch.stack([answer.square().mean() for answer in answers]).sum().backward()
    for name, parameter in slim.named_parameters():
        if parameter.grad is not None and not bool(parameter.grad.isfinite().all()):
            raise ValueError(f"the gradient of {name} is not finite")
    slim.zero_grad(set_to_none=True)
    slim.eval()


def untrue_attributes(slim: nn.Module) -> list[str]:
    """The modules' own counts of channels that differ from their tensors'."""
    wrong = []
    for name, module in slim.named_modules():
        said = {key: getattr(module, key) for key in _COUNTS if hasattr(module, key)}
        wrong += [
            f"{name}.{key} {said[key]}, is {count}"
            for key, count in _counts(module)
            if said[key] != count
        ]
    return wrong


_COUNTS = (
    "in_channels",
    "out_channels",
    "in_features",
    "out_features",
    "num_features",
    "num_channels",
    "normalized_shape",
    "num_parameters",
)


def _counts(module: nn.Module) -> Iterator[tuple[str, Any]]:
    """What the tensors of a module of PyTorch's own say about its attributes."""
    if isinstance(module, _ConvNd):
        first, second = module.weight.shape[:2]
        turned = isinstance(module, _ConvTransposeNd)
        yield "out_channels", second * module.groups if turned else first
        yield "in_channels", first if turned else second * module.groups
    elif isinstance(module, nn.Linear):
        yield from zip(("out_features", "in_features"), module.weight.shape, strict=True)
    elif isinstance(module, _BatchNorm) and module.running_mean is not None:
        yield "num_features", len(module.running_mean)
    elif isinstance(module, nn.GroupNorm) and module.affine:
        yield "num_channels", len(module.weight)
    elif isinstance(module, nn.LayerNorm) and module.elementwise_affine:
        yield "normalized_shape", tuple(module.weight.shape)
    elif isinstance(module, nn.PReLU):
        yield "num_parameters", len(module.weight)


def export(model: nn.Module, slim: nn.Module, size: Inputs, found: dict[str, Any]) -> None:
    """Export to ONNX, held against PyTorch in float32; where it fails, `dense` says whether the
    dense network's too.
    """
    if not is_image(size):
        return
    with tempfile.TemporaryDirectory() as folder:
        try:
            found["max_rel"] = _parity(slim, size, Path(folder) / "slim.onnx")
        except Exception:
            try:
                found["dense"] = "is exported and equal"
                _parity(model, size, Path(folder) / "dense.onnx")
            except Exception as error:  # noqa: BLE001 - the same exporter, the same many kinds
                found["dense"] = one_line(error)
            raise


def _parity(model: nn.Module, size: tuple[int, ...], path: Path) -> float:
    export_onnx(model, path, size, metadata={})
    return check_parity(model, path, torch.randn(3, *size)).max_rel
