"""Torchvision where its own operators do not fit the installed torch."""

import importlib.util
import sys
from functools import partial
from typing import Any

import torch
from torch import Tensor


def import_torchvision() -> None:
    """Import torchvision where it is; with operators in Python where its own don't fit the
    installed torch.
    """
    if importlib.util.find_spec("torchvision") is None:
        return
    try:
        import torchvision  # noqa: F401, PLC0415
    except RuntimeError:  # operator torchvision::nms does not exist
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        library = _LIBRARIES.setdefault("torchvision", torch.library.Library("torchvision", "DEF"))
        for operator in ("nms", "qnms"):
            library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        library.define(f"roi_align({ROIS}) -> Tensor")
        from torchvision import ops  # noqa: PLC0415

        library.impl("nms", partial(_nms, ops.box_iou), "CPU")
        library.impl("roi_align", sys.modules["torchvision.ops.roi_align"]._roi_align, "CPU")  # noqa: SLF001
        for module in [
            module for name, module in sys.modules.items() if name.startswith("torchvision.ops")
        ]:
            if hasattr(module, "_assert_has_ops"):
                module._assert_has_ops = lambda: None  # noqa: SLF001


def _nms(box_iou: Any, boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """The indices of the boxes that no better one overlaps by more than a share, the best first."""
    overlap = box_iou(boxes, boxes) > iou_threshold
    alive = torch.ones(len(scores), dtype=torch.bool)
    kept = []
    for place in scores.argsort(descending=True, stable=True).tolist():
        if alive[place]:
            kept.append(place)
            alive &= ~overlap[place]
    return torch.tensor(kept, dtype=torch.int64)


ROIS = (
    "Tensor input, Tensor rois, float scale, int height, int width, "
    "int sampling_ratio, bool aligned"
)
_LIBRARIES: dict[str, torch.library.Library] = {}  # what is defined lives as long as its library
