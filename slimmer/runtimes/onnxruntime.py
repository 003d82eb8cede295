"""ONNX Runtime on its CPU, CUDA and TensorRT providers; what was asked for is what runs, or an error."""

import contextlib
import io
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from slimmer.errors import ExportError, RecipeError, RuntimeUnavailableError
from slimmer.export.answers import top1
from slimmer.export.reason import one_line
from slimmer.registry import hint
from slimmer.runtimes import Array

PROVIDERS = {
    "cpu": ("CPUExecutionProvider",),
    "cuda": ("CUDAExecutionProvider",),
    # TensorRT leaves to CUDA what it can't run.
    "tensorrt": ("TensorrtExecutionProvider", "CUDAExecutionProvider"),
}
_SILENT, _WARNING = 4, 2  # ONNX Runtime's log severities; a program starts at warning


class OnnxSession:
    """An ONNX file in ONNX Runtime; `open_session` makes it."""

    name = "onnxruntime"

    def __init__(self, path: Path, session: Any, settings: Mapping[str, str]) -> None:
        self.provider: str = session.get_providers()[0]
        self.settings = dict(settings)
        self._path = path
        self._session = session
        self._input: str = session.get_inputs()[0].name
        self._outputs: list[str] = [output.name for output in session.get_outputs()]

    def run(self, x: Array) -> Array:
        """The first output for `x`. Raises ExportError for images that the network does not take."""
        try:
            logits: Array = self._session.run(self._outputs[:1], {self._input: self._cast(x)})[0]
        except Exception as error:  # ONNX Runtime's errors share no base
            raise self._refused(x, error) from error
        return logits

    def prepare(self, x: Array) -> Callable[[], None]:
        """A call that runs the network once, inputs and outputs bound on the provider's device.

        Without binding, a run on a GPU includes the copies to it and back. The call raises ExportError
        for images that the network does not take.
        Source: https://onnxruntime.ai/docs/performance/tune-performance/iobinding.html
        """
        device = "cpu" if self.provider == "CPUExecutionProvider" else "cuda"
        # On the CPU the value reads the array's own memory, so both live as long as `once`.
        value = onnxruntime.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(self._cast(x)), device, 0)
        session, binding = self._session, self._session.io_binding()
        binding.bind_ortvalue_input(self._input, value)
        for name in self._outputs:
            binding.bind_output(name, device, 0)
        binding.synchronize_inputs()

        def once(_alive: Any = value) -> None:
            try:
                session.run_with_iobinding(binding)
                binding.synchronize_outputs()
            except Exception as error:  # ONNX Runtime's errors share no base
                raise self._refused(x, error) from error

        return once

    def close(self) -> None:
        """Let go of the network; its memory is freed when no prepared call is left either."""
        self._session = None

    def _cast(self, x: Array) -> Array:
        """`x` in the type that the file's input has; the same array where it is that already."""
        half = self._session.get_inputs()[0].type == "tensor(float16)"
        return x.astype(np.float16 if half else np.float32, copy=False)

    def _refused(self, x: Array, error: Exception) -> ExportError:
        where = f"{self._path} on images {x.shape} of {x.dtype}"
        return ExportError(where, one_line(error), "images as the file's input asks for them, in float32")


