"""Weights in and out, and the architecture that weights belong to; never runs code out of a file."""

import pickle
import pickletools
import re
import warnings
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load, save
from torch import Tensor, nn

from slimmer.errors import CheckpointError, first_line
from slimmer.files import whole
from slimmer.models.identify import Identified, identify, infer_sizes, nearest
from slimmer.models.match import compare
from slimmer.seal import CHECKSUM, is_sound, sealed

__all__ = [
    "Identified",
    "identify",
    "infer_sizes",
    "load_weights_",
    "read_metadata",
    "read_weights",
    "save_weights",
]

_WRAPPERS = ("state_dict", "model_state_dict", "model")
_PREFIXES = ("module.", "_orig_mod.")  # of DataParallel and of torch.compile
_SAVE_AGAIN = "save the weights alone: torch.save(model.state_dict(), PATH)"
_COPY_AGAIN = "copy or download the file again"
_ZIP = b"PK\x03\x04"
_PICKLE = b"\x80"


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors that a checkpoint holds, by key, on the CPU.

    A plain state dict, one inside "state_dict", "model_state_dict" or "model", or a .safetensors file;
    prefixes "module." and "_orig_mod." that all keys have are taken off.
    Raises CheckpointError for a file that is missing, damaged, no checkpoint, holds objects with code of
    their own (they are not made), holds other things than tensors, or numbers that are not finite.
    """
    _check_is_file(path)
    value = _read_safetensors(path) if path.suffix == ".safetensors" else _read_pickled(path)
    weights = _without_prefixes(_tensors(str(path), value))
    _check_finite(str(path), weights)
    return weights


def _check_is_file(path: Path) -> None:
    where, right = str(path), "name a checkpoint: .pth, .pt, .th or .safetensors"
    try:
        if path.is_dir():
            raise CheckpointError(where, "this is a directory", right)
        if not path.exists():
            raise CheckpointError(where, "there is no such file", right)
        with path.open("rb") as file:
            empty = not file.read(1)
    except OSError as error:
        raise CheckpointError(where, f"can't be read: {error.strerror}", right) from error
    if empty:
        raise CheckpointError(where, "the file is empty", _COPY_AGAIN)


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        content = path.read_bytes()
        tensors = load(content)
    except SafetensorError as error:
        found = f"is cut short, damaged or no safetensors file: {error}"
        raise CheckpointError(str(path), found, _COPY_AGAIN) from error
    if not is_sound(content):
        raise CheckpointError(str(path), "the file is damaged: its checksum is another", _COPY_AGAIN)
    return tensors


def _read_pickled(path: Path) -> Any:
    where = str(path)
    with path.open("rb") as file:
        head = file.read(12)
    if head.startswith(_ZIP):
        _check_archive(path)
    elif not head.startswith(_PICKLE):
        raise CheckpointError(where, f"is not a checkpoint: it begins with {head!r}", _SAVE_AGAIN)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about pickle protocols; what matters is raised
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged pickles raise anything from KeyError to RuntimeError
        if not head.startswith(_ZIP) and _is_cut(path):
            raise CheckpointError(where, "the file is cut short", _COPY_AGAIN) from error
        if not isinstance(error, pickle.UnpicklingError):
            found = f"the file is cut short or damaged ({first_line(error)})"
            raise CheckpointError(where, found, _COPY_AGAIN) from error
        named = re.search(r"GLOBAL (\w[\w.]*\w)", str(error))
        what = f"{named[1]}, which is" if named else "pickled objects that are"
        found = f"it holds {what} no tensor; slimmer does not load it, since such an object can run code"
        raise CheckpointError(where, found, f"where you trust the file, load it yourself and {_SAVE_AGAIN}") from error


def _check_archive(path: Path) -> None:
    """Check what torch.load does not: that the archive is whole, by its own checksums."""
    where = str(path)
    try:
        with zipfile.ZipFile(path) as archive:
            members = [Path(name).name for name in archive.namelist()]
            damaged = archive.testzip()
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, NotImplementedError) as error:
        found = f"the file is cut short or damaged ({error})"
        raise CheckpointError(where, found, _COPY_AGAIN) from error
    if damaged is not None:
        raise CheckpointError(where, f"the file is damaged (checksum of {damaged})", _COPY_AGAIN)
    if "constants.pkl" in members:
        raise CheckpointError(where, "is a TorchScript program, which holds code", _SAVE_AGAIN)
    if "data.pkl" not in members:
        raise CheckpointError(where, "is a zip archive, but not one that torch.save wrote", _SAVE_AGAIN)


def _is_cut(path: Path) -> bool:
    """Whether a file of the older format (five pickles, then numbers) ends inside a pickle; runs none."""
    size = path.stat().st_size
    with path.open("rb") as file:
        try:
            for _ in range(5):
                for _operation in pickletools.genops(file):
                    pass
                if file.tell() == size:
                    return False
        except ValueError:
            return file.tell() == size
    return False


def _tensors(where: str, value: Any) -> dict[str, Tensor]:
    for _ in range(3):  # no honest file nests deeper, and a hostile one may hold itself
        if isinstance(value, Mapping):
            value = next((value[key] for key in _WRAPPERS if isinstance(value.get(key), Mapping)), value)
    if not isinstance(value, Mapping):
        raise CheckpointError(where, f"holds a {type(value).__name__}, not a dict of tensors", _SAVE_AGAIN)
    others = [f"{key} ({type(each).__name__})" for key, each in value.items() if not _is_weight(key, each)]
    if len(others) == len(value):
        held = ", ".join(others[:8]) or "nothing"
        raise CheckpointError(where, f"holds no tensors, but {held}", _SAVE_AGAIN)
    if others:
        found = f"{len(others)} entries beside the weights are no plain tensors: {', '.join(others[:8])}"
        raise CheckpointError(where, found, _SAVE_AGAIN)
    return {key: each.detach() for key, each in value.items()}


def _is_weight(key: object, value: object) -> bool:
    if not isinstance(key, str) or not isinstance(value, Tensor):
        return False
    return value.layout is torch.strided and not (value.is_meta or value.is_quantized)


def _without_prefixes(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    for prefix in _PREFIXES:
        if all(key.startswith(prefix) for key in weights):
            return _without_prefixes({key.removeprefix(prefix): each for key, each in weights.items()})
    return weights


def _check_finite(where: str, weights: Mapping[str, Tensor]) -> None:
    # One byte floats know no isfinite of their own.
    wide = {key: each if each.itemsize > 1 else each.float() for key, each in weights.items()}
    broken = [key for key, each in wide.items() if not bool(torch.isfinite(each).all())]
    if broken:
        found = f"{len(broken)} of {len(weights)} tensors hold NaN or infinity: {', '.join(broken[:8])}"
        raise CheckpointError(where, found, "take a checkpoint from before the training diverged")


def load_weights_(model: nn.Module, weights: Mapping[str, Tensor], where: str) -> None:
    """Put `weights` into `model`; `where` (the file, say) stands in the error's first place.

    Every key must be there with its shape; num_batches_tracked may be missing. Raises CheckpointError
    with what differs, key by key, and leaves the model as it was.
    """
    difference = compare(model.state_dict(), weights)
    if difference:
        raise CheckpointError(
            where,
            f"the weights do not fit this architecture:\n{difference}",
            f"the nearest known architecture is {nearest(weights).described}; name the right one with --arch",
        )
    model.load_state_dict(dict(weights), strict=False)


def save_weights(path: Path, weights: nn.Module | Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write weights and metadata to a .safetensors file, whole or not at all; same values, same bytes.

    Every key gets its own copy of its numbers: tensors that share memory are written once for each key. The file
    holds a checksum of all else in it, by which `read_weights` sees that it is damaged.
    """
    state = weights.state_dict() if isinstance(weights, nn.Module) else weights
    own = {
        key: each.detach().to("cpu", copy=True, memory_format=torch.contiguous_format) for key, each in state.items()
    }
    content = sealed(save(own, dict(metadata)))
    with whole(path) as part:
        part.write_bytes(content)


def read_metadata(path: Path) -> dict[str, str]:
    """The metadata of a .safetensors file, without the checksum of its numbers; empty where it has none.

    Raises CheckpointError for a file that is missing, damaged or not of this kind.
    """
    _check_is_file(path)
    try:
        with safe_open(path, framework="pt") as file:
            return {key: text for key, text in (file.metadata() or {}).items() if key != CHECKSUM}
    except SafetensorError as error:
        found = f"is cut short, damaged or no safetensors file: {error}"
        raise CheckpointError(str(path), found, _COPY_AGAIN) from error
