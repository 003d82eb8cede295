"""NVIDIA GPUs: how many, which, and in what state, as NVML tells. Nothing of them is changed."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pynvml

GpuState = dict[str, float | str | list[str] | None]

# Source: nvml.h, nvmlClocksEventReason*; idle and a clock that somebody set are no throttling.
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
    """The number of GPUs in this machine; 0 without a driver."""
    with suppress(pynvml.NVMLError), _nvml():
        return int(pynvml.nvmlDeviceGetCount())
    return 0


def gpu_and_driver() -> tuple[str | None, str | None]:
    """The name of the first GPU that this process sees, and the driver's version; None without one."""
    with suppress(pynvml.NVMLError), _first_gpu() as gpu:
        return pynvml.nvmlDeviceGetName(gpu), pynvml.nvmlSystemGetDriverVersion()
    return None, None


def gpu_state() -> GpuState | None:
    """The first GPU's clocks, temperature, power, load and what throttles it, at this moment; None
    without one.

    A figure that the GPU does not give is None. The whole card's load and memory are told, whoever
    uses it.
    """
    with suppress(pynvml.NVMLError), _first_gpu() as gpu:
        state: GpuState = {name: _figure(read, gpu) for name, read in _FIGURES.items()}
        reasons = _figure(pynvml.nvmlDeviceGetCurrentClocksEventReasons, gpu)
        state["throttled_by"] = None if reasons is None else _named(int(reasons))
        return state
    return None


def _named(reasons: int) -> list[str]:
    """The reasons whose bits are set."""
    return [name for bit, name in _THROTTLES.items() if reasons & bit]


def _figure(read: Callable[[Any], float], gpu: Any) -> float | None:
    """A figure, or None where the card or its driver does not give it."""
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
    """The first GPU of those that CUDA_VISIBLE_DEVICES names, by number or UUID."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")[0].strip() or "0"
    with _nvml():
        by_number = named.isdecimal()
        yield (
            pynvml.nvmlDeviceGetHandleByIndex(int(named))
            if by_number
            else pynvml.nvmlDeviceGetHandleByUUID(named)
        )
