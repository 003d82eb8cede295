"""What a budget can be on: one entry a cost, with all that other rooms need of it. No torch here."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from slimmer.errors import RecipeError
from slimmer.recipe.amounts import short
from slimmer.registry import Registry, load

Function: TypeAlias = str | Callable[..., Any]  # itself, or "module:function", imported when used
_NAME = re.compile(r"[a-z][a-z0-9_]*")


@dataclass(frozen=True)
class CostKind:
    """One cost that a network has, and how it is computed, counted, named and written.

    Args:
        name: the key of the cost in a recipe's budget section and in report.json.
        label: what people call it, such as "FLOPs".
        unit: what is counted: "bytes". The same as `label` where the cost is a number of things.
        convention: how it is counted, in one sentence without a full stop.
        build: a function, or "module:function" to import it when it is used. It takes a
            `slimmer.costs.Subject`, the dense network, and returns its `slimmer.costs.Cost`, which
            has the entry's name.
        count: a function likewise, or None for a cost that can't be counted to the unit. It takes
            the `Subject` of a slim network and returns its cost counted without `build`: counts by
            the counters' names, the first one in the cost's unit.
        counters: how people call those counters, where that is not the name.
        column: a shorter label, for narrow tables; the label where left out.
        units: further units that amounts may be written in, with their factor: {"KiB": 1024}.
        order: where it stands in tables; slimmer's own have 0 and 1.
        always: compute it in every run. False: only in runs with a budget on it.

    >>> bytes_ = CostKind("memory", "memory", "bytes", "float32", "m:f", units={"KiB": 1024})
    >>> bytes_.head, bytes_.said(2048), COSTS["flops"].said(40931968)
    ('memory (bytes)', 'memory 2 KiB', '40.93 M FLOPs')
    """

    name: str
    label: str
    unit: str
    convention: str
    build: Function
    count: Function | None = None
    counters: Mapping[str, str] = field(default_factory=dict)
    column: str = ""
    units: Mapping[str, float] = field(default_factory=dict)
    order: int = 100
    always: bool = True

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError(f"{self.name!r}: a cost's name is of small letters, digits and _")

    @property
    def head(self) -> str:
        """The label, with the unit where that is something else."""
        return self.label if self.unit == self.label else f"{self.label} ({self.unit})"

    @property
    def short_head(self) -> str:
        """The label for a narrow column."""
        return self.column or self.label

    def short(self, value: float) -> str:
        """A value in three or four digits, in its largest unit that makes it 1 or more."""
        if not self.units:
            return short(value)
        fitting = {unit: by for unit, by in self.units.items() if value >= by}
        unit, by = max(fitting.items(), key=lambda each: each[1], default=(self.unit, 1))
        return f"{value / by:.4g} {unit}"

    def said(self, value: float) -> str:
        """A value in a sentence, with what it is of."""
        if self.unit == self.label:
            return f"{self.short(value)} {self.label}"
        return f"{self.label} {self.short(value)}" + ("" if self.units else f" {self.unit}")

    def built(self, subject: Any) -> Any:
        """The cost of a dense network, a `slimmer.costs.Cost`."""
        return load(self.build)(subject)

    def counted(self, subject: Any) -> dict[str, int]:
        """What counters find in a slim network, by their names; empty where none can."""
        return {} if self.count is None else dict(load(self.count)(subject))


BUILT_IN: Final = (
    CostKind(
        name="flops",
        label="FLOPs",
        unit="FLOPs",
        convention="fvcore, 1 FLOP per multiply-add",
        build="slimmer.costs.flops:build",
        count="slimmer.costs.flops:count",
        counters={
            "torch": "torch.utils.flop_counter (two per multiply-add, convolutions and linear layers)"
        },
        order=0,
    ),
    CostKind(
        name="params",
        label="parameters",
        unit="parameters",
        convention="elements of all parameters, buffers not counted",
        build="slimmer.costs.params:build",
        count="slimmer.costs.params:count",
        column="params",
        order=1,
    ),
)
COSTS: Final[Registry[CostKind]] = Registry(
    "cost", RecipeError, entry_points="slimmer.costs", kind=CostKind
)
for _kind in BUILT_IN:
    COSTS.add(_kind.name, _kind)


def cost_kinds() -> list[CostKind]:
    """All costs that are known, in the order of tables."""
    return sorted(COSTS.values(), key=lambda kind: (kind.order, kind.name))


def budgets_on(amounts: Iterable[tuple[str, Any]]) -> list[tuple[str, Any]]:
    """The settings of a recipe for budgets, each a cost and what may remain; None is no budget.

    Raises RecipeError where a cost has two budgets.

    >>> budgets_on([("flops", 0.5), ("params", None)])
    [('budget.flops', 0.5)]
    """
    given = [(f"budget.{name}", value) for name, value in amounts if value is not None]
    keys = [key for key, _ in given]
    twice = [key for key in keys if keys.count(key) > 1]
    if twice:
        raise RecipeError(twice[0], "is given twice", "give one amount for each cost")
    return given


def costs_in(*found: Mapping[str, Any]) -> list[CostKind]:
    """The costs that reports or events, by cost, say something of, in the order of tables.

    >>> [kind.label for kind in costs_in({"params": 3, "epoch": 1})]
    ['parameters']
    """
    return [kind for kind in cost_kinds() if any(kind.name in each for each in found)]
