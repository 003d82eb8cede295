"""What to do, as data: strict, frozen, versioned; loads without torch."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BeforeValidator, Field, SerializeAsAny, ValidationError, model_validator

from slimmer.atomic_files import read_text
from slimmer.errors import RecipeError
from slimmer.recipe.budget import OTHERS, BudgetSection
from slimmer.recipe.finetune_section import FinetuneSection
from slimmer.recipe.method_entries import all_entries, find_method, read_options
from slimmer.recipe.methods import MethodOptions, Taylor
from slimmer.recipe.sections import (
    DataSection,
    ExportSection,
    ModelSection,
    ProfileSection,
    Section,
)
from slimmer.recipe.yaml_text import DEEPEST, MOST_BYTES, parse_yaml, shown, to_yaml
from slimmer.registry import hint

VERSION: Final = 1
# Settings that options and Python have under a name of their own; the others go by their key.
SHORT: Final = {
    "arch": "model.arch",
    "checkpoint": "model.checkpoint",
    "epochs": "finetune.epochs",
    "equal_splits": "model.equal_splits",
    "input_size": "model.input_size",
    "keep": "model.keep",
    "only": "model.only",
    "rewrite": "model.rewrite",
    "round_to": "budget.round_to",
    "trace": "model.trace",
}


def data_at(where: str) -> list[tuple[str, Any]]:
    """The settings for data at a path, or FILE.py:FUNC, or "digits", in place of those that a
    recipe names.
    """
    return [("data.name", None), ("data.path", where)]


class Recipe(Section):
    """Everything that a run depends on."""

    version: Literal[1] = Field(VERSION, description="of this format")
    seed: int = Field(0, ge=0, le=2**62, description="of all that is random")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="where to train")
    model: ModelSection = ModelSection()
    data: DataSection = DataSection()
    budget: BudgetSection = BudgetSection()
    method: Annotated[SerializeAsAny[MethodOptions], BeforeValidator(read_options)] = Taylor()
    finetune: FinetuneSection = FinetuneSection()
    export: ExportSection = ExportSection()
    profile: ProfileSection = ProfileSection()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        self.method.check(self.finetune.epochs, len(self.budget.amounts()))
        if self.model.scratch and self.model.checkpoint is not None:
            raise ValueError(
                "model.scratch means random weights, model.checkpoint names others; give one of them"
            )
        if self.model.scratch and self.finetune.distill:
            raise ValueError(
                "model.scratch: random weights are no teacher; set finetune.distill to 0"
            )
        if self.model.rewrite and self.finetune.sync_batch_norm:
            raise ValueError(
                "finetune.sync_batch_norm: a rewritten network's batch norms are operations of its program"
            )
        return self

    def hash(self) -> str:
        """The first 16 hex digits of the SHA-256 of the resolved recipe."""
        return hashlib.sha256(self.to_yaml().encode()).hexdigest()[:16]

    def to_yaml(self) -> str:
        """The resolved recipe: every key, in a fixed order."""
        return to_yaml(json.loads(self.model_dump_json()))


def read_recipe(path: Path | None, settings: Iterable[tuple[str, Any]] = ()) -> Recipe:
    """The recipe of a YAML file (or the defaults) with `settings` ("section.key", value) laid over
    it.

    Raises RecipeError with everything that is wrong at once: unknown keys with the nearest name,
    wrong types.
    """
    data = {} if path is None else read_yaml(path)
    where = "command line" if path is None else str(path)
    for key, value in settings:
        _set(data, key, value)
        where = "command line" if path is None else f"{path} with what was set over it"
    return make_recipe(data, where)


def make_recipe(data: Mapping[str, Any], where: str) -> Recipe:
    """The recipe that `data` describes. Raises RecipeError with everything that is wrong at once."""
    try:
        return Recipe.model_validate(_tuples(data))
    except ValidationError as error:
        entries = error.errors()
        wrong_items = {
            entry["loc"][:-1] for entry in entries
        }  # without which pydantic finds their tuple too short
        told = [
            each
            for each in entries
            if each["type"] != "too_short" or each["loc"] not in wrong_items
        ]
        lines = [_explain(each, data) for each in told]
        count = "one mistake" if len(lines) == 1 else f"{len(lines)} mistakes"
        raise RecipeError(where, f"{count} in the recipe", "\n  ".join(lines)) from error


def parse_setting(text: str) -> tuple[str, Any]:
    """`section.key=value` as its key and its value (read as YAML). Raises RecipeError.

    >>> parse_setting("finetune.lr=0.01")
    ('finetune.lr', 0.01)
    """
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise RecipeError("--set", shown(text), "write section.key=value, such as finetune.lr=0.01")
    try:
        return key.strip(), parse_yaml(value)
    except ValueError as error:
        raise RecipeError(
            f"--set {key}", f"{shown(value)} is no YAML value ({error})", "quote it"
        ) from error


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping that a YAML file holds. Raises RecipeError where it can't be read or holds
    something else.
    """
    try:
        data = parse_yaml(read_text(path, MOST_BYTES))
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(str(path), f"can't be read ({error})", "give a YAML file") from error
    except ValueError as error:
        raise RecipeError(
            str(path), f"is no YAML that slimmer takes: {error}", "mend what is named"
        ) from error
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise RecipeError(
            str(path), f"holds a {type(data).__name__}", "a recipe is a mapping of sections"
        )
    return data


def _set(data: dict[str, Any], key: str, value: Any) -> None:
    *sections, last = key.split(".")
    if len(sections) > DEEPEST:
        raise RecipeError(shown(key), "is no setting", "write section.key=value")
    for section in sections:
        if data.get(section) is None:  # a section that is left empty
            data[section] = {}
        inner = data[section]
        if not isinstance(inner, dict):
            raise RecipeError(key, f"{section} is no section", "write section.key=value")
        data = inner
    data[last] = value


def _tuples(value: Any) -> Any:
    """YAML's lists as the tuples that a frozen recipe holds."""
    if isinstance(value, Mapping):
        return {key: _tuples(inner) for key, inner in value.items()}
    return tuple(_tuples(inner) for inner in value) if isinstance(value, list) else value


def _explain(entry: Any, data: Mapping[str, Any]) -> str:
    """One mistake in words, of those that pydantic found in `data`."""
    keys = [str(part) for part in entry["loc"]]
    keys = [key for key in keys if key != OTHERS]
    where = ".".join(keys) or "recipe"
    if entry["type"] == "extra_forbidden":
        return f"{where}: {_unknown(keys, data)}"
    if entry["type"] == "unknown_method":
        return f"{where}.name: {entry['msg']} (found {shown(entry['ctx']['name'])})"
    message = entry["msg"].removeprefix("Value error, ")
    whole_section = (
        isinstance(entry["input"], Mapping) and len(keys) < 2
    )  # of all its keys, too much to show
    return f"{where}: {message}" + ("" if whole_section else f" (found {shown(entry['input'])})")


def _unknown(keys: list[str], data: Mapping[str, Any]) -> str:
    """Why a key is not known, and what is."""
    *sections, name = keys
    if sections == ["method"]:
        return _unknown_option(name, data["method"].get("name", "auto"))
    known: Any = Recipe
    for section in sections:
        known = known.model_fields[section].annotation
    return f"is not known; {hint(name, known.known_keys())}"


def _unknown_option(name: str, method: str) -> str:
    """Why the method has no such option, and who has."""
    others = [entry.name for entry in all_entries() if name in entry.options.model_fields]
    if others:
        return f"{method} has no such option ({', '.join(others)} has)"
    return f"is not known; {hint(name, find_method(method).options.model_fields)}"
