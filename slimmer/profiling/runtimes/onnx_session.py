"""A session of ONNX Runtime: runs, prepared calls and copies."""

import itertools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from slimmer.errors import ExportError
from slimmer.exporting.error_text import one_line
from slimmer.exporting.outputs import TYPES, as_type
from slimmer.profiling.runtimes import Array
from slimmer.profiling.runtimes.providers import ON_GPU


class OnnxSession:
    """An ONNX file in ONNX Runtime; `open_session` creates it."""

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
        """The first output for `x`. Raise ExportError for images that the network does not take."""
        feed = {self._input.name: self._cast(x)}
        try:
            logits: Array = self._session.run([self._outputs[0].name], feed)[0]
        except Exception as error:  # ONNX Runtime's errors have no common base class
            raise self._refused(x, error) from error
        return logits

    def prepare(self, x: Array) -> Callable[[], None]:
        """A call that runs the network once, with inputs and outputs bound on the device.

        Without binding, a run on a GPU includes the copies to it and back. With `cuda_graph`, each
        prepared call has its own graph, which its first run captures, and outputs at fixed
        addresses. The call raises ExportError for images that the network does not take. Source:
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
            except Exception as error:  # ONNX Runtime's errors have no common base class
                raise self._refused(x, error) from error

        return once

    def copies(self, x: Array) -> dict[str, Callable[[], None]]:
        """The copies that `prepare` leaves out on a GPU: `x` to the GPU, and the outputs back; none
        on the CPU.
        """
        if self._device == "cpu":
            return {}
        binding, alive = self._bind(x)
        source = np.ascontiguousarray(self._cast(x))
        options = None
        if self._graphs is not None:
            options = _in_graph(-1)  # outside all graphs; the default would replay the first
        self._session.run_with_iobinding(binding, options)
        binding.synchronize_outputs()
        return {
            "to_device": lambda: alive[0].update_inplace(source),
            "to_host": binding.copy_outputs_to_cpu,
        }

    def end_trace(self) -> Path:
        """The file that a session opened with `trace` wrote."""
        return Path(self._session.end_profiling())

    def close(self) -> None:
        """Release the network; its memory is freed once no prepared call is left."""
        self._session = None

    def _bind(self, x: Array) -> tuple[Any, list[Any]]:
        """Inputs and outputs bound on the device, and the values that must live as long as they."""
        binding = self._session.io_binding()
        source = np.ascontiguousarray(self._cast(x))
        # On the CPU, the value shares the array's memory.
        alive = [onnxruntime.OrtValue.ortvalue_from_numpy(source, self._device, 0)]
        binding.bind_ortvalue_input(self._input.name, alive[0])
        for output in self._outputs:
            if self._graphs is None:
                binding.bind_output(output.name, self._device, 0)
            else:
                # A captured graph writes to one address, so outputs can't be allocated run by run.
                alive.append(self._fixed_output(output, len(x)))
                binding.bind_ortvalue_output(output.name, alive[-1])
        binding.synchronize_inputs()
        return binding, alive

    def _fixed_output(self, output: Any, images: int) -> Any:
        """Memory for an output of a batch. Raise ExportError if its shape is open otherwise."""
        shape = [images, *output.shape[1:]] if output.shape else []
        if not all(isinstance(size, int) for size in shape):
            found = f"output {output.name} has the shape {output.shape}"
            raise ExportError(
                f"{self._path} with a CUDA graph", found, "sizes that depend on the batch only"
            )
        kind = TYPES.get(output.type, np.float32)
        return onnxruntime.OrtValue.ortvalue_from_shape_and_type(shape, kind, self._device, 0)

    def _cast(self, x: Array) -> Array:
        """`x` in the type of the file's input; the same array if it has that type already."""
        return as_type(x, self._input.type)

    def _refused(self, x: Array, error: Exception) -> ExportError:
        where = f"{self._path} on images {x.shape} of {x.dtype}"
        right = "images of the shape and type of the file's input, and enough memory for this batch"
        return ExportError(where, one_line(error), right)


def _in_graph(number: int) -> Any:
    """Options of a run that captures or replays the CUDA graph of this number; -1 is no graph."""
    options = onnxruntime.RunOptions()
    options.add_run_config_entry("gpu_graph_id", str(number))
    return options
