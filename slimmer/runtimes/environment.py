"""The machine and the versions that a timing was taken with."""

import os
import platform
import shutil
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

# The state is recorded and never changed: locking a shared GPU's clocks would slow others.
_GPU_STATE = "clocks.sm,clocks.mem,temperature.gpu,power.draw"


def environment() -> dict[str, str | int | float | None]:
    """What a reader must know of the machine to make sense of a timing; None for what is not there.

    `load` is the mean number of running processes over the last minute. `gpu` and `gpu_state` are those of
    the first GPU that nvidia-smi names. Nothing is imported or changed to find out.
    """
    gpu, driver, state = _gpu()
    return {
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "usable_cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "os": platform.platform(),
        "python": platform.python_version(),
        "torch": _version("torch"),
        "onnx": _version("onnx"),
        "onnxruntime": _version("onnxruntime-gpu") or _version("onnxruntime"),
        "gpu": gpu,
        "gpu_driver": driver,
        "gpu_state": state,
    }


def _cpu() -> str:
    """The processor's name; Linux alone hides it in a file."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def _gpu() -> tuple[str | None, str | None, str | None]:
    """The first GPU's name, driver and (clocks, temperature, power) of the moment."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return None, None, None
    query = [program, "--id=0", f"--query-gpu=name,driver_version,{_GPU_STATE}", "--format=csv,noheader"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=10, check=True)  # noqa: S603 - a fixed command
    except (OSError, subprocess.SubprocessError):
        return None, None, None
    name, _, rest = answer.stdout.strip().partition(", ")
    driver, _, state = rest.partition(", ")
    return name or None, driver or None, state or None
