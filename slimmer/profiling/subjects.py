"""The description of each timed network: its file and the file's metadata."""

from collections.abc import Mapping
from pathlib import Path

from slimmer.errors import ExportError
from slimmer.exporting.error_text import ONNX_FILE
from slimmer.exporting.input_shape import ANY_SIZE
from slimmer.exporting.onnx_file import bytes_of, sums_of
from slimmer.profiling.means import Network
from slimmer.profiling.results import Subject
from slimmer.profiling.runtimes import Session

# Metadata on where a file comes from.
ORIGIN = (
    "slimmer",
    "torch",
    "arch",
    "network",
    "opset",
    "recipe_hash",
    "plan_hash",
    "weights_sha256",
)


def read(path: Path) -> tuple[str, int]:
    """The SHA-256 and the size in bytes of an ONNX file, including external data.

    Raise ExportError if the file can't be read.
    """
    try:
        return sums_of(path), bytes_of(path)
    except OSError as error:
        raise ExportError(str(path), str(error), ONNX_FILE) from error


def subject_of(
    network: Network,
    runtime: str,
    session: Session,
    file: tuple[str, int],
    about: Mapping[str, str],
    session_ms: float,
) -> Subject:
    """The description of `network` in one runtime; `file` is its SHA-256 and size in bytes."""
    flops, params = _count(about, "flops"), _count(about, "params")
    if about.get("image_size") == ANY_SIZE:  # they were counted at the size of training
        flops = None
    return Subject(
        name=network.name,
        path=str(network.path),
        sha256=file[0],
        size_bytes=file[1],
        flops=flops,
        params=params,
        precision=about.get("precision"),
        origin={key: about[key] for key in ORIGIN if key in about},
        session_ms=session_ms,
        runtime=runtime,
        provider=session.provider,
        settings=dict(session.settings),
    )


def _count(about: Mapping[str, str], key: str) -> int | None:
    """The count that the file's metadata have under `key`, or None."""
    return int(about[key]) if about.get(key, "").isdigit() else None
