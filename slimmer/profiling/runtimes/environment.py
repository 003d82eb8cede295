"""The machine and the software versions of a timing."""

import os
import platform
from collections.abc import Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from cpuinfo import get_cpu_info

from slimmer.profiling.runtimes.gpu import gpu_and_driver


def environment() -> dict[str, str | int | float | None]:
    """The machine and versions that a reader needs to interpret a timing; None if not available.

    `cpu_vector_floats` is the number of fp32 values in a vector register of the CPU, None if its
    flags are unknown. `load` is the load average of the last minute. `gpu` and `gpu_driver`
    describe the first GPU that is visible to this process.
    """
    cpu, (gpu, driver) = _cpu(), gpu_and_driver()
    usable, load = os.cpu_count(), None
    if hasattr(os, "sched_getaffinity"):
        usable = len(os.sched_getaffinity(0))
    if hasattr(os, "getloadavg"):
        load = round(os.getloadavg()[0], 2)
    return {
        "cpu": cpu.get("brand_raw") or platform.processor() or platform.machine(),
        "cpu_vector_floats": _vector_floats(cpu.get("flags", [])),
        "cores": os.cpu_count(),
        "usable_cores": usable,
        "load": load,
        "os": platform.platform(),
        "python": platform.python_version(),
        "torch": package_version("torch"),
        "onnx": package_version("onnx"),
        "onnxruntime": _onnxruntime_version(),
        "gpu": gpu,
        "gpu_driver": driver,
    }


@cache  # it takes a second
def _cpu() -> dict[str, Any]:
    """The description of the processor by py-cpuinfo."""
    found: dict[str, Any] = get_cpu_info()
    return found


def _vector_floats(flags: Sequence[str]) -> int | None:
    if "avx512f" in flags:
        return 16
    return 8 if "avx" in flags else None


def _onnxruntime_version() -> str | None:
    """The version of the ONNX Runtime that is imported: its packages (-gpu, -openvino, …) have one
    module.
    """
    try:
        import onnxruntime  # noqa: PLC0415 - profiling in PyTorch alone does not need it
    except ImportError:
        return None
    return str(onnxruntime.__version__)


def package_version(distribution: str) -> str | None:
    """The version of an installed package, or None if it is not installed.

    >>> package_version("no-such-package") is None
    True
    """
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None
