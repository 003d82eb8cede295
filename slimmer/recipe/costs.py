"""The registry of costs: everything that other rooms need of a cost. Imports no torch."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from slimmer.errors import RecipeError
from slimmer.recipe.amounts import short
from slimmer.registry import Function, Registry, load

_NAME = re.compile(r"[a-z][a-z0-9_]*")


@dataclass(frozen=True)
class CostKind:
    """A cost of a network: how it is computed, counted, named and formatted.

    Args:
        name: the key of the cost in a recipe's budget section and in report.json.
        label: the name in text and tables, such as "FLOPs".
        unit: the unit, such as "bytes"; equal to `label` if the cost is a number of things.
        convention: how the cost is counted, in one sentence without a full stop.
        build: a function, or "module:function" to import it later. Takes a `slimmer.costs.Subject`
            of the dense network and returns a `slimmer.costs.Cost` with the entry's name.
        count: a function likewise, or None if the cost can't be counted exactly. Takes the
            `Subject` of a slim network and counts its cost without `build`. Returns counts by the
            names of the counters; the first is in the cost's unit.
        counters: labels of those counters, if different from their names.
        column: a shorter label for narrow tables; `label` by default.
        units: further units for amounts, each with its factor: {"KiB": 1024}.
        order: the position in tables; 0 and 1 are slimmer's own.
        always: whether to compute the cost in every run, or only in runs with a budget on it.
        exact: whether values are exact counts; measured values are shown with few digits.

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
    exact: bool = True

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError(
                f"{self.name!r}: the name of a cost consists of lower-case letters, digits and _"
            )

    @property
    def head(self) -> str:
        """The label, with the unit if it differs and values are in it."""
        if self.unit == self.label or not self.exact:
            return self.label
        return f"{self.label} ({self.unit})"

    @property
    def short_head(self) -> str:
        """The label for a narrow column."""
        return self.column or self.label

    def short(self, value: float) -> str:
        """A value in three or four digits, in the largest unit in which it is at least 1."""
        if not self.units:
            return short(value)
        best, factor = self.unit, 1.0
        for unit, by in self.units.items():
            if factor < by <= value:
                best, factor = unit, by
        return f"{value / factor:.4g} {best}"

    def in_full(self, value: float) -> str:
        """A value with all digits if it is an exact count, in three or four if it is measured."""
        return f"{value:,}" if self.exact else self.short(value)

    def said(self, value: float) -> str:
        """A value with its label, for a sentence."""
        if self.unit == self.label:
            return f"{self.short(value)} {self.label}"
        if self.units:
            return f"{self.label} {self.short(value)}"
        return f"{self.label} {self.short(value)} {self.unit}"

    def built(self, subject: Any) -> Any:
        """The `slimmer.costs.Cost` of a dense network."""
        return load(self.build)(subject)

    def counted(self, subject: Any) -> dict[str, int]:
        """The counts of a slim network, by the names of the counters; empty without counters."""
        if self.count is None:
            return {}
        return dict(load(self.count)(subject))


BUILT_IN: Final = (
    CostKind(
        name="flops",
        label="FLOPs",
        unit="FLOPs",
        convention="fvcore, 1 FLOP per multiply-add",
        build="slimmer.costs.flops:build",
        count="slimmer.costs.flops:count",
        counters={
            "torch": "torch.utils.flop_counter (two per multiply-add, convolutions and linear "
            "layers)"
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
    CostKind(
        name="latency",
        label="latency",
        unit="ns",
        convention="time of a run in ONNX Runtime, measured relative to the dense network",
        build="slimmer.latency.build:build",
        units={"us": 1e3, "ms": 1e6, "s": 1e9},
        order=2,
        always=False,
        exact=False,
    ),
)
COSTS: Final[Registry[CostKind]] = Registry(
    "cost", RecipeError, entry_points="slimmer.costs", kind=CostKind
)
for _kind in BUILT_IN:
    COSTS.add(_kind.name, _kind)


def cost_kinds() -> list[CostKind]:
    """All registered costs, in the order of tables."""
    return sorted(COSTS.values(), key=lambda kind: (kind.order, kind.name))


def budgets_on(amounts: Iterable[tuple[str, Any]]) -> list[tuple[str, Any]]:
    """The recipe keys and values for budgets, given as costs and amounts; None means no budget.

    Raises RecipeError if a cost has two budgets.

    >>> budgets_on([("flops", 0.5), ("params", None)])
    [('budget.flops', 0.5)]
    """
    given: dict[str, Any] = {}
    for name, value in amounts:
        key = f"budget.{name}"
        if value is None:
            continue
        if key in given:
            raise RecipeError(key, "is given twice", "give one amount per cost")
        given[key] = value
    return list(given.items())


def costs_in(*found: Mapping[str, Any]) -> list[CostKind]:
    """The costs whose names are keys of the mappings (reports or events), in the order of tables.

    >>> [kind.label for kind in costs_in({"params": 3, "epoch": 1})]
    ['parameters']
    """
    names = set().union(*found)
    return [kind for kind in cost_kinds() if kind.name in names]
