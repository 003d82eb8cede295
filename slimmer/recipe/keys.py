"""Settings of a recipe by their dotted keys: laid flat, named in short, and what tells several
recipes apart.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import PurePath
from typing import Any

from slimmer.recipe.method_entries import built_in
from slimmer.recipe.recipe import Recipe


def flat(section: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Every value of a mapping of mappings by its dotted key.

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
    """A dotted key without its section where no other section of a recipe has a key of that name.

    It depends on nothing but the key, so that names which are made of it stay as they are.

    >>> short_key("budget.flops"), short_key("method.name"), short_key("finetune.warmup")
    ('flops', 'method', 'finetune.warmup')
    """
    section, _, last = key.rpartition(".")
    if last == "name":
        return section
    return last if _sections_with()[last] <= 1 else key


def text(value: Any) -> str:
    """A value in few characters: of a path its last part, of a list its entries with dashes between
    them.

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
    """Settings in one line, mappings laid flat.

    >>> label({"method": {"name": "maskconvnet", "lambda_m": [3]}, "budget.flops": 0.5})
    'method=maskconvnet,lambda_m=3,flops=0.5'
    """
    return ",".join(f"{short_key(key)}={text(value)}" for key, value in flat(settings).items())


def differing(recipes: Iterable[Mapping[str, Any]]) -> list[str]:
    """The keys on which flat recipes do not all agree, in their order.

    >>> differing([{"seed": 0, "device": "cpu"}, {"seed": 1, "device": "cpu"}])
    ['seed']
    """
    recipes = list(recipes)
    keys = dict.fromkeys(key for recipe in recipes for key in recipe)
    return [
        key for key in keys if any(recipe.get(key) != recipes[0].get(key) for recipe in recipes)
    ]


@cache
def _sections_with() -> Counter[str]:
    """How many sections of a recipe have a key of each name; the method's is one section, of
    several kinds.

    Other packages' methods don't count: names of runs would change with what is installed.
    """
    found: Counter[str] = Counter()
    for name, field in Recipe.model_fields.items():
        if name != "method":
            found.update(list(getattr(field.annotation, "model_fields", ())))
    found.update({key for entry in built_in() for key in entry.options.model_fields})
    return found
