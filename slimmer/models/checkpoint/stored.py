"""The places where weights are stored: one file, shards with an index, or a directory of the
Hugging Face hub.
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

NAME_ONE: Final = (
    "give a checkpoint: .pth, .pt, .th, .ckpt or .safetensors, "
    "or a directory of the Hugging Face hub"
)
_INDEX = ".index.json"
# The files in a directory of the hub, in the order in which its own libraries look for them.
HUB: Final = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
    "diffusion_pytorch_model.safetensors",
)


def check_is_file(path: Path) -> None:
    """Raise CheckpointError unless `path` is a regular file that can be read and is not empty; a
    pipe or a device may be endless.
    """
    where = str(path)
    try:
        found = path.stat()
        if stat.S_ISDIR(found.st_mode):
            raise CheckpointError(where, "this is a directory", NAME_ONE)
        if not stat.S_ISREG(found.st_mode):
            raise CheckpointError(where, "is not a regular file", NAME_ONE)
        with path.open("rb") as file:
            empty = not file.read(1)
    except FileNotFoundError as error:
        raise CheckpointError(where, "does not exist", NAME_ONE) from error
    except OSError as error:
        raise CheckpointError(where, f"can't be read: {error.strerror}", NAME_ONE) from error
    except ValueError as error:  # a null byte in the name
        raise CheckpointError(where, f"is not a valid file name: {error}", NAME_ONE) from error
    if empty:
        raise CheckpointError(where, "the file is empty", COPY_AGAIN)


def file_of(path: Path) -> Path:
    """The file for `path`: itself, or the weights in a directory of the hub. Raises
    CheckpointError.
    """
    try:
        is_folder = path.is_dir()
    except (OSError, ValueError):  # an impossible path; reading it raises the clear error
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
    kind = "this is a directory, but neither a run nor from the Hugging Face hub"
    right = f"{NAME_ONE}, which contains {' or '.join(HUB[:4])}"
    raise CheckpointError(str(path), f"{kind}; it contains {listed}", right)


def read_value(path: Path) -> tuple[Any, int]:
    """The content of the file at `path`, on the CPU, and the number of bytes that were read. Raises
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
    except Exception as error:
        # The library's own error, or torch's for sizes and types that it does not support.
        found = f"is truncated, damaged or not a safetensors file: {first_line(error)[:200]}"
        raise CheckpointError(str(path), found, COPY_AGAIN) from error
    if not sound:
        found = "the file is damaged: its checksum does not match"
        raise CheckpointError(str(path), found, COPY_AGAIN)
    return tensors


def _read_shards(index: Path) -> tuple[dict[str, Any], int]:
    """The weights of all files in an index, which are in the same folder, and their size in
    bytes.
    """
    shards = _shards(index)
    weights: dict[str, Any] = {}
    total = 0
    for name in dict.fromkeys(shards.values()):
        held, size = read_value(index.parent / name)
        if not isinstance(held, Mapping):
            found = "does not contain a dict of tensors"
            raise CheckpointError(str(index.parent / name), found, COPY_AGAIN)
        total += size
        for key, shard in shards.items():
            if shard == name and key in held:
                weights[key] = held[key]
    missing = [key for key in shards if key not in weights]
    if missing:
        listed = ", ".join(key[:100] for key in missing[:8])
        found = f"{len(missing)} tensors of the index are in no file: {listed}"
        raise CheckpointError(str(index), found, "copy all files of the index again")
    return weights, total


def _shards(index: Path) -> dict[str, str]:
    """The file of each key, from an index of the hub."""
    right = 'an index is {"weight_map": {KEY: FILE}}, with files in the same folder'
    try:
        shards = read_json(index)["weight_map"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        found = f"is not an index of shards ({first_line(error)})"
        raise CheckpointError(str(index), found, right) from error
    if not isinstance(shards, dict) or not shards:
        raise CheckpointError(str(index), "lists no files", right)
    for name in shards.values():
        if not _is_beside(name):
            found = f"lists {json.dumps(name)[:100]}, which is not a file in the same folder"
            raise CheckpointError(str(index), found, right)
    return shards


def _is_beside(name: object) -> bool:
    """Whether a value from an index is the plain name of a file that may be a shard."""
    if not isinstance(name, str) or not name:
        return False
    return Path(name).name == name and not name.endswith(_INDEX)
