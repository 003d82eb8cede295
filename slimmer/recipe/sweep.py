"""Sweep files: a recipe, and a grid or a list of settings to vary. Expands them to recipes."""

import re
from collections.abc import Mapping, Sequence
from copy import deepcopy
from itertools import product
from math import prod
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import Field, ValidationError

from slimmer.errors import RecipeError, first_few, number
from slimmer.recipe.keys import flat, label
from slimmer.recipe.recipe import Recipe, read_recipe, read_yaml
from slimmer.recipe.sections import Section
from slimmer.registry import hint

__all__ = ["Settings", "SweepFile", "number", "plan_rows", "read_sweep"]

VERSION: Final = 1
LONGEST: Final = 150  # characters of a row's name; file systems allow 255
MOST_ROWS: Final = 10_000
NAMED: Final = 3  # rows listed per error

Settings = Sequence[tuple[str, Any]]


class SweepFile(Section):
    """A sweep file: a recipe, and the settings of its rows.

    A key of a setting is a dotted key of a recipe; a section, whose value is a mapping that
    replaces the section; or `recipe`, whose value is the recipe to start from. Paths of recipes are
    relative to the sweep file.
    """

    version: Literal[1] = Field(VERSION, description="version of the format")
    recipe: str | None = Field(
        None, description="the recipe that all rows start from; the default recipe if left out"
    )
    grid: dict[str, list[Any]] = Field({}, description="values per key; every combination is a row")
    rows: list[dict[str, Any]] = Field(
        [], description="settings of single rows, each combined with the whole grid"
    )


def plan_rows(path: Path, given: Settings = ()) -> dict[str, Recipe]:
    """The recipes of the rows of a sweep file by the rows' names; the last key varies fastest.

    The name of a row consists of its settings, is a valid directory name, and does not change when
    values are added to the sweep. `given` settings apply to all rows.

    Raises RecipeError with all errors at once.
    """
    found = read_sweep(path)
    _check_number(path, found)
    _check_keys(path, found, given)
    overrides = _overrides(found)
    recipes: dict[str, Recipe] = {}
    errors: dict[str, list[str]] = {}  # message -> rows
    for settings in overrides:
        named = _row_name(settings)
        try:
            recipe = _resolve(path, {"recipe": found.recipe, **settings}, given)
        except RecipeError as error:
            for line in _messages(error):
                errors.setdefault(line, []).append(named)
            continue
        for other, each in recipes.items():
            if each == recipe:
                errors.setdefault(f"the same recipe as row {other}", []).append(named)
                break
        recipes[_directory(named, recipe, recipes)] = recipe
        for line in _missing(recipe):
            errors.setdefault(line, []).append(named)
    if errors:
        lines = [f"{line} ({_whose(names, len(overrides))})" for line, names in errors.items()]
        count = number(len(lines), "error")
        raise RecipeError(str(path), f"{count} in its rows", "\n  ".join(lines))
    return recipes


def _overrides(found: SweepFile) -> list[dict[str, Any]]:
    """The settings of every row: each of `rows` with each combination of `grid`."""
    combinations = [
        dict(zip(found.grid, values, strict=True)) for values in product(*found.grid.values())
    ]
    overrides = []
    for row in found.rows or [{}]:
        overrides += [{**row, **combination} for combination in combinations]
    return overrides


def _row_name(settings: Mapping[str, Any]) -> str:
    """The settings of a row in one line; of a recipe file, only its name."""
    shown = dict(settings)
    if "recipe" in shown:
        shown["recipe"] = Path(str(shown["recipe"])).stem
    return label(shown)


def _messages(error: RecipeError) -> list[str]:
    """The separate messages of an error, which may be a list of errors of a recipe."""
    if "in the recipe" in error.found:
        return [line.strip() for line in error.right.splitlines()]
    return [f"{error.where}: {error.found}"]


