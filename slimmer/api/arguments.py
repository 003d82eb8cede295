"""Checks of the arguments of public calls."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from slimmer import data as data_sets
from slimmer.data import Data
from slimmer.data.user_data import from_value
from slimmer.models.accept_model import accept
from slimmer.recipe import SHORT, Recipe, find_recipe, read_recipe


def accepted(model: nn.Module | None) -> nn.Module | None:
    """The module, checked; None if there is none."""
    if model is None:
        return None
    return accept(model)


def made_data(data: Data | Sequence[Any]) -> Data:
    """The data set, checked. Raises DataError."""
    made = data
    if not isinstance(made, Data):
        made = from_value("data", made)
    data_sets.check(made)
    return made


def place_or_data(data: Data | Sequence[Any] | str | Path | None) -> Data | str | None:
    """A name or path as text; a data set checked. Raises DataError."""
    if isinstance(data, str | Path):
        return str(data)
    if data is None:
        return None
    return made_data(data)


def module_or_file(
    model: nn.Module | str | Path,
) -> tuple[nn.Module | None, list[tuple[str, Any]]]:
    """The user's module if one is given, else the recipe's setting of the checkpoint."""
    if isinstance(model, str | Path):
        return None, [("model.checkpoint", str(model))]
    return accept(model), []


def path_or_none(path: str | Path | None) -> Path | None:
    """The argument as a path."""
    if path is None:
        return None
    return Path(path)


def recipe_of(recipe: str | Path | None, given: Sequence[tuple[str, Any]]) -> Recipe:
    """The recipe in a file or of that name, with the given settings. Raises RecipeError."""
    file = find_recipe(str(recipe), "recipe") if recipe is not None else None
    return read_recipe(file, given)


def recipe_settings(settings: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """The recipe keys and values of keyword arguments; a value of None is left out."""
    pairs = []
    for name, value in settings.items():
        key = SHORT.get(name, name)
        if isinstance(value, Path):
            pairs.append((key, str(value)))
        elif value is not None:
            pairs.append((key, value))
    return pairs
