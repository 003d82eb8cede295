"""Which of a checkpoint's dicts holds the weights."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from torch import Tensor

from slimmer.errors import CheckpointError
from slimmer.models.checkpoint.archive import SAVE_AGAIN
from slimmer.models.checkpoint.plain import Plain
from slimmer.models.prefixes import is_average

_DEPTH = 3  # no honest file nests its weights deeper
_MOST = 10_000  # dicts that are looked at
# What a training script keeps to go on with, by how its name begins; it holds tensors too, and none
# are weights.
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
    """A dict in a checkpoint that holds tensors: its place, keys joined by dots, and what it holds."""

    place: str
    held: Mapping[str, Any]

    @property
    def tensors(self) -> dict[str, Tensor]:
        """Its tensors, by key."""
        return {
            key: each
            for key, each in self.held.items()
            if isinstance(key, str) and isinstance(each, Tensor)
        }

    @property
    def described(self) -> str:
        """Its place and how many tensors it holds."""
        return f"{shown(self.place) or 'the top'} ({len(self.tensors)} tensors)"


def choose(where: str, value: Any, wanted: str | None = None) -> tuple[Entry, str, list[Entry]]:
    """The dict that holds the weights, the prefix of keys that `wanted` names in it, and the others
    that could be it.

    Without `wanted` it is the only one, averages left aside. Raises CheckpointError where there is
    none, where there are several, or where `wanted` is none of them.
    """
    value = _of_pairs(value)
    if not isinstance(value, Mapping):
        raise CheckpointError(where, f"holds a {kind_of(value)}, not a dict of tensors", SAVE_AGAIN)
    entries = list(_entries(value))
    found = [
        entry for entry in entries if any(_is_kernel(each) for each in entry.tensors.values())
    ] or entries
    if not found:
        held = (
            ", ".join(f"{shown(key)} ({kind_of(each)})" for key, each in list(value.items())[:8])
            or "nothing"
        )
        raise CheckpointError(where, f"holds no tensors, but {held}", SAVE_AGAIN)
    if wanted is not None:
        chosen, prefix = _named(where, entries, found, wanted)
    else:
        chosen, prefix = _only(where, found), ""
    return chosen, prefix, [entry for entry in found if entry is not chosen]


def _only(where: str, found: list[Entry]) -> Entry:
    current = [entry for entry in found if not is_average(entry.place)] or found
    if len(current) > 1:
        listed = ", ".join(entry.described for entry in current[:8])
        more = f", and {len(current) - 8} more" if len(current) > 8 else ""
        raise CheckpointError(
            where,
            f"holds {len(current)} sets of weights: {listed}{more}",
            name_one(shown(current[0].place)),
        )
    return current[0]


def name_one(example: str) -> str:
    """How to say which weights of a file are meant."""
    return f"say which: `slimmer prune … --set model.entry={example}`, `slimmer inspect … --entry {example}`"


def _named(where: str, entries: list[Entry], found: list[Entry], wanted: str) -> tuple[Entry, str]:
    """The entry at the place that is wanted; or one around it, and the prefix that is left of it."""
    around = [entry for entry in entries if wanted == entry.place]
    around += [entry for entry in entries if _within(entry, f"{wanted}.")]
    if not around:
        listed = ", ".join(entry.described for entry in found[:8])
        raise CheckpointError(
            where,
            f"has no weights under {shown(wanted)!r}, but {listed}",
            name_one(shown(found[0].place)),
        )
    chosen = around[0]
    return chosen, "" if wanted == chosen.place else _rest(chosen, f"{wanted}.")


def _within(entry: Entry, prefix: str) -> bool:
    rest = _rest(entry, prefix)
    return bool(rest) and any(key.startswith(rest) for key in entry.tensors)


def _rest(entry: Entry, prefix: str) -> str:
    return prefix.removeprefix(f"{entry.place}." if entry.place else "")


def _entries(value: Mapping[Any, Any]) -> Iterator[Entry]:
    """The dicts in `value`, itself included, that hold tensors under names; each once."""
    level: list[tuple[str, Mapping[Any, Any]]] = [("", value)]
    seen = {id(value)}
    for depth in range(_DEPTH + 1):
        inner = []
        for place, held in level:
            if any(isinstance(key, str) and isinstance(each, Tensor) for key, each in held.items()):
                yield Entry(place, held)
            for key, found in held.items() if depth < _DEPTH else ():
                each = _of_pairs(found)
                if _may_hold(key, each) and id(found) not in seen and len(seen) < _MOST:
                    seen.add(id(found))
                    inner.append((f"{place}.{key}" if place else key, each))
        level = inner


def _may_hold(key: Any, value: Any) -> bool:
    return (
        isinstance(key, str)
        and isinstance(value, Mapping)
        and not key.lower().startswith(_TRAINING)
    )


def _of_pairs(value: Any) -> Any:
    """A list of (name, tensor) pairs as the dict that it stands for; anything else as it is."""
    if not isinstance(value, list | tuple) or not value:
        return value
    pairs = all(
        isinstance(each, list | tuple) and len(each) == 2 and isinstance(each[0], str)
        for each in value
    )
    return dict(value) if pairs else value


def _is_kernel(tensor: Tensor) -> bool:
    return tensor.is_floating_point() and tensor.ndim >= 2


def kind_of(value: object) -> str:
    """The name of a value's type; of a stand-in, what it stands for."""
    return "plain object" if isinstance(value, Plain) else type(value).__name__


def shown(name: object) -> str:
    """A key as a message has it.

    >>> shown("a" * 200)[-4:]
    'aaa…'
    """
    text = str(name) if isinstance(name, str | int | float) else type(name).__name__
    return text if len(text) <= 100 else f"{text[:100]}…"
