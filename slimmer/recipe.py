"""What to do, as data: strict, frozen, versioned; loads without torch."""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from slimmer.errors import RecipeError
from slimmer.registry import hint
from slimmer.units import Amount, parse_amount

VERSION: Final = 1

Positive = Annotated[int, Field(ge=1)]


class _Yaml(yaml.SafeLoader):
    """YAML as safe_load reads it, with 1e-3 as a number, as YAML 1.2 and everyone else has it."""


_Yaml.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
)


class Section(BaseModel):
    """A part of a recipe: no unknown keys, no silent conversions, no changes, no infinite numbers."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class ModelSection(Section):
    """The network: its checkpoint and architecture."""

    checkpoint: str | None = Field(None, description="weights: .pth, .pt, .th or .safetensors")
    arch: str | None = Field(None, description="found from the checkpoint where left out")
    input_size: tuple[Positive, Positive, Positive] | None = Field(
        None, description="(channels, height, width) of one image"
    )
    keep: tuple[str, ...] = Field((), description="patterns of layers that are not pruned, such as 'layer4.*'")


class DataSection(Section):
    """The images, and how the network wants to see them."""

    name: str | None = Field(None, description="digits, cifar10, folder or path/to/file.py:factory")
    path: str | None = Field(None, description="of the files; what they are is found where name is left out")
    size: int | None = Field(None, gt=0, description="side of an image in pixels")
    mean: tuple[float, ...] | None = Field(None, description="per channel, in units of 0..1")
    std: tuple[float, ...] | None = Field(None, description="per channel, in units of 0..1")
    classes: tuple[str, ...] | None = Field(None, description="the order of the network's outputs")
    augment: str | None = Field(None, description="none, crop, flip or crop_flip")
    trust: bool = Field(False, description="go on although the dense network is near chance on these data")


class BudgetSection(Section):
    """What may remain. `sparsity: 0.5` in a mapping is the papers' word for 0.5 removed."""

    flops: str | float | None = Field(None, description="multiply-adds of one image: 0.5, 50% or 1.8G")
    params: str | float | None = Field(None, description="parameters: 0.5, 50% or 11M")
    min_width: int = Field(1, ge=1, description="no channel group gets narrower")
    round_to: int = Field(1, ge=1, description="widths are multiples of this where the group is that wide")

    @field_validator("flops", "params", mode="before")
    @classmethod
    def _read(cls, value: Any, info: Any) -> Any:
        if value is None:
            return None
        if isinstance(value, Mapping):
            removed: Any = value.get("sparsity")
            if set(value) != {"sparsity"} or type(removed) not in {int, float} or not 0 <= removed < 1:
                raise ValueError("a mapping holds one key, sparsity: the share to remove, from 0 to below 1")
            value = round(1 - removed, 12)
        if isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        try:
            parse_amount(value, f"budget.{info.field_name}")
        except RecipeError as error:
            raise ValueError(f"{error.found}; {error.right}") from error
        return value

    def amounts(self) -> dict[str, Amount]:
        """The budgets that were named, by cost."""
        named = {"flops": self.flops, "params": self.params}
        return {name: parse_amount(value, f"budget.{name}") for name, value in named.items() if value is not None}


class MethodSection(Section):
    """How channels are chosen."""

    name: Literal["auto", "taylor", "maskconvnet", "magnitude"] = Field(
        "auto", description="auto: taylor where data is given, magnitude where none is"
    )
    sparsify: float | None = Field(
        None,
        ge=0,
        le=1,
        description="the share of the epochs under masks before channels go: taylor 0, maskconvnet 0.5",
    )
    batches: int = Field(64, ge=1, description="taylor: batches that the first scores are taken from")
    lambda_m: tuple[float, ...] = Field((3.0,), description="maskconvnet: weight of the masks' mean, one a budget")
    lambda_v: tuple[float, ...] = Field((4.0,), description="maskconvnet: weight of their variance, one a budget")
    warmup: float = Field(0.0, ge=0, description="maskconvnet: epochs without the mask term")
    mask_decay: float = Field(5e-4, ge=0, description="maskconvnet: pulls variables to 0, masks to one half")
    mask_lr: float = Field(0.1, gt=0, description="maskconvnet: learning rate of the mask variables")
    mask_start: float = Field(0.49, ge=0, le=0.5, description="maskconvnet: first variable; 0 is a mask of one half")


class FinetuneSection(Section):
    """How the network is trained while and after it slims."""

    epochs: float = Field(3.0, ge=0, description="all of them, under masks and slim; 0 prunes in one shot")
    batch_size: int = Field(128, ge=1, description="images of a step, over all processes")
    lr: float = Field(0.02, gt=0, description="highest learning rate; it falls to 0 along a cosine")
    momentum: float = Field(0.9, ge=0, lt=1, description="of SGD, by Nesterov")
    weight_decay: float = Field(1e-4, ge=0, description="of weights; biases and norms have none")
    warmup: float = Field(0.03, ge=0, le=1, description="share of the steps over which the learning rate rises")
    distill: float = Field(0.9, ge=0, le=1, description="weight of the dense network's outputs in the loss")
    temperature: float = Field(4.0, gt=0, description="by which outputs are softened before they are compared")
    recalibrate: int = Field(40, ge=0, description="batches from which batch norm takes its statistics anew")
    precision: Literal["auto", "32-true", "bf16-mixed", "16-mixed"] = Field(
        "auto", description="auto: bf16-mixed on a GPU that has it, else 32-true"
    )
    save_every: float = Field(30.0, gt=0, description="seconds between two states to resume from")


