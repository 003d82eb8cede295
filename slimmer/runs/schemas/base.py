"""The base classes of the schemas of a run's files, and how a file is validated."""

from pathlib import Path
from typing import Annotated, Any, ClassVar, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from slimmer.atomic_files import read_json
from slimmer.errors import RunError, first_line
from slimmer.recipe.costs import costs_in

LONGEST = 200  # characters of a message
Count = Annotated[int, Field(ge=0, lt=2**63)]
Size = Annotated[int, Field(ge=1, lt=2**63)]
Amount = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
ImageSize = Annotated[list[Annotated[int, Field(ge=1, le=2**20)]], Field(max_length=8)]


class Filed(BaseModel):
    """A part of a file. A newer slimmer may add keys; those declared here are present with their
    types.
    """

    model_config = ConfigDict(
        extra="allow", frozen=True, strict=True, allow_inf_nan=False, protected_namespaces=()
    )


class MetricNotes(Filed):
    """The main metric: its direction, and whether it is a share that is shown in percent."""

    name: str
    higher_is_better: bool
    percent: bool


AMOUNT: TypeAdapter[float] = TypeAdapter(
    Amount, config=ConfigDict(strict=True, allow_inf_nan=False)
)
COUNT: TypeAdapter[int] = TypeAdapter(Count, config=ConfigDict(strict=True))


class OfCosts(Filed):
    """A part of a file with one key per cost; costs of other packages are stored under their names.

    `cost_kind` is the type of their values.
    """

    cost_kind: ClassVar[TypeAdapter[Any]]

    @model_validator(mode="after")
    def _others(self) -> Self:
        others = self.model_extra or {}
        for kind in costs_in(others) if others else ():
            self.cost_kind.validate_python(others[kind.name])
        return self


class Environment(Filed):
    """The machine and the versions that a measurement was made with; None for what is absent or
    unknown.
    """

    cpu: str
    cpu_vector_floats: Count | None
    cores: Count | None
    usable_cores: Count | None
    load: Amount | None
    os: str
    python: str
    torch: str | None
    onnx: str | None
    onnxruntime: str | None
    gpu: str | None
    gpu_driver: str | None


def together(model: Filed, *names: str) -> None:
    """Raise ValueError if some of these fields are None and others are not."""
    if len({getattr(model, name) is None for name in names}) > 1:
        raise ValueError(f"{' and '.join(names)} must both have a value or both be null")


Schema = TypeVar("Schema", bound=Filed)


def check(schema: type[Schema], value: object, where: str, right: str) -> Schema:
    """The validated value. Raises RunError with the first mistake; `right` says what to do about
    it.

    >>> check(Filed, [], "run/report.json", "write it again")
    Traceback (most recent call last):
    ...
    slimmer.errors.RunError: run/report.json: is damaged: it is not an object
      write it again
    """
    if not isinstance(value, dict):
        raise RunError(where, "is damaged: it is not an object", right)
    try:
        return schema.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        place = ".".join(map(str, first["loc"])) or "it"
        found = f"{place}: {first['msg']}"
        raise RunError(where, f"is damaged: {found[:LONGEST]}", right) from error


def read_checked(schema: type[Schema], path: Path, right: str) -> dict[str, Any]:
    """The object in a JSON file, validated against its schema. Raises RunError if the file is
    missing or damaged.
    """
    try:
        value = read_json(path)
    except (OSError, ValueError) as error:
        raise RunError(
            str(path), f"can't be read ({first_line(error)[:LONGEST]})", right
        ) from error
    check(schema, value, str(path), right)
    return dict(value)
