"""Where weights lie: one file, shards with their index, or a directory as the Hugging Face hub lays
it out.
"""

import json
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from safetensors.torch import load
from torch import Tensor

from slimmer.atomic_files import read_json
from slimmer.errors import CheckpointError, first_line
from slimmer.models.checkpoint.archive import COPY_AGAIN
from slimmer.models.checkpoint.pickled import read_pickled
from slimmer.models.checksum import is_sound

NAME_ONE: Final = "name a checkpoint: .pth, .pt, .th, .ckpt or .safetensors, or a directory of the Hugging Face hub"
_INDEX = ".index.json"
# In a directory of the hub, in the order in which its own libraries look.
HUB: Final = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
    "diffusion_pytorch_model.safetensors",
)


def check_is_file(path: Path) -> None:
    """Check that `path` is a regular file that can be read and is not empty; a pipe or a device may
    have no end.

    Raises CheckpointError.
    """
    where = str(path)
    try:
        found = path.stat()
        if stat.S_ISDIR(found.st_mode):
            raise CheckpointError(where, "this is a directory", NAME_ONE)
        if not stat.S_ISREG(found.st_mode):
            raise CheckpointError(where, "is no regular file", NAME_ONE)
        with path.open("rb") as file:
            empty = not file.read(1)
    except FileNotFoundError as error:
        raise CheckpointError(where, "there is no such file", NAME_ONE) from error
    except OSError as error:
        raise CheckpointError(where, f"can't be read: {error.strerror}", NAME_ONE) from error
    except ValueError as error:  # a null byte in the name
        raise CheckpointError(where, f"is no name of a file: {error}", NAME_ONE) from error
    if empty:
        raise CheckpointError(where, "the file is empty", COPY_AGAIN)


def file_of(path: Path) -> Path:
    """The file that `path` names: itself, or what a directory of the hub holds. Raises
    CheckpointError.
    """
    try:
        is_folder = path.is_dir()
    except (OSError, ValueError):  # a name that can't be: reading it says so
        is_folder = False
    if not is_folder:
        return path
    for name in HUB:
        if (path / name).exists():
            return path / name
    try:
        held = sorted(each.name for each in path.iterdir())
    except OSError as error:
        raise CheckpointError(str(path), f"can't be read: {error.strerror}", NAME_ONE) from error
    listed = ", ".join(held[:8]) or "nothing"
    found = (
        f"this is a directory, and neither a run nor one of the Hugging Face hub; it holds {listed}"
    )
    raise CheckpointError(str(path), found, f"{NAME_ONE}, which holds {' or '.join(HUB[:4])}")


def read_value(path: Path) -> tuple[Any, int]:
    """What the file at `path` holds, on the CPU, and how many bytes were read for it. Raises
    CheckpointError.
    """
    check_is_file(path)
    if path.name.endswith(_INDEX):
        return _read_shards(path)
    size = path.stat().st_size
    if path.suffix == ".safetensors":
        return _read_safetensors(path), size
    return read_pickled(path), size


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        content = path.read_bytes()
        tensors = load(content)
        sound = is_sound(content)
    except OSError:
        raise
    except (
        Exception
    ) as error:  # the library's own error, and torch's for sizes and types that it has not
        found = f"is cut short, damaged or no safetensors file: {first_line(error)[:200]}"
        raise CheckpointError(str(path), found, COPY_AGAIN) from error
    if not sound:
        raise CheckpointError(str(path), "the file is damaged: its checksum is another", COPY_AGAIN)
    return tensors


def _read_shards(index: Path) -> tuple[dict[str, Any], int]:
    """The weights of all files that an index names, which lie beside it."""
    shards = _shards(index)
    weights: dict[str, Any] = {}
    total = 0
    for name in dict.fromkeys(shards.values()):
        held, size = read_value(index.parent / name)
        if not isinstance(held, Mapping):
            raise CheckpointError(str(index.parent / name), "holds no dict of tensors", COPY_AGAIN)
        total += size
        weights |= {
            key: held[key] for key, shard in shards.items() if shard == name and key in held
        }
    missing = [key for key in shards if key not in weights]
    if missing:
        found = f"{len(missing)} tensors of the index are in no file: {', '.join(key[:100] for key in missing[:8])}"
        raise CheckpointError(str(index), found, "copy all files of the index again")
    return weights, total


def _shards(index: Path) -> dict[str, str]:
    """The file of each key, by an index of the hub."""
    right = 'an index is {"weight_map": {KEY: FILE}}, of files that lie beside it'
    try:
        shards = read_json(index)["weight_map"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            str(index), f"is no index of shards ({first_line(error)})", right
        ) from error
    if not isinstance(shards, dict) or not shards:
        raise CheckpointError(str(index), "names no files", right)
    for name in shards.values():
        if (
            not isinstance(name, str)
            or not name
            or Path(name).name != name
            or name.endswith(_INDEX)
        ):
            raise CheckpointError(
                str(index), f"names {json.dumps(name)[:100]}, which is no file beside it", right
            )
    return shards
