"""Columns of the rows in JSON documents."""

from collections.abc import Iterable, Mapping
from typing import Any


def column(rows: Iterable[Mapping[str, Any]], name: str) -> list[Any]:
    """The value of `name` in each row.

    >>> column([{"seed": 1}, {"seed": 3}], "seed")
    [1, 3]
    """
    return [row[name] for row in rows]


def by_key(rows: Iterable[Mapping[str, Any]], key: str, value: str) -> dict[Any, Any]:
    """The `value` of each row by its `key`; the last row of several with one key counts.

    >>> by_key([{"model": "dense", "ms": 2.5}, {"model": "slim", "ms": 1.0}], "model", "ms")
    {'dense': 2.5, 'slim': 1.0}
    """
    return {row[key]: row[value] for row in rows}
