"""The weights of a checkpoint in any of the known formats."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from slimmer.errors import CheckpointError
from slimmer.models.checkpoint.archive import COPY_AGAIN, SAVE_AGAIN
from slimmer.models.checkpoint.entries import Entry, choose, kind_of, shown
from slimmer.models.checkpoint.stored import file_of, read_value
from slimmer.models.prefixes import is_average

LONGEST_KEY: Final = 1000
_SHARED = 4  # tensors that may share the same numbers in a file, as tied weights do
_MOST_DIMENSIONS = 64  # the most that PyTorch computes with
_SMALL = 1 << 20  # bytes that tensors may always have, whatever the size of the file


@dataclass(frozen=True, eq=False)
class Held:
    """The weights of a checkpoint, by key, on the CPU; where they were found, and what was
    skipped.
    """

    weights: dict[str, Tensor]
    entry: str
    passed: tuple[str, ...]


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint, by key, on the CPU. Raises the same errors as `read_entry`."""
    return read_entry(path).weights


def read_entry(path: Path, wanted: str | None = None) -> Held:
    """The weights of a checkpoint.

    It is a file of torch.save or .safetensors, an index of shards, or a directory of the Hugging
    Face hub. The weights are a dict or a list of pairs, at the top or in other dicts. If there are
    several, `wanted` chooses one, by its keys joined by dots, and may continue with the first part
    of the weights' own names. Plain objects next to them are skipped. Raises CheckpointError for a
    file that is missing, damaged or not a checkpoint, and for one with objects that have code of
    their own (they are never created), with several sets of weights, or with numbers that are not
    finite.
    """
    path = file_of(path)
    where = str(path)
    value, size = read_value(path)
    chosen, prefix, others = choose(where, value, wanted)
    tensors = chosen.tensors
    _check_tensors(where, tensors)
    _check_sizes(where, tensors, size)
    weights = {}
    for key, tensor in tensors.items():
        if key.startswith(prefix):
            weights[key.removeprefix(prefix)] = tensor.detach()
    check_finite(where, weights)
    entry = f"{chosen.place}.{prefix[:-1]}" if prefix else chosen.place
    return Held(weights, entry, _passed(value, chosen, others))


def _passed(value: Any, chosen: Entry, others: list[Entry]) -> tuple[str, ...]:
    """The skipped content: averages of the weights with the option that chooses them, then the rest
    by name and type.
    """
    found = []
    for other in others:
        if is_average(other.place):
            place = shown(other.place)
            found.append(f"{place} (--set model.entry={place})")
    for key, each in chosen.held.items():
        if not isinstance(each, Tensor):
            found.append(f"{shown(key)} ({kind_of(each)})")
    if isinstance(value, Mapping) and chosen.place:
        known = {chosen.place.partition(".")[0], *(other.place for other in others)}
        for key, each in value.items():
            if key not in known:
                found.append(f"{shown(key)} ({kind_of(each)})")
    return tuple(found)


def _check_tensors(where: str, tensors: Mapping[str, Tensor]) -> None:
    for key in tensors:
        if len(key) > LONGEST_KEY:
            found = f"has a key of {len(key):,} characters, {shown(key)}"
            raise CheckpointError(where, found, SAVE_AGAIN)
    others = [key for key, each in tensors.items() if not _is_plain(each)]
    if others:
        listed = ", ".join(f"{shown(key)} ({_layout(tensors[key])})" for key in others[:8])
        found = f"{len(others)} of {len(tensors)} tensors are not plain tensors: {listed}"
        raise CheckpointError(where, found, SAVE_AGAIN)


def _is_plain(tensor: Tensor) -> bool:
    if type(tensor) not in (Tensor, torch.nn.Parameter, torch.nn.Buffer) or tensor.is_nested:
        return False
    if tensor.ndim > _MOST_DIMENSIONS:
        return False
    return tensor.layout is torch.strided and not (tensor.is_meta or tensor.is_quantized)


def _layout(tensor: Tensor) -> str:
    """The reason why a tensor is not a plain one."""
    if type(tensor) not in (Tensor, torch.nn.Parameter, torch.nn.Buffer):
        return type(tensor).__name__
    if tensor.is_meta:
        return "without numbers"
    if tensor.ndim > _MOST_DIMENSIONS:
        return f"{tensor.ndim} dimensions"
    if tensor.is_nested:
        return "nested"
    if tensor.is_quantized:
        return "quantized"
    return str(tensor.layout).removeprefix("torch.")


def _check_sizes(where: str, tensors: Mapping[str, Tensor], size: int) -> None:
    """Raise CheckpointError if the tensors are larger than the file allows, before any is read."""
    storages = [each.untyped_storage() for each in tensors.values()]
    by_place = {each.data_ptr(): each.nbytes() for each in storages}
    stored = sum(by_place.values())
    claimed = sum(each.numel() * each.itemsize for each in tensors.values())
    if stored > size + _SMALL or claimed > _SHARED * size + _SMALL:
        largest = max(tensors, key=lambda key: tensors[key].numel())
        found = (
            f"its tensors claim {max(claimed, stored):,} bytes, but the file has {size:,}; "
            f"the largest is {shown(largest)} {list(tensors[largest].shape)}"
        )
        right = f"{COPY_AGAIN}; save expanded tensors as {{key: t.clone()}}"
        raise CheckpointError(where, found, right)


def check_finite(where: str, weights: Mapping[str, Tensor]) -> None:
    """Raise CheckpointError if a tensor holds NaN or infinity."""
    broken = [key for key, each in weights.items() if not _is_finite(each)]
    if broken:
        listed = ", ".join(map(shown, broken[:8]))
        found = f"{len(broken)} of {len(weights)} tensors contain NaN or infinity: {listed}"
        raise CheckpointError(where, found, "use a checkpoint from before the training diverged")


def _is_finite(tensor: Tensor) -> bool:
    wide = tensor if tensor.itemsize > 1 else tensor.float()  # isfinite rejects floats of one byte
    return bool(torch.isfinite(wide).all())
