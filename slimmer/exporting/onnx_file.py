"""ONNX files on disk: checked, written atomically, large weights in an external data file."""

from pathlib import Path
from tempfile import TemporaryDirectory

import onnx

from slimmer.atomic_files import digest, whole

ONE_FILE = 2**31 - 2**24  # bytes of weights; protobuf allows 2 GiB, including the graph
SMALL = (
    1024  # bytes; smaller tensors are never external, because ONNX's checker reads sizes and axes
)


def beside(path: Path) -> Path:
    """The path of the external weights of the ONNX file at `path`, if they are too large for it.

    >>> beside(Path("runs/x/slim.onnx")).name
    'slim.onnx.data'
    """
    return path.with_name(f"{path.name}.data")


def files_of(path: Path) -> list[Path]:
    """The ONNX file at `path`, and its external weights if there are any."""
    weights = beside(path)
    return [path, weights] if weights.is_file() else [path]


def sums_of(path: Path) -> str:
    """The SHA-256 of the ONNX file at `path` and, after a space, of its external weights."""
    return " ".join(map(digest, files_of(path)))


def bytes_of(path: Path) -> int:
    """The size in bytes of the ONNX file at `path`, including external weights."""
    return sum(file.stat().st_size for file in files_of(path))


def remove(path: Path) -> None:
    """Remove the ONNX file at `path`, then its weights, so that no file is without weights."""
    path.unlink(missing_ok=True)
    beside(path).unlink(missing_ok=True)


def write_onnx(file: onnx.ModelProto, path: Path) -> None:
    """Check `file` and write it to `path` atomically; weights above ONE_FILE go to `path`.data.

    In that case `file` loses its weights. Raise the errors of ONNX's checker and of the system.
    Source: https://onnx.ai/onnx/repo-docs/ExternalData.html
    """
    if sum(tensor.ByteSize() for tensor in file.graph.initializer) <= ONE_FILE:
        onnx.checker.check_model(file, full_check=True)
        data = file.SerializeToString()
        with whole(path) as part:
            part.write_bytes(data)
        beside(path).unlink(missing_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as name:
        new = Path(name) / path.name
        onnx.save_model(
            file,
            new,
            save_as_external_data=True,
            all_tensors_to_one_file=True,
            location=beside(path).name,
            size_threshold=SMALL,
        )
        onnx.checker.check_model(new, full_check=True)
        with whole(path) as part:
            new.replace(part)
            with whole(beside(path)) as weights:
                beside(new).replace(weights)
                # Between the two renames, no file is better than a file with other weights.
                path.unlink(missing_ok=True)
