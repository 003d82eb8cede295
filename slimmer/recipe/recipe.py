"""The recipe: everything that a run depends on, as frozen, strict, versioned data."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SerializeAsAny,
    ValidationError,
    model_validator,
)

from slimmer.atomic_files import read_text
from slimmer.errors import RecipeError, number
from slimmer.recipe.budget import OTHERS, BudgetSection
from slimmer.recipe.criteria import Taylor
from slimmer.recipe.data_section import DataSection
from slimmer.recipe.finetune_section import FinetuneSection
from slimmer.recipe.loggers import BUILT_IN, known_logger
from slimmer.recipe.method_entries import all_entries, find_method, read_options
from slimmer.recipe.method_options import MethodOptions
from slimmer.recipe.sections import (
    ExportSection,
    ModelSection,
    ProfileSection,
    Section,
)
from slimmer.recipe.task_section import TaskSection
from slimmer.recipe.yaml_text import DEEPEST, MOST_BYTES, parse_yaml, shown, to_yaml
from slimmer.registry import hint

VERSION: Final = 1
# Options of the command line and arguments in Python that set a key of another name.
SHORT: Final = {
    "arch": "model.arch",
    "batch": "budget.timing.batch",
    "checkpoint": "model.checkpoint",
    "depth": "budget.depth",
    "epochs": "finetune.epochs",
    "equal_splits": "model.equal_splits",
    "input_size": "model.input_size",
    "image_size": "budget.timing.image_size",
    "keep": "model.keep",
    "latency_on": "budget.timing.provider",
    "latency_table": "budget.timing.table",
    "only": "model.only",
    "precision": "budget.timing.precision",
    "rewrite": "model.rewrite",
    "round_to": "budget.round_to",
    "task": "task.name",
    "threads": "budget.timing.threads",
    "trace": "model.trace",
}


def data_at(where: str) -> list[tuple[str, Any]]:
    """The recipe keys and values for data at a path, from FILE.py:FUNC, or by name ("digits")."""
    return [("data.name", None), ("data.path", where)]


class Recipe(Section):
    """Everything that a run depends on."""

    version: Literal[1] = Field(VERSION, description="version of the format")
    seed: int = Field(0, ge=0, le=2**62, description="random seed")
    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="training device; auto is cuda if available, else cpu"
    )
    log: tuple[Annotated[str, AfterValidator(known_logger)], ...] = Field(
        (),
        description=f"loggers of training: {', '.join(BUILT_IN)}, or one that an installed package "
        "adds; each writes to RUN/logs/NAME",
    )
    model: ModelSection = ModelSection()
    data: DataSection = DataSection()
    task: TaskSection = TaskSection()
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
                "model.scratch means random weights, but model.checkpoint is set; set only one"
            )
        if self.model.scratch and self.finetune.distill:
            raise ValueError(
                "model.scratch: random weights can't be a teacher; set finetune.distill to 0"
            )
        if self.finetune.ema and self.method.share_under_masks() == 1:
            raise ValueError(
                "finetune.ema averages the weights of the slim network, which is not trained with "
                "method.sparsify=1; set only one"
            )
        if self.model.rewrite and self.finetune.sync_batch_norm:
            raise ValueError(
                "finetune.sync_batch_norm needs batch-norm modules, and a network has none after "
                "model.rewrite; set only one"
            )
        return self

    def hash(self) -> str:
        """The first 16 hex digits of the SHA-256 of `to_yaml()`."""
        return hashlib.sha256(self.to_yaml().encode()).hexdigest()[:16]

    def to_yaml(self) -> str:
        """The complete recipe as YAML: every key, in a fixed order."""
        return to_yaml(json.loads(self.model_dump_json()))


def read_recipe(path: Path | None, settings: Iterable[tuple[str, Any]] = ()) -> Recipe:
    """The recipe of a YAML file, or the default recipe, overridden by `settings`.

    Settings are pairs of a dotted key and a value.

    Raises RecipeError with all errors at once: unknown keys, with the nearest name, and values of
    the wrong type.
    """
    data: dict[str, Any] = {}
    where = "command line"
    if path is not None:
        data = read_yaml(path)
        where = str(path)
    for key, value in settings:
        _set(data, key, value)
        if path is not None:
            where = f"{path}, overridden by settings"
    return make_recipe(data, where)


def make_recipe(data: Mapping[str, Any], where: str) -> Recipe:
    """The recipe that `data` describes. Raises RecipeError with all errors at once."""
    try:
        return Recipe.model_validate(_tuples(data))
    except ValidationError as error:
        entries = error.errors()
        invalid_tuples = {entry["loc"][:-1] for entry in entries}
        lines = []
        for entry in entries:
            # pydantic leaves out invalid entries of a tuple, then calls the tuple too short.
            if entry["type"] == "too_short" and entry["loc"] in invalid_tuples:
                continue
            lines.append(_explain(entry, data))
        found = f"{number(len(lines), 'error')} in the recipe"
        raise RecipeError(where, found, "\n  ".join(lines)) from error


def parse_setting(text: str) -> tuple[str, Any]:
    """The key and the value of `section.key=value`; the value is YAML. Raises RecipeError.

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
            f"--set {key}",
            f"{shown(value)} is not a valid YAML value ({error})",
            "put it in quotes",
        ) from error


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file. Raises RecipeError if it can't be read or is not a mapping."""
    try:
        data = parse_yaml(read_text(path, MOST_BYTES))
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(
            str(path), f"can't be read ({error})", "give a readable YAML file"
        ) from error
    except ValueError as error:
        raise RecipeError(
            str(path), f"is not valid YAML: {error}", "fix the file at that place"
        ) from error
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise RecipeError(
            str(path), f"contains a {type(data).__name__}", "a recipe is a mapping of sections"
        )
    return data


