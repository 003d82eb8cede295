"""The conditions of a profile, in sentences: effort, options, machine and GPU."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from slimmer.profiling.notes import plural, threads_told
from slimmer.reports.latency_limits import CPU, ON_CPU, Profile, Row, versions
from slimmer.reports.latency_words import block_counts

# Settings of ONNX Runtime and PyTorch that change a timing on a GPU.
TELLING = (
    "use_tf32",
    "cudnn_conv_algo_search",
    "prefer_nhwc",
    "enable_cuda_graph",
    "trt_fp16_enable",
    "float32_matmul_precision",
    "cudnn.benchmark",
    "cudnn.allow_tf32",
)
BOUND = (CPU, "CUDAExecutionProvider", "TensorrtExecutionProvider")  # ONNX Runtime can bind inputs
UNSET = {"strict": False, "cuda_graph": False}  # the other options are None unless they are set


def conditions(found: Profile) -> Iterator[str]:
    """One sentence for each condition that a reader needs to interpret the figures."""
    asked, machine = found["conditions"], found["environment"]
    yield _effort(found)
    options = asked["options"].items()
    chosen = {name: value for name, value in options if value != UNSET.get(name)}
    if chosen:
        yield f"Options (ONNX Runtime only): {_pairs(chosen)}."
    on_cpu = found["provider"] in ON_CPU
    if not on_cpu:
        yield from _in_effect(found["subjects"])
    cores, load = machine["usable_cores"], machine["load"]
    yield f"{machine['cpu']}, {plural(cores, 'core')}, load {load}; {', '.join(versions(found))}."
    if machine.get("gpu") and not on_cpu:
        yield f"{machine['gpu']}, driver {machine['gpu_driver']}."
        for when, state in found["gpu"].items():
            if state:
                yield f"GPU {when}: {_pairs(state)}."


def _effort(found: Profile) -> str:
    asked = found["conditions"]
    effort, size = asked["effort"], "x".join(map(str, asked["input_size"]))
    threads = ", ".join(map(threads_told, asked["threads"]))
    return (
        f"{_blocks(found)}; in each block the networks take turns until each has at least "
        f"{effort['seconds']:g} s and {effort['runs']} runs, back to back after a warm-up; "
        f"{threads}; images of {size}, {_whereabouts(found['provider'])}."
    )


def _blocks(found: Profile) -> str:
    """How many blocks were timed."""
    counts = block_counts(found)
    least, most = min(counts), max(counts)
    return plural(least, "block") if least == most else f"{least} to {most} blocks"


def _whereabouts(provider: str) -> str:
    """Where the images are before a run: inputs can be bound only on the CPU and CUDA devices."""
    if provider.endswith("ExecutionProvider") and provider not in BOUND:
        return "in CPU memory: copies are timed too"
    return "already on the device"


def _in_effect(subjects: Sequence[Row]) -> Iterator[str]:
    """Each runtime's values of the `TELLING` settings, whether set or left at the default."""
    by_runtime = {one["runtime"]: one["settings"] for one in reversed(subjects)}
    for runtime, settings in by_runtime.items():
        shown = {}
        for key, value in settings.items():
            if key.endswith(TELLING):
                shown[key] = f"{key.rpartition('.')[2]} {value}"
        if shown:
            yield f"In effect in {runtime}: {', '.join(shown.values())}."


def _pairs(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())
