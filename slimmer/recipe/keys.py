"""Recipes as flat mappings of dotted keys: short names, labels, and differences."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import PurePath
from typing import Any

from slimmer.recipe.method_entries import built_in
from slimmer.recipe.recipe import Recipe


def flat(section: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A nested mapping as a flat one, with dotted keys.

    >>> flat({"seed": 1, "method": {"name": "taylor", "batches": 8}})
    {'seed': 1, 'method.name': 'taylor', 'method.batches': 8}
    """
    found: dict[str, Any] = {}
    for key, value in section.items():
        if isinstance(value, Mapping) and value:
            found |= flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found


def short_key(key: str) -> str:
    """A dotted key without its section, if no other section has a key of that name.

    The result depends only on the key, so that names of runs are stable.

    >>> short_key("budget.flops"), short_key("method.name"), short_key("finetune.warmup")
    ('flops', 'method', 'finetune.warmup')
    """
    section, _, last = key.rpartition(".")
    if last == "name":
        return section
    return last if _sections_with()[last] <= 1 else key


def text(value: Any) -> str:
    """A value in few characters: a path as its last part, a list as its entries joined by dashes.

    >>> text([1, 2.0]), text("weights/resnet20.th"), text(5e-4), text(None)
    ('1-2', 'resnet20.th', '0.0005', 'none')
    """
    if value is None or isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "-".join(map(text, value))
    return PurePath(str(value)).name or str(value)


def label(settings: Mapping[str, Any]) -> str:
    """Settings in one line, as key=value with flat keys.

    >>> label({"method": {"name": "maskconvnet", "lambda_m": [3]}, "budget.flops": 0.5})
    'method=maskconvnet,lambda_m=3,flops=0.5'
    """
    return ",".join(f"{short_key(key)}={text(value)}" for key, value in flat(settings).items())


def differing(recipes: Iterable[Mapping[str, Any]]) -> list[str]:
    """The keys in which flat recipes differ, in their order.

    >>> differing([{"seed": 0, "device": "cpu"}, {"seed": 1, "device": "cpu"}])
    ['seed']
    """
    recipes = list(recipes)
    keys: dict[str, None] = {}
    for recipe in recipes:
        keys |= dict.fromkeys(recipe)
    found = []
    for key in keys:
        values = [recipe.get(key) for recipe in recipes]
        if any(value != values[0] for value in values):
            found.append(key)
    return found


@cache
def _sections_with() -> Counter[str]:
    """The number of sections that have a key of each name. The method section counts once.

    Methods of other packages are left out: names of runs must not depend on what is installed.
    """
    found: Counter[str] = Counter()
    for name, field in Recipe.model_fields.items():
        if name != "method":
            found.update(list(getattr(field.annotation, "model_fields", ())))
    of_methods: set[str] = set()
    for entry in built_in():
        of_methods |= set(entry.options.model_fields)
    found.update(of_methods)
    return found