def _set(data: dict[str, Any], key: str, value: Any) -> None:
    *sections, last = key.split(".")
    if len(sections) > DEEPEST:
        raise RecipeError(shown(key), "is not a setting", "write section.key=value")
    for section in sections:
        if data.get(section) is None:  # an empty section
            data[section] = {}
        inner = data[section]
        if not isinstance(inner, dict):
            raise RecipeError(key, f"{section} is not a section", "write section.key=value")
        data = inner
    data[last] = value


def _tuples(value: Any) -> Any:
    """The value with tuples instead of lists: a recipe is immutable."""
    if isinstance(value, Mapping):
        return {key: _tuples(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return tuple(map(_tuples, value))
    return value


def _explain(entry: Any, data: Mapping[str, Any]) -> str:
    """The message for one error that pydantic found in `data`."""
    keys = [str(part) for part in entry["loc"] if part != OTHERS]
    where = ".".join(keys) or "recipe"
    if entry["type"] == "extra_forbidden":
        return f"{where}: {_unknown(keys, data)}"
    if entry["type"] == "unknown_method":
        return f"{where}.name: {entry['msg']} (found {shown(entry['ctx']['name'])})"
    message = entry["msg"].removeprefix("Value error, ")
    if isinstance(entry["input"], Mapping) and len(keys) < 2:  # a whole section: too long to show
        return f"{where}: {message}"
    return f"{where}: {message} (found {shown(entry['input'])})"


def _unknown(keys: list[str], data: Mapping[str, Any]) -> str:
    """The message for an unknown key, with the known ones."""
    *sections, name = keys
    if sections == ["method"]:
        return _unknown_option(name, data["method"].get("name", "auto"))
    known: Any = Recipe
    for section in sections:
        known = known.model_fields[section].annotation
    return f"is not known; {hint(name, known.known_keys())}"


def _unknown_option(name: str, method: str) -> str:
    """The message for an unknown option of a method, with the methods that have it."""
    others = [entry.name for entry in all_entries() if name in entry.options.model_fields]
    if others:
        return f"{method} has no such option; it belongs to {', '.join(others)}"
    return f"is not known; {hint(name, find_method(method).options.model_fields)}"
