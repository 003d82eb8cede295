"""ONNX Runtime on any of its providers; what was asked for is what runs, or an error."""

import contextlib
import io
import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from slimmer.errors import ExportError, RecipeError, RuntimeUnavailableError
from slimmer.exporting.error_text import ONNX_FILE, one_line
from slimmer.exporting.outputs import TYPES, as_type, judged
from slimmer.profiling.runtimes import Array
from slimmer.profiling.runtimes.providers import (
    CPU,
    ON_GPU,
    Asked,
    asked_for,
    check_provider,
    first_choice,
)
from slimmer.profiling.runtimes.session_options import DEFAULTS, Options

_BOUND = "inputs and outputs bound on the device, copies not timed"
_THROUGH_MEMORY = (
    "inputs and outputs in the CPU's memory: copies to the device and back are timed too"
)
_SILENT, _WARNING = 4, 2  # ONNX Runtime's log severities; a program starts at warning


class OnnxSession:
    """An ONNX file in ONNX Runtime; `open_session` makes it."""

    name = "onnxruntime"

    def __init__(
        self, path: Path, session: Any, settings: Mapping[str, str], *, cuda_graph: bool = False
    ) -> None:
        self.provider: str = session.get_providers()[0]
        self.settings = dict(settings)
        self._path = path
        self._session = session
        self._device = "cuda" if self.provider in ON_GPU else "cpu"
        self._input = session.get_inputs()[0]
        self._outputs: list[Any] = list(session.get_outputs())
        self._graphs = itertools.count(1) if cuda_graph else None

    def run(self, x: Array) -> Array:
        """The first output for `x`. Raises ExportError for images that the network does not take."""
        try:
            logits: Array = self._session.run(
                [self._outputs[0].name], {self._input.name: self._cast(x)}
            )[0]
        except Exception as error:  # ONNX Runtime's errors share no base
            raise self._refused(x, error) from error
        return logits

    def prepare(self, x: Array) -> Callable[[], None]:
        """A call that runs the network once, inputs and outputs bound on the provider's device.

        Without binding, a run on a GPU includes the copies to it and back. Under `cuda_graph` each
        prepared call has a graph of its own, captured by its first run, and outputs that stay where
        they are. The call raises ExportError for images that the network does not take. Source:
        https://onnxruntime.ai/docs/performance/tune-performance/iobinding.html
        """
        session, options = self._session, None
        if self._graphs is not None:
            options = _in_graph(next(self._graphs))
        binding, alive = self._bind(x)

        def once(_alive: Any = alive) -> None:
            try:
                session.run_with_iobinding(binding, options)
                binding.synchronize_outputs()
            except Exception as error:  # ONNX Runtime's errors share no base
                raise self._refused(x, error) from error

        return once

    def copies(self, x: Array) -> dict[str, Callable[[], None]]:
        """What `prepare` leaves out on a GPU: calls that copy `x` to it, and the outputs back; none
        on the CPU.
        """
        if self._device == "cpu":
            return {}
        binding, alive = self._bind(x)
        source = np.ascontiguousarray(self._cast(x))
        # outside of all graphs: without a number the run would replay the first
        self._session.run_with_iobinding(binding, None if self._graphs is None else _in_graph(-1))
        binding.synchronize_outputs()
        return {
            "to_device": lambda: alive[0].update_inplace(source),
            "to_host": binding.copy_outputs_to_cpu,
        }

    def end_trace(self) -> Path:
        """The file that a session opened with `trace` wrote."""
        return Path(self._session.end_profiling())

    def close(self) -> None:
        """Let go of the network; its memory is freed when no prepared call is left either."""
        self._session = None

    def _bind(self, x: Array) -> tuple[Any, list[Any]]:
        """The inputs and outputs bound on the device, and what must live as long as they are used."""
        binding = self._session.io_binding()
        # On the CPU the value reads the array's own memory.
        alive = [
            onnxruntime.OrtValue.ortvalue_from_numpy(
                np.ascontiguousarray(self._cast(x)), self._device, 0
            )
        ]
        binding.bind_ortvalue_input(self._input.name, alive[0])
        for output in self._outputs:
            if self._graphs is None:
                binding.bind_output(output.name, self._device, 0)
                continue
            # A captured graph writes to one address, so the outputs can't be allocated run by run.
            shape = [len(x) if index == 0 else size for index, size in enumerate(output.shape)]
            if not all(isinstance(size, int) for size in shape):
                found = f"output {output.name} has the shape {output.shape}"
                raise ExportError(
                    f"{self._path} with a CUDA graph", found, "sizes that only the batch changes"
                )
            kind = TYPES.get(output.type, np.float32)
            alive.append(
                onnxruntime.OrtValue.ortvalue_from_shape_and_type(shape, kind, self._device, 0)
            )
            binding.bind_ortvalue_output(output.name, alive[-1])
        binding.synchronize_inputs()
        return binding, alive

    def _cast(self, x: Array) -> Array:
        """`x` in the type that the file's input has; the same array where it is that already."""
        return as_type(x, self._input.type)

    def _refused(self, x: Array, error: Exception) -> ExportError:
        where = f"{self._path} on images {x.shape} of {x.dtype}"
        return ExportError(
            where,
            one_line(error),
            "images as the file's input asks for them, and memory for such a batch",
        )


