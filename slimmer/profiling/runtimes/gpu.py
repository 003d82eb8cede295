"""NVIDIA GPUs: their number, names and state, as NVML reports. Nothing is changed."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pynvml

GpuState = dict[str, float | str | list[str] | None]

# Source: nvml.h, nvmlClocksEventReason*; idle clocks and clocks set by the user are not throttling.
_THROTTLES = {
    pynvml.nvmlClocksEventReasonSwPowerCap: "power cap",
    pynvml.nvmlClocksThrottleReasonHwSlowdown: "hardware slowdown",
    pynvml.nvmlClocksEventReasonSwThermalSlowdown: "thermal slowdown, software",
    pynvml.nvmlClocksThrottleReasonHwThermalSlowdown: "thermal slowdown, hardware",
    pynvml.nvmlClocksThrottleReasonHwPowerBrakeSlowdown: "power brake",
}
_FIGURES: dict[str, Callable[[Any], float]] = {
    "clock_sm_mhz": lambda gpu: pynvml.nvmlDeviceGetClockInfo(gpu, pynvml.NVML_CLOCK_SM),
    "clock_memory_mhz": lambda gpu: pynvml.nvmlDeviceGetClockInfo(gpu, pynvml.NVML_CLOCK_MEM),
    "clock_sm_highest_mhz": lambda gpu: pynvml.nvmlDeviceGetMaxClockInfo(gpu, pynvml.NVML_CLOCK_SM),
    "temperature_c": lambda gpu: pynvml.nvmlDeviceGetTemperature(gpu, pynvml.NVML_TEMPERATURE_GPU),
    "power_w": lambda gpu: pynvml.nvmlDeviceGetPowerUsage(gpu) / 1000,
    "power_limit_w": lambda gpu: pynvml.nvmlDeviceGetEnforcedPowerLimit(gpu) / 1000,
    "busy_percent": lambda gpu: pynvml.nvmlDeviceGetUtilizationRates(gpu).gpu,
    "memory_used_mib": lambda gpu: pynvml.nvmlDeviceGetMemoryInfo(gpu).used / 2**20,
}


def gpu_count() -> int:
    """The number of GPUs in this machine; 0 if there is no driver."""
    with suppress(pynvml.NVMLError), _nvml():
        return int(pynvml.nvmlDeviceGetCount())
    return 0


def gpu_and_driver() -> tuple[str | None, str | None]:
    """The name of the first visible GPU and the driver's version; None without a GPU."""
    with suppress(pynvml.NVMLError), _first_gpu() as gpu:
        return pynvml.nvmlDeviceGetName(gpu), pynvml.nvmlSystemGetDriverVersion()
    return None, None


def gpu_state() -> GpuState | None:
    """The current clocks, temperature, power, load and throttling of the first visible GPU; None
    without one.

    A figure that the GPU does not report is None. Load and memory are those of the whole card, by
    all processes.
    """
    with suppress(pynvml.NVMLError), _first_gpu() as gpu:
        state: GpuState = {name: _figure(read, gpu) for name, read in _FIGURES.items()}
        reasons = _figure(pynvml.nvmlDeviceGetCurrentClocksEventReasons, gpu)
        state["throttled_by"] = None if reasons is None else _named(int(reasons))
        return state
    return None


def _named(reasons: int) -> list[str]:
    """The names of the reasons whose bits are set."""
    return [name for bit, name in _THROTTLES.items() if reasons & bit]


def _figure(read: Callable[[Any], float], gpu: Any) -> float | None:
    """A figure, or None if the card or its driver does not report it."""
    try:
        return float(read(gpu))
    except pynvml.NVMLError:
        return None


@contextmanager
def _nvml() -> Iterator[None]:
    pynvml.nvmlInit()
    try:
        yield
    finally:
        pynvml.nvmlShutdown()


@contextmanager
def _first_gpu() -> Iterator[Any]:
    """The first GPU that CUDA_VISIBLE_DEVICES lists, by number or UUID."""
    listed = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")[0].strip() or "0"
    with _nvml():
        if listed.isdecimal():
            yield pynvml.nvmlDeviceGetHandleByIndex(int(listed))
        else:
            yield pynvml.nvmlDeviceGetHandleByUUID(listed)
