"""The machine and the versions that a timing was taken with."""

import os
import platform
from collections.abc import Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from cpuinfo import get_cpu_info

from slimmer.profiling.runtimes.gpu import gpu_and_driver


def environment() -> dict[str, str | int | float | None]:
    """What a reader must know of the machine to make sense of a timing; None for what is not there.

    `cpu_vector_floats` is how many fp32 numbers a vector of the CPU holds, where its flags are
    known. `load` is the mean number of running processes over the last minute. `gpu` and
    `gpu_driver` are those of the first GPU that this process sees.
    """
    cpu, (gpu, driver) = _cpu(), gpu_and_driver()
    return {
        "cpu": cpu.get("brand_raw") or platform.processor() or platform.machine(),
        "cpu_vector_floats": _vector_floats(cpu.get("flags", [])),
        "cores": os.cpu_count(),
        "usable_cores": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "os": platform.platform(),
        "python": platform.python_version(),
        "torch": package_version("torch"),
        "onnx": package_version("onnx"),
        "onnxruntime": package_version("onnxruntime-gpu") or package_version("onnxruntime"),
        "gpu": gpu,
        "gpu_driver": driver,
    }


@cache  # it takes a second
def _cpu() -> dict[str, Any]:
    """What py-cpuinfo finds out about the processor."""
    found: dict[str, Any] = get_cpu_info()
    return found


def _vector_floats(flags: Sequence[str]) -> int | None:
    return 16 if "avx512f" in flags else 8 if "avx" in flags else None


def package_version(distribution: str) -> str | None:
    """The version of an installed package, None where there is none.

    >>> package_version("no-such-package") is None
    True
    """
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None
