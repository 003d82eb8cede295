"""An ONNX file on disk: checked, with large weights in a file beside it, whole or not at all."""

from pathlib import Path
from tempfile import TemporaryDirectory

import onnx

from slimmer.atomic_files import digest, whole

ONE_FILE = (
    2**31 - 2**24
)  # bytes of weights; protobuf holds less than 2 GiB, and the graph wants its share

SMALL = 1024  # bytes of a tensor that stays in the file in any case: ONNX's checker reads sizes and axes there


def beside(path: Path) -> Path:
    """Where the weights of the ONNX file at `path` lie, if they are too large for it.

    >>> beside(Path("runs/x/slim.onnx")).name
    'slim.onnx.data'
    """
    return path.with_name(f"{path.name}.data")


def files_of(path: Path) -> list[Path]:
    """The ONNX file at `path`, and its weights where they lie in a file of their own."""
    return [path, *([beside(path)] if beside(path).is_file() else [])]


def sums_of(path: Path) -> str:
    """The SHA-256 of the ONNX file at `path`, and of its weights where they lie in a file of their
    own.
    """
    return " ".join(map(digest, files_of(path)))


def bytes_of(path: Path) -> int:
    """The bytes of the ONNX file at `path`, with those of its weights."""
    return sum(file.stat().st_size for file in files_of(path))


def remove(path: Path) -> None:
    """Remove the ONNX file at `path` with its weights, the file first, so that none is left without
    them.
    """
    path.unlink(missing_ok=True)
    beside(path).unlink(missing_ok=True)


def write_onnx(file: onnx.ModelProto, path: Path) -> None:
    """Write `file` to `path`, checked, whole or not at all; weights above ONE_FILE bytes go to
    `path`.data.

    `file` may lose its weights to that file. Raises what ONNX's checker and the system raise.
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
                path.unlink(
                    missing_ok=True
                )  # between the two renames there is no file, rather than a wrong pair
