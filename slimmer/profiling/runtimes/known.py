"""The registry of runtimes: slimmer's own, and those that installed packages add."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import onnxruntime
from torch import nn

from slimmer.errors import RecipeError, RuntimeUnavailableError
from slimmer.profiling.runtimes import Array, Session
from slimmer.profiling.runtimes.environment import package_version
from slimmer.profiling.runtimes.first_use import Fresh, measure_fresh
from slimmer.profiling.runtimes.node_times import Trace, trace_network
from slimmer.profiling.runtimes.onnxruntime import open_session
from slimmer.profiling.runtimes.providers import SHORT, asked_for, check_provider
from slimmer.profiling.runtimes.runtime import Request, Runtime
from slimmer.profiling.runtimes.session_options import DEFAULTS, Options
from slimmer.recipe.runtimes import DEFAULT, GROUP
from slimmer.registry import Registry


def _file(path: Path, request: Request) -> Session:
    return open_session(
        path, provider=request.provider, threads=request.threads, options=request.options
    )


def _first_use(path: Path, shape: tuple[int, ...], request: Request) -> Fresh | None:
    return measure_fresh(
        path, shape, provider=request.provider, threads=request.threads, options=request.options
    )


def _trace(path: Path, images: Array, request: Request) -> Trace:
    return trace_network(
        path, images, provider=request.provider, threads=request.threads, options=request.options
    )


# PyTorch's sessions are imported on use, because ONNX files alone do not need them.


def _module(module: nn.Module, request: Request, *, compiled: bool) -> Session:
    from slimmer.profiling.runtimes.pytorch import open_model  # noqa: PLC0415

    return open_model(module, provider=request.provider, threads=request.threads, compiled=compiled)


def _device(provider: str) -> str:
    from slimmer.profiling.runtimes.pytorch import check_device  # noqa: PLC0415

    return check_device(SHORT.get(provider, provider))


def _onnxruntime_version() -> str:
    return str(onnxruntime.__version__)


RUNTIMES: Registry[Runtime] = Registry("runtime", RecipeError, entry_points=GROUP, kind=Runtime)
for _entry in (
    Runtime(
        DEFAULT,
        "ONNX Runtime",
        open_file=_file,
        provider=check_provider,
        version=_onnxruntime_version,
        takes_options=True,
        wide_vectors=True,
        first_use=_first_use,
        trace=_trace,
    ),
    Runtime(
        "torch",
        "PyTorch",
        open_module=partial(_module, compiled=False),
        provider=_device,
        version=partial(package_version, "torch"),
        wide_vectors=True,
    ),
    Runtime(
        "torch-compiled",
        "PyTorch, compiled",
        open_module=partial(_module, compiled=True),
        provider=_device,
        version=partial(package_version, "torch"),
        wide_vectors=True,
    ),
):
    RUNTIMES.add(_entry.name, _entry)


def check_runtimes(names: Sequence[str], provider: str, options: Options) -> dict[str, str]:
    """The provider of each runtime, by the runtime's name; nothing is opened.

    Raise RecipeError for an unknown runtime, and RuntimeUnavailableError if a runtime is not
    available or does not have the provider, or if no runtime accepts the `options`.
    """
    entries = [RUNTIMES[name] for name in names]
    for entry in entries:
        reason = entry.unavailable()
        if reason is not None:
            right = "install its requirements, or leave the runtime out"
            raise RuntimeUnavailableError(f"runtime {entry.name}", reason, right)
    found = {entry.name: entry.provider(provider) for entry in entries}
    taking = [entry.name for entry in entries if entry.takes_options]
    for name in taking:
        asked_for(found[name], options)
    if options != DEFAULTS and not taking:
        able = [entry.name for entry in RUNTIMES.values() if entry.takes_options]
        taken = f"{', '.join(names)} takes no such options: {options.told()}"
        right = f"runtime {', '.join(able)}, or leave the options out"
        raise RuntimeUnavailableError("profile options", taken, right)
    return found