def _in_graph(number: int) -> Any:
    """The options of a run that captures or replays the CUDA graph of that number; -1 is none."""
    options = onnxruntime.RunOptions()
    options.add_run_config_entry("gpu_graph_id", str(number))
    return options


def open_session(
    path: Path,
    *,
    provider: str,
    threads: int | None = None,
    options: Options = DEFAULTS,
    trace: Path | None = None,
) -> OnnxSession:
    """The ONNX file at `path`, ready to run on `provider`: "cpu", "cuda", "tensorrt" or one by its
    own name.

    `threads` is the number of threads inside one operation; None leaves it to ONNX Runtime, one per
    core. Whatever `options` leave out stays at ONNX Runtime's default (on CUDA that includes TF32),
    and `settings` says what is active, with the number of nodes that each provider got. With
    `trace` the session writes what each node did to a file of that prefix (`end_trace`), and is
    slowed by it.

    Raises RuntimeUnavailableError for a provider or an option that is unknown or that is not active
    once the session stands (ONNX Runtime goes on without it and only logs that), and under
    `options.strict` for nodes left to the CPU; ExportError for a file that is missing or broken;
    RecipeError for fewer threads than one.

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
                onnxruntime.preload_dlls()  # CUDA from pip packages lies where the loader does not look
            session = onnxruntime.InferenceSession(
                str(path), settings, providers=asked, enable_fallback=0
            )
    except Exception as error:  # ONNX Runtime's errors share no base
        if first_choice(provider) == CPU or type(error).__name__ in (
            "InvalidProtobuf",
            "InvalidGraph",
            "NoSuchFile",
        ):
            raise ExportError(str(path), one_line(error), ONNX_FILE) from error
        raise _inactive(provider, one_line(error)) from error
    nodes = _nodes(session)
    _check_active(session, provider, asked, nodes)
    graph = bool(options.cuda_graph and asked[0][1])
    return OnnxSession(path, session, _settings(session, settings, nodes), cuda_graph=graph)


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
    """Raise RuntimeUnavailableError where the session is on another provider or its options are
    others.
    """
    wanted, active = first_choice(provider), session.get_providers()[0]
    if active != wanted:
        raise _inactive(provider, f"{wanted} was asked for, {active} is active")
    if nodes and not nodes.get(wanted):
        raise _inactive(provider, f"{wanted} is active and runs none of the nodes: {dict(nodes)}")
    got = session.get_provider_options().get(wanted, {})
    for name, value in asked[0][1].items():
        if str(got.get(name)).upper() != value.upper():
            raise _inactive(provider, f"option {name} was set to {value} and is {got.get(name)}")


def _inactive(provider: str, found: str) -> RuntimeUnavailableError:
    needs = {
        "cuda": "a GPU with the versions of CUDA and cuDNN",
        "tensorrt": "a GPU with CUDA, cuDNN and TensorRT",
    }
    return RuntimeUnavailableError(
        f"provider {provider}",
        found,
        f"{needs.get(provider, 'the hardware and libraries')} that onnxruntime {onnxruntime.__version__} was built "
        "for (`python -c 'import onnxruntime as o; o.preload_dlls(); o.print_debug_info()'` says what is "
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
    return Counter(
        part.ep_name
        for part in session.get_provider_graph_assignment_info()
        for _ in part.get_nodes()
    )


def _settings(session: Any, options: Any, nodes: Mapping[str, int]) -> dict[str, str]:
    threads = options.intra_op_num_threads
    settings = {
        "providers": " ".join(session.get_providers()),
        "threads": str(threads) if threads else "one per core",
        "graph_optimization_level": options.graph_optimization_level.name,
        "execution_mode": options.execution_mode.name,
        "io_binding": _BOUND if session.get_providers()[0] in (CPU, *ON_GPU) else _THROUGH_MEMORY,
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

    `batches` are (images (N, C, H, W) float32, labels (N,)), tensors on the CPU or arrays; `batch`
    is the number of images that the file takes, where that is fixed. Raises DataError where there
    is no image, and what `open_session` raises.
    """
    session = open_session(path, provider=provider, threads=threads)
    return judged(session.run, batches, where=f"accuracy of {path}", batch=batch).accuracy
