"""What is said of each network that is timed: its file, and what the file says of itself."""

from collections.abc import Mapping
from pathlib import Path

from slimmer.errors import ExportError
from slimmer.exporting.error_text import ONNX_FILE
from slimmer.exporting.input_shape import ANY_SIZE
from slimmer.exporting.onnx_file import bytes_of, sums_of
from slimmer.profiling.means import Network
from slimmer.profiling.results import Subject
from slimmer.profiling.runtimes import Session

# What a file says of where it comes from.
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
    """The SHA-256 and the bytes of an ONNX file, with those of its weights where they lie beside
    it.
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
    """What is said of `network` in one runtime, with the sum and the size of its file."""
    flops, params = _count(about, "flops"), _count(about, "params")
    if (
        about.get("image_size") == ANY_SIZE
    ):  # they were counted at the size that the network was trained on
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
    """The number that a file says of itself under `key`, or None."""
    return int(about[key]) if about.get(key, "").isdigit() else None