def read_sweep(path: Path) -> SweepFile:
    """The sweep file at `path`. Raises RecipeError with all errors, also if it has no rows."""
    data = read_yaml(path)
    try:
        found = SweepFile.model_validate(data)
    except ValidationError as error:
        lines = []
        for entry in error.errors():
            where = str(entry["loc"][0])
            message = entry["msg"]
            if entry["type"] == "extra_forbidden":
                message = f"is not known; {hint(where, SweepFile.model_fields)}"
            lines.append(f"{where}: {message}")
        count = number(len(lines), "error")
        raise RecipeError(str(path), f"{count} in the sweep file", "\n  ".join(lines)) from error
    empty = [key for key, values in found.grid.items() if not values]
    if empty or not (found.grid or found.rows):
        what = "neither grid nor rows"
        if empty:
            what = f"grid: {empty[0]} has no values"
        raise RecipeError(
            str(path),
            f"the sweep has no rows: {what}",
            "list values under grid, or settings under rows",
        )
    return found


def _check_number(path: Path, found: SweepFile) -> None:
    """Raise RecipeError if there are too many rows; called before any row is built."""
    rows = prod(map(len, found.grid.values())) * max(1, len(found.rows))
    if rows > MOST_ROWS:
        right = (
            f"a sweep can have {MOST_ROWS:,} rows: remove values, or split it into several sweeps"
        )
        raise RecipeError(str(path), f"the sweep has {rows:,} rows", right)


def _check_keys(path: Path, found: SweepFile, given: Settings) -> None:
    """Raise RecipeError if a key is set twice."""
    in_grid: dict[str, Any] = {}
    for name, values in found.grid.items():
        for value in values:
            in_grid |= flat({name: value})
    in_rows: dict[str, Any] = {}
    for row in found.rows:
        in_rows |= flat(row)
    twice = [f"{key}: in grid and in rows" for key in in_grid if key in in_rows]
    for key, _ in given:
        if key in in_grid or key in in_rows:
            twice.append(f"{key}: on the command line and in the sweep file")
    if twice:
        lines = "\n  ".join(["set each key only once:", *twice])
        raise RecipeError(str(path), "a key is set twice", lines)


def _resolve(path: Path, settings: Mapping[str, Any], given: Settings) -> Recipe:
    """The recipe of one row. Sections are set first, so that single keys override them. Raises
    RecipeError.
    """
    base = None
    if settings["recipe"] is not None:
        base = path.parent / str(settings["recipe"])
    pairs = []
    for key, value in [*settings.items(), *given]:
        if key != "recipe":
            pairs.append((key, deepcopy(value)))
    return read_recipe(base, sorted(pairs, key=lambda pair: pair[0].count(".")))


def _missing(recipe: Recipe) -> list[str]:
    """What is missing in a recipe, as far as this is known without loading a network."""
    checkpoint = recipe.model.checkpoint
    found = []
    if not recipe.method.own_cut() and not recipe.budget.amounts():
        found.append("budget: no budget given")
    if checkpoint is None and not recipe.model.scratch:
        found.append("model.checkpoint: no checkpoint given")
    elif checkpoint is not None and not Path(checkpoint).is_file():
        found.append(f"model.checkpoint: {checkpoint} is not a file")
    return found


def _directory(named: str, recipe: Recipe, taken: Mapping[str, Recipe]) -> str:
    """The directory of a row: its name without special characters. The hash of the recipe is added
    if the name is too long or taken.
    """
    safe = re.sub(r"[^\w.=,+%-]+", "-", named).lstrip(".-")
    if safe in taken or len(safe) > LONGEST:
        return f"{safe[:LONGEST]}-{recipe.hash()[:8]}"
    return safe or f"row-{recipe.hash()[:8]}"


def _whose(names: Sequence[str], total: int) -> str:
    """The rows that have an error, in few words."""
    if len(names) == total > 1:
        return f"all {total} rows"
    return first_few([name or "the row without settings" for name in names], NAMED, "; ")
