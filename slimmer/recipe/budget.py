"""The budget section of a recipe: limits on costs, and on the widths of channel groups."""

from collections.abc import Callable, Mapping
from typing import Any

from pydantic import (
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    field_validator,
    model_serializer,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

from slimmer.errors import RecipeError
from slimmer.recipe.amounts import Amount, parse_amount
from slimmer.recipe.costs import COSTS, cost_kinds
from slimmer.recipe.latency_section import TimingSection
from slimmer.recipe.sections import Section

OTHERS = "budgets on costs of other packages"  # not a key that anybody would write


class BudgetSection(Section):
    """What may remain of each cost. `{sparsity: 0.6}` means that 0.6 is removed and 0.4 remains.

    The name of a cost that another package registers is a key of the section too.
    """

    flops: str | float | None = Field(
        None, description="maximum FLOPs (multiply-adds for one image): 0.5, 50% or 1.8G"
    )
    params: str | float | None = Field(
        None, description="maximum number of parameters: 0.5, 50% or 11M"
    )
    latency: str | float | None = Field(
        None,
        description="maximum latency of a run in ONNX Runtime, in the setting of `timing`: 0.5, "
        "50% or 8ms",
    )
    timing: TimingSection = Field(
        TimingSection(), description="the setting in which the latency of a budget is measured"
    )
    min_width: int | dict[str, int] = Field(
        1, description="minimum channels of a group; one number, or by layer pattern: {layer4: 64}"
    )
    max_sparsity: float | dict[str, float] = Field(
        1.0,
        description="maximum share of a group's channels to remove; one number, or by layer "
        "pattern: {layer4: 0.5}",
    )
    round_to: int | None = Field(
        None,
        ge=1,
        description="make channel counts multiples of this; by default of 8 in groups of 64 "
        "channels or more; with a latency budget, of 16 or 8 as kernels take them",
    )
    depth: bool | None = Field(
        None,
        description="also remove whole residual branches, where that changes the outputs less than "
        "narrower layers do; needs data; by default with a latency budget",
    )

    others: dict[str, str | float | None] = Field({}, alias=OTHERS, repr=False)

    @field_validator("min_width", mode="before")
    @classmethod
    def _check_widths(cls, value: Any) -> Any:
        if not _all(value, _is_width):
            raise ValueError("give a positive integer, or a mapping of layer patterns to them")
        return value

    @field_validator("max_sparsity", mode="before")
    @classmethod
    def _check_shares(cls, value: Any) -> Any:
        if not _all(value, _is_share):
            raise ValueError("give a share from 0 to 1, or a mapping of layer patterns to them")
        if isinstance(value, Mapping):
            return {key: float(share) for key, share in value.items()}
        return float(value)

    @field_validator("flops", "params", "latency", mode="before")
    @classmethod
    def _read(cls, value: Any, info: Any) -> Any:
        return _budget(info.field_name, value)

    @model_validator(mode="before")
    @classmethod
    def _gather(cls, given: Any) -> Any:
        """Move budgets on costs without a field of their own into `others`."""
        if not isinstance(given, Mapping) or given.keys() <= cls.model_fields.keys():
            return given
        known = {kind.name for kind in cost_kinds()} - cls.model_fields.keys()
        others = {name: given[name] for name in sorted(known & given.keys())}
        own = {key: value for key, value in given.items() if key not in others}
        return {**own, OTHERS: others}

    @field_validator("others", mode="before")
    @classmethod
    def _read_others(cls, given: Any) -> Any:
        found: dict[str, Any] = {}
        wrong: list[InitErrorDetails] = []
        for name, value in given.items():
            try:
                found[name] = _budget(name, value)
            except ValueError as error:
                said = PydanticCustomError("budget", "{said}", {"said": str(error)})
                wrong.append(InitErrorDetails(type=said, loc=(name,), input=value))
        if wrong:
            raise ValidationError.from_exception_data(cls.__name__, wrong)
        return found

    @model_serializer(mode="wrap")
    def _flat(self, inner: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """All budgets at one level, as in a recipe."""
        found = inner(self)
        others = found.pop("others")
        return {**found, **others}

    @classmethod
    def known_keys(cls) -> list[str]:
        """The keys of the section."""
        own = [key for key in cls.model_fields if key != "others"]
        return list(dict.fromkeys([*own, *(kind.name for kind in cost_kinds())]))

    def amounts(self) -> dict[str, Amount]:
        """The budgets given, by the name of the cost, in the order of tables."""
        given = {
            "flops": self.flops,
            "params": self.params,
            "latency": self.latency,
            **self.others,
        }
        found: dict[str, Amount] = {}
        for kind in cost_kinds():
            amount = given.get(kind.name)
            if amount is not None:
                found[kind.name] = parse_amount(amount, f"budget.{kind.name}", kind.units)
        return found


def _all(value: Any, valid: Callable[[Any], bool]) -> bool:
    """Whether a value, or every value of a mapping that is not empty, is valid."""
    if isinstance(value, Mapping):
        return bool(value) and all(map(valid, value.values()))
    return valid(value)


def _is_width(value: Any) -> bool:
    return type(value) is int and value >= 1


def _is_share(value: Any) -> bool:
    return type(value) in {int, float} and 0 <= value <= 1


def _budget(name: str, value: Any) -> Any:
    """The budget as the recipe keeps it. Raises ValueError if it is not a valid amount."""
    if value is None:
        return None
    if isinstance(value, Mapping):
        removed: Any = value.get("sparsity")
        if set(value) != {"sparsity"} or type(removed) not in {int, float} or not 0 <= removed < 1:
            raise ValueError(
                "a mapping must have one key, sparsity: the share to remove, from 0 to below 1"
            )
        value = round(1 - removed, 12)
    if isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    try:
        parse_amount(value, f"budget.{name}", COSTS[name].units)
    except RecipeError as error:
        raise ValueError(f"{error.found}; {error.right}") from error
    return value
