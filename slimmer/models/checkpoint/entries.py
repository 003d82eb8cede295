"""The choice of the dict that contains the weights, among those in a checkpoint."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from torch import Tensor

from slimmer.errors import CheckpointError, first_few
from slimmer.models.checkpoint.archive import SAVE_AGAIN
from slimmer.models.checkpoint.plain import Plain
from slimmer.models.prefixes import is_average

_DEPTH = 3  # no real file nests its weights deeper
_MOST = 10_000  # dicts that are searched
# How the names of a training script's own state begin; it contains tensors that are not weights.
_TRAINING: Final = (
    "optim",
    "sched",
    "lr_sched",
    "scaler",
    "grad_scaler",
    "callback",
    "loop",
    "rng",
    "amp",
)


@dataclass(frozen=True, eq=False)
class Entry:
    """A dict in a checkpoint that contains tensors; `place` are the keys to it, joined by dots."""

    place: str
    held: Mapping[str, Any]

    @property
    def tensors(self) -> dict[str, Tensor]:
        """Its tensors, by key."""
        return {key: each for key, each in self.held.items() if _is_named_tensor(key, each)}

    @property
    def described(self) -> str:
        """Its place and its number of tensors."""
        return f"{shown(self.place) or 'the top'} ({len(self.tensors)} tensors)"


def _is_named_tensor(key: object, value: object) -> bool:
    return isinstance(key, str) and isinstance(value, Tensor)


def choose(where: str, value: Any, wanted: str | None = None) -> tuple[Entry, str, list[Entry]]:
    """The dict that contains the weights, the prefix of keys in it that `wanted` specifies, and the
    other candidates.

    Without `wanted` there must be only one, apart from averages. Raises CheckpointError if there is
    none, if there are several, or if `wanted` is none of them.
    """
    value = _of_pairs(value)
    if not isinstance(value, Mapping):
        found_kind = f"contains a {kind_of(value)}, not a dict of tensors"
        raise CheckpointError(where, found_kind, SAVE_AGAIN)
    entries = list(_entries(value))
    found = [entry for entry in entries if any(map(_is_kernel, entry.tensors.values()))] or entries
    if not found:
        first = list(value.items())[:8]
        held = ", ".join(f"{shown(key)} ({kind_of(each)})" for key, each in first) or "nothing"
        raise CheckpointError(where, f"contains no tensors, but {held}", SAVE_AGAIN)
    if wanted is not None:
        chosen, prefix = _named(where, entries, found, wanted)
    else:
        chosen, prefix = _only(where, found), ""
    return chosen, prefix, [entry for entry in found if entry is not chosen]


def _only(where: str, found: list[Entry]) -> Entry:
    current = [entry for entry in found if not is_average(entry.place)] or found
    if len(current) > 1:
        listed = first_few([entry.described for entry in current], 8)
        several = f"contains {len(current)} sets of weights: {listed}"
        raise CheckpointError(where, several, name_one(shown(current[0].place)))
    return current[0]


def name_one(example: str) -> str:
    """How to choose one of several sets of weights in a file."""
    return (
        f"choose one: `slimmer prune … --set model.entry={example}`, "
        f"`slimmer inspect … --entry {example}`, `slimmer adopt … --entry {example}`"
    )


def _named(where: str, entries: list[Entry], found: list[Entry], wanted: str) -> tuple[Entry, str]:
    """The entry at the place `wanted`; or an entry around it, and the rest of `wanted` as a
    prefix.
    """
    around = [entry for entry in entries if wanted == entry.place]
    around += [entry for entry in entries if _within(entry, f"{wanted}.")]
    if not around:
        listed = ", ".join(entry.described for entry in found[:8])
        absent = f"has no weights under {shown(wanted)!r}, but {listed}"
        raise CheckpointError(where, absent, name_one(shown(found[0].place)))
    chosen = around[0]
    return chosen, "" if wanted == chosen.place else _rest(chosen, f"{wanted}.")


def _within(entry: Entry, prefix: str) -> bool:
    rest = _rest(entry, prefix)
    return bool(rest) and any(key.startswith(rest) for key in entry.tensors)


def _rest(entry: Entry, prefix: str) -> str:
    return prefix.removeprefix(f"{entry.place}." if entry.place else "")


def _entries(value: Mapping[Any, Any]) -> Iterator[Entry]:
    """The dicts in `value`, including itself, that contain named tensors; each once."""
    level: list[tuple[str, Mapping[Any, Any]]] = [("", value)]
    seen = {id(value)}
    for depth in range(_DEPTH + 1):
        inner = []
        for place, held in level:
            if any(_is_named_tensor(key, each) for key, each in held.items()):
                yield Entry(place, held)
            for key, found in held.items() if depth < _DEPTH else ():
                each = _of_pairs(found)
                if _may_hold(key, each) and id(found) not in seen and len(seen) < _MOST:
                    seen.add(id(found))
                    inner.append((f"{place}.{key}" if place else key, each))
        level = inner


def _may_hold(key: Any, value: Any) -> bool:
    if not isinstance(key, str) or not isinstance(value, Mapping):
        return False
    return not key.lower().startswith(_TRAINING)


def _of_pairs(value: Any) -> Any:
    """A list of (name, tensor) pairs as a dict; any other value unchanged."""
    if not isinstance(value, list | tuple) or not value:
        return value
    return dict(value) if all(map(_is_pair, value)) else value


def _is_pair(value: object) -> bool:
    return isinstance(value, list | tuple) and len(value) == 2 and isinstance(value[0], str)


def _is_kernel(tensor: Tensor) -> bool:
    return tensor.is_floating_point() and tensor.ndim >= 2


def kind_of(value: object) -> str:
    """The name of a value's type; a stand-in is a "plain object"."""
    return "plain object" if isinstance(value, Plain) else type(value).__name__


def shown(name: object) -> str:
    """A key, shortened for a message.

    >>> shown("a" * 200)[-4:]
    'aaa…'
    """
    text = str(name) if isinstance(name, str | int | float) else type(name).__name__
    return text if len(text) <= 100 else f"{text[:100]}…"
