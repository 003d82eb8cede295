"""A registry: name -> value, no duplicates, near names in the error."""

from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from typing import TypeVar

from slimmer.errors import SlimmerError

T = TypeVar("T")


def hint(name: str, known: Iterable[str]) -> str:
    """What would be right in place of `name`: the nearest known name, or all of them.

    >>> hint("cifar_resnet21", ["cifar_resnet20", "vgg"])
    "did you mean 'cifar_resnet20'? known: cifar_resnet20, vgg"
    >>> hint("x", ["a"])
    'known: a'
    """
    known = sorted(known)
    near = get_close_matches(name, known, n=1)
    listed = "known: " + ", ".join(known)
    return f"did you mean {near[0]!r}? {listed}" if near else listed


class Registry(Mapping[str, T]):
    """Names and what they stand for; `error` is raised for a name that is not known."""

    def __init__(self, what: str, error: type[SlimmerError]) -> None:
        self._what = what
        self._error = error
        self._entries: dict[str, T] = {}

    def add(self, name: str, value: T) -> T:
        """Enter `value` under `name`; a name taken twice is a programming error."""
        if name in self._entries:
            raise ValueError(f"{self._what} {name!r} is registered twice")
        self._entries[name] = value
        return value

    def __getitem__(self, name: str) -> T:
        if name not in self._entries:
            raise self._error(self._what, f"{name!r} is not known", hint(name, self._entries))
        return self._entries[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, name: object) -> bool:
        return name in self._entries
