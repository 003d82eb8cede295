"""torchvision for tests, also where its compiled operators do not fit the installed torch."""

import importlib
import importlib.util
import sys
import warnings
from pathlib import Path

import pytest

BENCHMARKS = str(Path(__file__).parents[1] / "benchmarks")


def detection():
    """torchvision.models.detection, or the test is skipped."""
    if importlib.util.find_spec("torchvision") is None:
        pytest.skip("torchvision is not installed")
    sys.path.insert(0, BENCHMARKS)
    try:
        here = importlib.import_module("torchvision_here")
    finally:
        sys.path.remove(BENCHMARKS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        here.import_torchvision()
        return importlib.import_module("torchvision.models.detection")
