"""What a sweep file says: a grid and a list of settings over a recipe, and the recipes that they
make.
"""

import re
from collections.abc import Mapping, Sequence
from copy import deepcopy
from itertools import product
from math import prod
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import Field, ValidationError

from slimmer.errors import RecipeError
from slimmer.recipe.keys import flat, label
from slimmer.recipe.recipe import Recipe, read_recipe, read_yaml
from slimmer.recipe.sections import Section
from slimmer.registry import hint

VERSION: Final = 1
LONGEST: Final = 150  # characters of a row's name; file systems take 255
MOST_ROWS: Final = 10_000
NAMED: Final = 3  # rows that are named for one mistake

Settings = Sequence[tuple[str, Any]]


class SweepFile(Section):
    """What a sweep file says: a recipe, and what its rows set in it.

    A key is one of a recipe's in dots, a whole section (its value a mapping, which replaces the
    section), or `recipe`, whose values are recipes to start from. Paths of recipes are relative to
    the sweep file.
    """

    version: Literal[1] = Field(VERSION, description="of this format")
    recipe: str | None = Field(
        None, description="the recipe that all rows start from; its defaults where left out"
    )
    grid: dict[str, list[Any]] = Field(
        {}, description="values of each key; every combination is a row"
    )
    rows: list[dict[str, Any]] = Field(
        [], description="settings of single rows, each combined with the whole grid"
    )


def plan_rows(path: Path, given: Settings = ()) -> dict[str, Recipe]:
    """The recipes of the sweep file in `path` by their rows' names, the grid's last key changing
    fastest.

    A name is made of what the row sets, fits a directory, and stays when values are added to the
    sweep. `given` settings are laid over the recipe of every row.

    Raises RecipeError with all that is wrong at once.
    """
    found = read_sweep(path)
    _check_number(path, found)
    _check_keys(path, found, given)
    combinations = [
        dict(zip(found.grid, values, strict=True)) for values in product(*found.grid.values())
    ]
    overrides = [{**row, **cell} for row in found.rows or [{}] for cell in combinations]
    recipes: dict[str, Recipe] = {}
    mistakes: dict[str, list[str]] = {}
    for settings in overrides:
        named = label(
            {
                key: Path(str(value)).stem if key == "recipe" else value
                for key, value in settings.items()
            }
        )
        try:
            recipe = _resolve(path, {"recipe": found.recipe, **settings}, given)
        except RecipeError as error:
            lines = (
                error.right.splitlines()
                if "in the recipe" in error.found
                else [f"{error.where}: {error.found}"]
            )
            for line in lines:
                mistakes.setdefault(line.strip(), []).append(named)
            continue
        name = _directory(named, recipe, recipes)
        twin = next((other for other, each in recipes.items() if each == recipe), None)
        if twin is not None:
            mistakes.setdefault(f"the same recipe as {twin}", []).append(named)
        recipes[name] = recipe
        for line in _lacks(recipe):
            mistakes.setdefault(line, []).append(named)
    if mistakes:
        lines = [f"{line} ({_whose(names, len(overrides))})" for line, names in mistakes.items()]
        raise RecipeError(
            str(path), f"{number(len(lines), 'mistake')} in its rows", "\n  ".join(lines)
        )
    return recipes


def read_sweep(path: Path) -> SweepFile:
    """The sweep file in `path`. Raises RecipeError with everything that is wrong at once, also for
    no rows.
    """
    data = read_yaml(path)
    try:
        found = SweepFile.model_validate(data)
    except ValidationError as error:
        lines = []
        for entry in error.errors():
            where, *_ = (str(part) for part in entry["loc"])
            known = f"is not known; {hint(where, SweepFile.model_fields)}"
            lines.append(
                f"{where}: {known if entry['type'] == 'extra_forbidden' else entry['msg']}"
            )
        found_ = f"{number(len(lines), 'mistake')} in the sweep"
        raise RecipeError(str(path), found_, "\n  ".join(lines)) from error
    empty = [key for key, values in found.grid.items() if not values]
    if empty or not (found.grid or found.rows):
        what = f"grid: {empty[0]} has no values" if empty else "neither grid nor rows"
        raise RecipeError(
            str(path),
            f"a sweep with no rows: {what}",
            "list values under grid, or settings under rows",
        )
    return found


def _check_number(path: Path, found: SweepFile) -> None:
    """Raise RecipeError where there are more rows than anybody runs; counted before any is made."""
    rows = prod(map(len, found.grid.values())) * max(1, len(found.rows))
    if rows > MOST_ROWS:
        right = f"a sweep has {MOST_ROWS:,} rows at most: leave values out, or make several sweeps"
        raise RecipeError(str(path), f"its grid makes {rows:,} rows", right)


def _check_keys(path: Path, found: SweepFile, given: Settings) -> None:
    """Raise RecipeError where a key is set twice."""
    in_grid = dict.fromkeys(
        key
        for name, values in found.grid.items()
        for value in values
        for key in flat({name: value})
    )
    in_rows = {key for row in found.rows for key in flat(row)}
    twice = [f"{key}: in grid and in rows" for key in in_grid if key in in_rows]
    twice += [
        f"{key}: on the command line and in the sweep"
        for key, _ in given
        if key in {*in_grid, *in_rows}
    ]
    if twice:
        raise RecipeError(
            str(path), "a setting is there twice", "\n  ".join(["name it once:", *twice])
        )


def _resolve(path: Path, settings: Mapping[str, Any], given: Settings) -> Recipe:
    """The recipe of one row: whole sections first, so that keys are laid over them. Raises
    RecipeError.
    """
    start = settings["recipe"]
    base = None if start is None else path.parent / str(start)
    laid = [(key, deepcopy(value)) for key, value in [*settings.items(), *given] if key != "recipe"]
    return read_recipe(base, sorted(laid, key=lambda pair: pair[0].count(".")))


def _lacks(recipe: Recipe) -> list[str]:
    """What a row's recipe needs and does not have, as far as that is seen without loading a
    network.
    """
    checkpoint = recipe.model.checkpoint
    found = [] if recipe.method.own_cut() or recipe.budget.amounts() else ["budget: none is named"]
    if checkpoint is None and not recipe.model.scratch:
        found.append("model.checkpoint: none is named")
    elif checkpoint is not None and not Path(checkpoint).is_file():
        found.append(f"model.checkpoint: {checkpoint} is no file")
    return found


def _directory(named: str, recipe: Recipe, taken: Mapping[str, Recipe]) -> str:
    """A row's name as a directory can have it; where it had to be cut or is taken, ended by the
    recipe's hash.
    """
    safe = re.sub(r"[^\w.=,+%-]+", "-", named).lstrip(".-")
    if safe in taken or len(safe) > LONGEST:
        return f"{safe[:LONGEST]}-{recipe.hash()[:8]}"
    return safe or f"row-{recipe.hash()[:8]}"


def _whose(names: Sequence[str], total: int) -> str:
    """The rows that have a mistake, in few words."""
    if len(names) == total > 1:
        return f"all {total} rows"
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return f"{'; '.join(name or 'the row without settings' for name in names[:NAMED])}{more}"


def number(count: int, what: str) -> str:
    """A count in words.

    >>> number(1, "mistake"), number(2, "mistake")
    ('one mistake', '2 mistakes')
    """
    return f"one {what}" if count == 1 else f"{count} {what}s"
