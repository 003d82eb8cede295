"""The entry of ONNX Runtime in the registry of runtimes."""

from pathlib import Path

import onnxruntime

from slimmer.profiling.runtimes import Array, Session
from slimmer.profiling.runtimes.first_use import Fresh, measure_fresh
from slimmer.profiling.runtimes.node_times import Trace, trace_network
from slimmer.profiling.runtimes.onnxruntime import open_session
from slimmer.profiling.runtimes.providers import check_provider
from slimmer.profiling.runtimes.runtime import Request, Runtime


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


def _version() -> str:
    return str(onnxruntime.__version__)


RUNTIME = Runtime(
    "onnxruntime",
    "ONNX Runtime",
    open_file=_file,
    provider=check_provider,
    version=_version,
    takes_options=True,
    wide_vectors=True,
    first_use=_first_use,
    trace=_trace,
)
