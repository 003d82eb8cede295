"""The machine and the versions that a timing was taken with."""

import os
import platform
import shutil
import subprocess
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

# The state is recorded and never changed: locking a shared GPU's clocks would slow others.
_GPU_STATE = {
    "clocks.sm": "clock_sm_mhz",
    "clocks.mem": "clock_memory_mhz",
    "clocks.max.sm": "clock_sm_highest_mhz",
    "temperature.gpu": "temperature_c",
    "power.draw": "power_w",
    "power.limit": "power_limit_w",
    "utilization.gpu": "busy_percent",
    "memory.used": "memory_used_mib",
}
_REASONS = ("clocks_event_reasons.active", "clocks_throttle_reasons.active")  # the second is the older drivers' name
# Source: nvml.h, nvmlClocksEventReason*; idle and a clock that somebody set are no throttling.
_THROTTLES = {
    0x4: "power cap",
    0x8: "hardware slowdown",
    0x20: "thermal slowdown, software",
    0x40: "thermal slowdown, hardware",
    0x80: "power brake",
}

GpuState = dict[str, float | str | list[str] | None]


def environment() -> dict[str, str | int | float | None]:
    """What a reader must know of the machine to make sense of a timing; None for what is not there.

    `cpu_vector_floats` is how many fp32 numbers a vector of the CPU holds, where Linux tells. `load` is the mean
    number of running processes over the last minute. `gpu` and `gpu_driver` are those of the first GPU that nvidia-smi
    names. Nothing is imported or changed to find out.
    """
    cpu, (gpu, driver) = _cpu(), _gpu()
    return {
        "cpu": cpu.get("model name") or platform.processor() or platform.machine(),
        "cpu_vector_floats": _vector_floats(cpu.get("flags", "").split()),
        "cores": os.cpu_count(),
        "usable_cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "os": platform.platform(),
        "python": platform.python_version(),
        "torch": package_version("torch"),
        "onnx": package_version("onnx"),
        "onnxruntime": package_version("onnxruntime-gpu") or package_version("onnxruntime"),
        "gpu": gpu,
        "gpu_driver": driver,
    }


def _cpu() -> dict[str, str]:
    """What Linux says of the first of the CPU's cores, which it alone hides in a file."""
    try:
        first = Path("/proc/cpuinfo").read_text(encoding="utf-8").partition("\n\n")[0]
    except OSError:
        return {}
    pairs = (line.partition(":") for line in first.splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}


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


def gpu_state() -> GpuState | None:
    """The first GPU's clocks, temperature, power, load and what throttles it, at this moment; None without nvidia-smi.

    A figure that the GPU does not give is None. The whole card's load and memory are told, whoever uses it.
    """
    answer = _nvidia_smi(",".join(_GPU_STATE))
    if answer is None:
        return None
    state: GpuState = {name: _number(text) for name, text in zip(_GPU_STATE.values(), answer, strict=False)}
    reasons = next((found[0] for field in _REASONS if (found := _nvidia_smi(field))), None)
    try:
        bits = None if reasons is None else int(reasons, 16)
    except ValueError:
        bits = None
    state["throttled_by"] = None if bits is None else [name for bit, name in _THROTTLES.items() if bits & bit]
    return state


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _gpu() -> tuple[str | None, str | None]:
    """The first GPU's name and driver."""
    answer = _nvidia_smi("name,driver_version") or []
    name, driver = [*answer, "", ""][:2]
    return name or None, driver or None


def _nvidia_smi(fields: str) -> list[str] | None:
    """What nvidia-smi says of the first GPU that this process sees, field by field; None where there is none."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return None
    seen = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")[0].strip() or "0"  # a number or a UUID
    query = [program, f"--id={seen}", f"--query-gpu={fields}", "--format=csv,noheader,nounits"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=10, check=True)  # noqa: S603 - a fixed command
    except (OSError, subprocess.SubprocessError):
        return None
    return [part.strip() for part in answer.stdout.strip().split(",")]
