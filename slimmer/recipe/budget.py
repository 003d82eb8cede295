"""The budget section of a recipe: what may remain, by cost, and how narrow channel groups may get."""

from collections.abc import Mapping
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
from slimmer.recipe.sections import Section

OTHERS = "budgets on costs of other packages"  # can't be a key that somebody writes by chance


class BudgetSection(Section):
    """What may remain. `sparsity: 0.5` in a mapping is the papers' word for 0.5 removed.

    A cost that another package registers is a key of the section too, by its name.
    """

    flops: str | float | None = Field(
        None, description="multiply-adds of one image: 0.5, 50% or 1.8G"
    )
    params: str | float | None = Field(None, description="parameters: 0.5, 50% or 11M")
    min_width: int | dict[str, int] = Field(
        1, description="no channel group gets narrower; or by layer pattern"
    )
    max_sparsity: float | dict[str, float] = Field(
        1.0,
        description="largest share of a group's channels that goes; or by layer pattern, {layer4: 0.5}",
    )
    round_to: int | None = Field(
        None,
        ge=1,
        description="widths are multiples of this where the group is that wide; left out, of 8 from 64 on",
    )

    others: dict[str, str | float | None] = Field({}, alias=OTHERS, repr=False)

    @field_validator("min_width", mode="before")
    @classmethod
    def _check_widths(cls, value: Any) -> Any:
        each = list(value.values()) if isinstance(value, Mapping) else [value]
        if not each or any(type(width) is not int or width < 1 for width in each):
            raise ValueError(
                "a whole number of 1 or more is wanted, or such numbers by layer pattern"
            )
        return value

    @field_validator("max_sparsity", mode="before")
    @classmethod
    def _check_shares(cls, value: Any) -> Any:
        each = list(value.values()) if isinstance(value, Mapping) else [value]
        if not each or any(
            type(share) not in {int, float} or not 0 <= share <= 1 for share in each
        ):
            raise ValueError("a share from 0 to 1 is wanted, or such shares by layer pattern")
        return (
            {key: float(share) for key, share in value.items()}
            if isinstance(value, Mapping)
            else float(value)
        )

    @field_validator("flops", "params", mode="before")
    @classmethod
    def _read(cls, value: Any, info: Any) -> Any:
        return _budget(info.field_name, value)

    @model_validator(mode="before")
    @classmethod
    def _gather(cls, given: Any) -> Any:
        """Put the budgets on registered costs that have no field of their own into `others`."""
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
        """All budgets side by side, as they are written."""
        found = inner(self)
        others = found.pop("others")
        return {**found, **others}

    @classmethod
    def known_keys(cls) -> list[str]:
        """The keys that the section can have."""
        own = [key for key in cls.model_fields if key != "others"]
        return list(dict.fromkeys([*own, *(kind.name for kind in cost_kinds())]))

    def amounts(self) -> dict[str, Amount]:
        """The budgets that were given, by cost, in the order of tables."""
        given = {"flops": self.flops, "params": self.params, **self.others}
        found: dict[str, Amount] = {}
        for kind in cost_kinds():
            amount = given.get(kind.name)
            if amount is not None:
                found[kind.name] = parse_amount(amount, f"budget.{kind.name}", kind.units)
        return found


def _budget(name: str, value: Any) -> Any:
    """The budget on a cost as it is kept. Raises ValueError for what is no amount."""
    if value is None:
        return None
    if isinstance(value, Mapping):
        removed: Any = value.get("sparsity")
        if set(value) != {"sparsity"} or type(removed) not in {int, float} or not 0 <= removed < 1:
            raise ValueError(
                "a mapping holds one key, sparsity: the share to remove, from 0 to below 1"
            )
        value = round(1 - removed, 12)
    if isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    try:
        parse_amount(value, f"budget.{name}", COSTS[name].units)
    except RecipeError as error:
        raise ValueError(f"{error.found}; {error.right}") from error
    return value
