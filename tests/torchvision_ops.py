"""torchvision, also where its compiled operators do not fit the installed torch: those of detectors
in Python.
"""

import importlib
import importlib.util
import sys
import warnings

import pytest
import torch

LIBRARIES = []  # what is defined lives as long as its library
BOXES = "Tensor dets, Tensor scores, float iou_threshold"
ROIS = (
    "Tensor input, Tensor rois, float scale, int height, int width, "
    "int sampling_ratio, bool aligned"
)


def detection():
    """torchvision.models.detection, or the test is skipped."""
    if importlib.util.find_spec("torchvision") is None:
        pytest.skip("torchvision is not installed")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return importlib.import_module("torchvision.models.detection")
        except RuntimeError:  # operator torchvision::nms does not exist
            return _with_operators_of_python()


def _with_operators_of_python():
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        del sys.modules[name]
    library = torch.library.Library("torchvision", "DEF")
    LIBRARIES.append(library)
    for operator in ("nms", "qnms"):
        library.define(f"{operator}({BOXES}) -> Tensor")
    library.define(f"roi_align({ROIS}) -> Tensor")
    found = importlib.import_module("torchvision.models.detection")
    for module in [
        module for name, module in sys.modules.items() if name.startswith("torchvision.ops")
    ]:
        if hasattr(module, "_assert_has_ops"):
            module._assert_has_ops = lambda: None
    library.impl("nms", _nms, "CPU")
    library.impl(
        "roi_align", importlib.import_module("torchvision.ops.roi_align")._roi_align, "CPU"
    )
    return found


def _nms(boxes, scores, iou_threshold):
    """The indices of the boxes that no better one overlaps by more than a share, the best first."""
    overlap = importlib.import_module("torchvision.ops").box_iou(boxes, boxes) > iou_threshold
    alive = torch.ones(len(scores), dtype=torch.bool)
    kept = []
    for place in scores.argsort(descending=True, stable=True).tolist():
        if alive[place]:
            kept.append(place)
            alive &= ~overlap[place]
    return torch.tensor(kept, dtype=torch.int64)