class ExportSection(Section):
    """How the networks are written to ONNX."""

    opset: int | None = Field(None, description="18 or newer; PyTorch's own where left out")
    images: int = Field(64, ge=1, description="images on which ONNX Runtime is compared with PyTorch")


class ProfileSection(Section):
    """How they are timed."""

    batches: tuple[int, ...] = Field((1, 64), description="batch sizes")
    provider: Literal["cpu", "cuda", "tensorrt"] = Field("cpu", description="cpu, cuda or tensorrt")
    threads: int | None = Field(None, ge=1, description="of an operation; one per core where left out")


class Recipe(Section):
    """Everything that a run depends on."""

    version: Literal[1] = Field(VERSION, description="of this format")
    seed: int = Field(0, ge=0, le=2**62, description="of all that is random")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="where to train")
    model: ModelSection = ModelSection()
    data: DataSection = DataSection()
    budget: BudgetSection = BudgetSection()
    method: MethodSection = MethodSection()
    finetune: FinetuneSection = FinetuneSection()
    export: ExportSection = ExportSection()
    profile: ProfileSection = ProfileSection()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.method.name == "maskconvnet" and self.method.warmup > self.finetune.epochs > 0:
            raise ValueError(
                f"method.warmup of {self.method.warmup:g} epochs is longer than the run of {self.finetune.epochs:g}"
            )
        return self

    def hash(self) -> str:
        """The first 16 hex digits of the SHA-256 of the resolved recipe."""
        return hashlib.sha256(self.to_yaml().encode()).hexdigest()[:16]

    def to_yaml(self) -> str:
        """The resolved recipe: every key, in a fixed order."""
        return yaml.safe_dump(json.loads(self.model_dump_json()), sort_keys=False)


def read_recipe(path: Path | None, settings: Iterable[tuple[str, Any]] = ()) -> Recipe:
    """The recipe of a YAML file (or the defaults) with `settings` ("section.key", value) laid over it.

    Raises RecipeError with everything that is wrong at once: unknown keys with the nearest name, wrong types.
    """
    data = {} if path is None else _read_yaml(path)
    for key, value in settings:
        _set(data, key, value)
    return make_recipe(data, "command line" if path is None else str(path))


def make_recipe(data: Mapping[str, Any], where: str) -> Recipe:
    """The recipe that `data` describes. Raises RecipeError with everything that is wrong at once."""
    try:
        return Recipe.model_validate(_tuples(data))
    except ValidationError as error:
        lines = [_explain(entry) for entry in error.errors()]
        count = "one mistake" if len(lines) == 1 else f"{len(lines)} mistakes"
        raise RecipeError(where, f"{count} in the recipe", "\n  ".join(lines)) from error


def parse_setting(text: str) -> tuple[str, Any]:
    """`section.key=value` as its key and its value (read as YAML). Raises RecipeError.

    >>> parse_setting("finetune.lr=0.01")
    ('finetune.lr', 0.01)
    """
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise RecipeError("--set", f"{text!r}", "write section.key=value, such as finetune.lr=0.01")
    try:
        return key.strip(), yaml.load(value, Loader=_Yaml)  # noqa: S506 - a SafeLoader
    except yaml.YAMLError as error:
        raise RecipeError(f"--set {key}", f"{value!r} is no YAML value", "quote it") from error


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        data = yaml.load(path.read_text(encoding="utf-8"), Loader=_Yaml)  # noqa: S506 - a SafeLoader
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(str(path), f"can't be read ({error})", "give a YAML file") from error
    except yaml.YAMLError as error:
        raise RecipeError(str(path), "is no YAML: " + " ".join(str(error).split()), "mend the line named") from error
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise RecipeError(str(path), f"holds a {type(data).__name__}", "a recipe is a mapping of sections")
    return data


def _set(data: dict[str, Any], key: str, value: Any) -> None:
    *sections, last = key.split(".")
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


def _explain(entry: Any) -> str:
    where = ".".join(str(part) for part in entry["loc"]) or "recipe"
    if entry["type"] == "extra_forbidden":
        *sections, name = entry["loc"]
        known: Any = Recipe
        for section in sections:
            known = known.model_fields[section].annotation
        return f"{where}: is not known; {hint(str(name), known.model_fields)}"
    message = entry["msg"].removeprefix("Value error, ")
    return f"{where}: {message}" + ("" if isinstance(entry["input"], Mapping) else f" (found {entry['input']!r})")
