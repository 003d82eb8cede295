"""ONNX Runtime on any of its providers; if something else than requested is active, it raises."""

import contextlib
import io
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import onnxruntime

from slimmer.errors import ExportError, RecipeError, RuntimeUnavailableError
from slimmer.exporting.error_text import ONNX_FILE, one_line
from slimmer.exporting.outputs import judged
from slimmer.profiling.runtimes.onnx_session import OnnxSession
from slimmer.profiling.runtimes.providers import (
    CPU,
    ON_GPU,
    Asked,
    asked_for,
    check_provider,
    first_choice,
    with_threads,
)
from slimmer.profiling.runtimes.session_options import DEFAULTS, Options

_BOUND = "inputs and outputs bound on the device, copies not timed"
_THROUGH_MEMORY = "inputs and outputs in CPU memory: copies to the device and back are timed too"
_SILENT, _WARNING = 4, 2  # ONNX Runtime's log levels; the default is warning
_BAD_FILE = ("InvalidProtobuf", "InvalidGraph", "NoSuchFile")  # names of ONNX Runtime's errors
_NEEDS = {
    "cuda": "a GPU with the versions of CUDA and cuDNN",
    "tensorrt": "a GPU with CUDA, cuDNN and TensorRT",
}


def open_session(
    path: Path,
    *,
    provider: str,
    threads: int | None = None,
    options: Options = DEFAULTS,
    trace: Path | None = None,
) -> OnnxSession:
    """The ONNX file at `path`, ready to run on `provider`: "cpu", "cuda", "tensorrt", … or a name
    of ONNX Runtime's.

    `threads` is the number of intra-op threads; None is ONNX Runtime's default, one per core.
    `options` that are not set keep ONNX Runtime's default (on CUDA that includes TF32). The
    session's `settings` report what is active, and the number of nodes on each provider. With
    `trace`, the session writes what each node did to a file with that prefix (`end_trace`), which
    makes it slower.

    Raise RuntimeUnavailableError for a provider or an option that is unknown, or not active once
    the session is open (ONNX Runtime continues without it and only logs that), and under
    `options.strict` for nodes on the CPU; ExportError for a file that is missing or broken;
    RecipeError for fewer than one thread.

    Source: https://onnxruntime.ai/docs/execution-providers/CUDA-ExecutionProvider.html
    """
    provider = check_provider(provider)
    asked = asked_for(provider, options)
    if threads is not None and threads < 1:
        raise RecipeError("threads", str(threads), "1 or more, or none for one per core")
    if not path.is_file():
        raise ExportError(str(path), "no such file", ONNX_FILE)
    settings = _session_options(provider, threads, options, trace)
    try:
        with _silence():
            if first_choice(provider) in ON_GPU and hasattr(onnxruntime, "preload_dlls"):
                onnxruntime.preload_dlls()  # the loader does not find CUDA from pip packages
            session = onnxruntime.InferenceSession(
                str(path), settings, providers=with_threads(asked, threads), enable_fallback=0
            )
    except Exception as error:  # ONNX Runtime's errors have no common base class
        if first_choice(provider) == CPU or type(error).__name__ in _BAD_FILE:
            raise ExportError(str(path), one_line(error), ONNX_FILE) from error
        raise _inactive(provider, one_line(error)) from error
    nodes = _nodes(session)
    _check_active(session, provider, asked, nodes)
    graph = bool(options.cuda_graph and asked[0][1])
    return OnnxSession(path, session, _settings(session, settings, nodes), cuda_graph=graph)


def accuracy(
    path: Path,
    batches: Iterable[tuple[Any, Any]],
    *,
    provider: str = "cpu",
    threads: int | None = None,
    batch: int | None = None,
) -> float:
    """The top-1 accuracy, 0 to 1, of the ONNX file at `path`.

    `batches` are (images (N, C, H, W) float32, labels (N,)), tensors on the CPU or arrays; `batch`
    is the batch size of the file if that is fixed. Raise DataError if there is no image, and the
    errors of `open_session`.
    """
    session = open_session(path, provider=provider, threads=threads)
    return judged(session.run, batches, where=f"accuracy of {path}", batch=batch).accuracy


def _session_options(
    provider: str, threads: int | None, options: Options, trace: Path | None
) -> Any:
    found = onnxruntime.SessionOptions()
    found.log_severity_level = _SILENT
    found.intra_op_num_threads = threads or 0
    found.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    if options.strict and first_choice(provider) != CPU:
        found.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    if trace is not None:
        found.enable_profiling = True
        found.profile_file_prefix = str(trace)
    return found


def _check_active(session: Any, provider: str, asked: Asked, nodes: Mapping[str, int]) -> None:
    """Raise RuntimeUnavailableError if the session uses another provider or other options."""
    wanted, active = first_choice(provider), session.get_providers()[0]
    if active != wanted:
        raise _inactive(provider, f"{wanted} was requested, {active} is active")
    if nodes and not nodes.get(wanted):
        raise _inactive(provider, f"{wanted} is active and runs none of the nodes: {dict(nodes)}")
    got = session.get_provider_options().get(wanted, {})
    for name, value in asked[0][1].items():
        if str(got.get(name)).upper() != value.upper():
            raise _inactive(provider, f"option {name} was set to {value} and is {got.get(name)}")


def _inactive(provider: str, found: str) -> RuntimeUnavailableError:
    needs = _NEEDS.get(provider, "the hardware and libraries")
    right = (
        f"{needs} that onnxruntime {onnxruntime.__version__} was built for (`python -c 'import "
        "onnxruntime as o; o.preload_dlls(); o.print_debug_info()'` shows what is missing), or "
        "provider cpu"
    )
    return RuntimeUnavailableError(f"provider {provider}", found, right)


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """A block in which ONNX Runtime logs nothing; `open_session` raises its errors instead."""
    onnxruntime.set_default_logger_severity(_SILENT)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        onnxruntime.set_default_logger_severity(_WARNING)


def _nodes(session: Any) -> Counter[str]:
    """The number of nodes on each provider; empty if this ONNX Runtime does not report it."""
    counts: Counter[str] = Counter()
    if hasattr(session, "get_provider_graph_assignment_info"):
        for part in session.get_provider_graph_assignment_info():
            for _ in part.get_nodes():
                counts[part.ep_name] += 1
    return counts


def _settings(session: Any, options: Any, nodes: Mapping[str, int]) -> dict[str, str]:
    bound = session.get_providers()[0] in (CPU, *ON_GPU)
    settings = {
        "providers": " ".join(session.get_providers()),
        "threads": str(options.intra_op_num_threads or "one per core"),
        "graph_optimization_level": options.graph_optimization_level.name,
        "execution_mode": options.execution_mode.name,
        "io_binding": _BOUND if bound else _THROUGH_MEMORY,
    }
    for name, chosen in session.get_provider_options().items():
        for key, value in chosen.items():
            settings[f"{name}.{key}"] = str(value)
    for name, number in nodes.items():
        settings[f"nodes.{name}"] = str(number)
    return settings
