"""The weights of a checkpoint, whichever way it is wrapped."""

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
_SHARED = 4  # tied weights have their numbers once in a file; nobody ties more
_MOST_DIMENSIONS = 64  # that PyTorch computes with
_SMALL = 1 << 20  # bytes, which may be made of nothing


@dataclass(frozen=True, eq=False)
class Held:
    """The weights that a checkpoint holds, by key, on the CPU; and what beside them was passed
    over.
    """

    weights: dict[str, Tensor]
    entry: str
    passed: tuple[str, ...]


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors that a checkpoint holds, by key, on the CPU. Raises as `read_entry` does."""
    return read_entry(path).weights


def read_entry(path: Path, wanted: str | None = None) -> Held:
    """The weights that a checkpoint holds.

    It is a file of torch.save or .safetensors, an index of shards, or a directory of the Hugging
    Face hub. The weights are a dict or a list of pairs, at the top or in other dicts; where there
    are several, `wanted` says which, by its keys joined by dots, and may go on with the first part
    of the weights' own names. Plain objects beside them are passed over. Raises CheckpointError for
    a file that is missing, damaged, no checkpoint, holds objects with code of their own (they are
    not made), several sets of weights, or numbers that are not finite.
    """
    path = file_of(path)
    where = str(path)
    value, size = read_value(path)
    chosen, prefix, others = choose(where, value, wanted)
    tensors = chosen.tensors
    _check_tensors(where, tensors)
    _check_sizes(where, tensors, size)
    weights = {
        key.removeprefix(prefix): each.detach()
        for key, each in tensors.items()
        if key.startswith(prefix)
    }
    check_finite(where, weights)
    return Held(
        weights,
        chosen.place + (f".{prefix[:-1]}" if prefix else ""),
        _passed(value, chosen, others),
    )


def _passed(value: Any, chosen: Entry, others: list[Entry]) -> tuple[str, ...]:
    """What lies beside the weights: averages of them by how to take them, then the rest by name and
    type.
    """
    averages = [
        f"{shown(each.place)} (--set model.entry={shown(each.place)})"
        for each in others
        if is_average(each.place)
    ]
    beside = [(key, each) for key, each in chosen.held.items() if not isinstance(each, Tensor)]
    top = chosen.place.partition(".")[0]
    around = list(value.items()) if isinstance(value, Mapping) and chosen.place else []
    named = {each.place for each in others}
    beside += [(key, each) for key, each in around if key != top and key not in named]
    return (*averages, *(f"{shown(key)} ({kind_of(each)})" for key, each in beside))


def _check_tensors(where: str, tensors: Mapping[str, Tensor]) -> None:
    long = next((key for key in tensors if len(key) > LONGEST_KEY), None)
    if long is not None:
        raise CheckpointError(
            where, f"has a key of {len(long):,} characters, {shown(long)}", SAVE_AGAIN
        )
    others = [
        f"{shown(key)} ({_layout(each)})" for key, each in tensors.items() if not _is_plain(each)
    ]
    if others:
        found = (
            f"{len(others)} of {len(tensors)} tensors are no plain tensors: {', '.join(others[:8])}"
        )
        raise CheckpointError(where, found, SAVE_AGAIN)


def _is_plain(tensor: Tensor) -> bool:
    if type(tensor) not in (Tensor, torch.nn.Parameter, torch.nn.Buffer) or tensor.is_nested:
        return False
    if tensor.ndim > _MOST_DIMENSIONS:
        return False
    return tensor.layout is torch.strided and not (tensor.is_meta or tensor.is_quantized)


def _layout(tensor: Tensor) -> str:
    """What keeps a tensor from being a plain one."""
    if type(tensor) not in (Tensor, torch.nn.Parameter, torch.nn.Buffer):
        return type(tensor).__name__
    if tensor.is_meta:
        return "without numbers"
    if tensor.ndim > _MOST_DIMENSIONS:
        return f"{tensor.ndim} dimensions"
    kinds = {"nested": tensor.is_nested, "quantized": tensor.is_quantized}
    return next(
        (kind for kind, holds in kinds.items() if holds), str(tensor.layout).removeprefix("torch.")
    )


def _check_sizes(where: str, tensors: Mapping[str, Tensor], size: int) -> None:
    """Raise where the tensors are larger than the file's numbers could make them, before any is
    looked at.
    """
    stored = {
        each.untyped_storage().data_ptr(): each.untyped_storage().nbytes()
        for each in tensors.values()
    }
    claimed = sum(each.numel() * each.itemsize for each in tensors.values())
    if sum(stored.values()) > size + _SMALL or claimed > _SHARED * size + _SMALL:
        largest = max(tensors, key=lambda key: tensors[key].numel())
        found = f"its tensors claim {max(claimed, sum(stored.values())):,} bytes, and the file has {size:,}; the "
        found += f"largest is {shown(largest)} {list(tensors[largest].shape)}"
        raise CheckpointError(
            where, found, f"{COPY_AGAIN}; expanded tensors are saved as {{key: t.clone()}}"
        )


def check_finite(where: str, weights: Mapping[str, Tensor]) -> None:
    """Raise CheckpointError if a tensor holds NaN or infinity."""
    # One byte floats know no isfinite of their own.
    wide = {key: each if each.itemsize > 1 else each.float() for key, each in weights.items()}
    broken = [key for key, each in wide.items() if not bool(torch.isfinite(each).all())]
    if broken:
        found = f"{len(broken)} of {len(weights)} tensors hold NaN or infinity: {', '.join(map(shown, broken[:8]))}"
        raise CheckpointError(where, found, "take a checkpoint from before the training diverged")