def open_session(path: Path, *, provider: str, threads: int | None = None) -> OnnxSession:
    """The ONNX file at `path`, ready to run on `provider`: "cpu", "cuda" or "tensorrt".

    `threads` is the number of threads inside one operation; None leaves it to ONNX Runtime, one per core.
    Every other setting stays at ONNX Runtime's default (on CUDA that includes TF32), and `settings` says
    what is active, with the number of nodes that each provider got.

    Raises RuntimeUnavailableError for a provider that is unknown or that is not active once the session
    stands (ONNX Runtime goes on without it and only logs that), ExportError for a file that is missing or
    broken, RecipeError for fewer threads than one.

    Source: https://onnxruntime.ai/docs/execution-providers/CUDA-ExecutionProvider.html
    """
    if provider not in PROVIDERS:
        raise RuntimeUnavailableError("provider", f"{provider!r} is not known", hint(provider, PROVIDERS))
    if threads is not None and threads < 1:
        raise RecipeError("threads", str(threads), "1 or more, or none for one per core")
    if not path.is_file():
        raise ExportError(str(path), "no such file", "an ONNX file, as `slimmer export` writes it")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _SILENT
    options.intra_op_num_threads = threads or 0
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    try:
        with _silence():
            if provider != "cpu" and hasattr(onnxruntime, "preload_dlls"):
                onnxruntime.preload_dlls()  # CUDA from pip packages lies where the loader does not look
            session = onnxruntime.InferenceSession(
                str(path), options, providers=list(PROVIDERS[provider]), enable_fallback=0
            )
    except Exception as error:  # ONNX Runtime's errors share no base
        if provider == "cpu" or type(error).__name__ in ("InvalidProtobuf", "InvalidGraph", "NoSuchFile"):
            right = "an ONNX file, as `slimmer export` writes it"
            raise ExportError(str(path), one_line(error), right) from error
        raise _inactive(provider, one_line(error)) from error
    nodes = _nodes(session)
    wanted, active = PROVIDERS[provider][0], session.get_providers()[0]
    if active != wanted:
        raise _inactive(provider, f"{wanted} was asked for, {active} is active")
    if nodes and not nodes[wanted]:
        raise _inactive(provider, f"{wanted} is active and runs none of the nodes: {dict(nodes)}")
    return OnnxSession(path, session, _settings(session, options, nodes))


def _inactive(provider: str, found: str) -> RuntimeUnavailableError:
    needs = "CUDA, cuDNN" + (" and TensorRT" if provider == "tensorrt" else "")
    return RuntimeUnavailableError(
        f"provider {provider}",
        found,
        f"a GPU with the versions of {needs} that onnxruntime-gpu {onnxruntime.__version__} was built for "
        "(`python -c 'import onnxruntime as o; o.preload_dlls(); o.print_debug_info()'` says what is "
        "missing), or provider cpu",
    )


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """A block in which ONNX Runtime says nothing; what it would say, `open_session` raises."""
    onnxruntime.set_default_logger_severity(_SILENT)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        onnxruntime.set_default_logger_severity(_WARNING)


def _nodes(session: Any) -> Counter[str]:
    """How many nodes each provider got; empty where this ONNX Runtime does not say."""
    if not hasattr(session, "get_provider_graph_assignment_info"):
        return Counter()
    return Counter(part.ep_name for part in session.get_provider_graph_assignment_info() for _ in part.get_nodes())


def _settings(session: Any, options: Any, nodes: Mapping[str, int]) -> dict[str, str]:
    threads = options.intra_op_num_threads
    settings = {
        "providers": " ".join(session.get_providers()),
        "threads": str(threads) if threads else "one per core",
        "graph_optimization_level": options.graph_optimization_level.name,
        "execution_mode": options.execution_mode.name,
        "io_binding": "inputs and outputs bound on the device, copies not timed",
    }
    for name, chosen in session.get_provider_options().items():
        settings |= {f"{name}.{key}": str(value) for key, value in chosen.items()}
    return settings | {f"nodes.{name}": str(number) for name, number in nodes.items()}


def accuracy(
    path: Path,
    batches: Iterable[tuple[Any, Any]],
    *,
    provider: str = "cpu",
    threads: int | None = None,
    batch: int | None = None,
) -> float:
    """The share of images that the ONNX file at `path` puts into the class that their labels name.

    `batches` are (images (N, C, H, W) float32, labels (N,)), tensors on the CPU or arrays; `batch` is the number
    of images that the file takes, where that is fixed. Raises DataError where there is no image, and what
    `open_session` raises.
    """
    session = open_session(path, provider=provider, threads=threads)
    return top1(session.run, batches, where=f"accuracy of {path}", batch=batch)
