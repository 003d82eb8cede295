"""Amounts as people write them: "0.5", "50%", "1.8G"."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import inf
from types import MappingProxyType

from slimmer.errors import RecipeError

_FACTORS = {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9, "t": 1e12}
NO_UNITS: Mapping[str, float] = MappingProxyType({})
_PATTERN = re.compile(r"^([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*(%|[^\W\d_]*)$")


@dataclass(frozen=True)
class Amount:
    """A share of dense (`relative`, 0..1) or a number of units."""

    value: float
    relative: bool

    def of(self, dense: float) -> float:
        """The amount in units, where the dense network has `dense` of them."""
        return self.value * dense if self.relative else self.value

    def __str__(self) -> str:
        return f"{self.value:g}" if self.relative else short(self.value)


def parse_amount(text: str | float, where: str, units: Mapping[str, float] = NO_UNITS) -> Amount:
    """What may remain: a ratio up to 1, a percentage, or an absolute number above 1, with K, M, G
    or T.

    `units` are further units of the cost in question, each with its factor; capitals don't matter.

    Raises RecipeError for what is no amount, zero, negative, or a share above 1.

    >>> parse_amount("50%", "budget.flops")
    Amount(value=0.5, relative=True)
    >>> parse_amount("1.8G", "budget.flops")
    Amount(value=1800000000.0, relative=False)
    >>> parse_amount("2 MiB", "budget.memory", {"MiB": 2**20})
    Amount(value=2097152.0, relative=False)
    """
    right = "give what may remain: a ratio such as 0.5, a percentage such as 50%, or an absolute number such as 1.8G"
    match = _PATTERN.match(str(text).strip())
    if isinstance(text, bool) or not match:
        raise RecipeError(where, f"{text!r} is no amount", right)
    value, unit = float(match[1]), match[2].casefold()
    factors = _FACTORS | {"%": 0.01} | {each.casefold(): by for each, by in units.items()}
    if unit not in factors:
        raise RecipeError(where, f"{text!r} is no amount", right)
    if value * factors[unit] == inf:
        raise RecipeError(where, f"{text!r} is too large a number", right)
    if value <= 0:
        raise RecipeError(where, f"{text!r} leaves nothing", right)
    if unit == "%":
        value /= 100
    relative = unit == "%" or (not unit and value <= 1)
    if unit == "%" and value > 1:
        raise RecipeError(where, f"{text!r} is more than all", right)
    if not unit and 1 < value < 1000:
        raise RecipeError(where, f"{text!r} is above 1 as a ratio and small as a count", right)
    return Amount(value if relative else value * factors[unit], relative)


def short(number: float) -> str:
    """A count in three or four digits with its unit.

    >>> short(40931968), short(269722), short(950)
    ('40.93 M', '269.7 K', '950')
    """
    for unit, factor in (("T", 1e12), ("G", 1e9), ("M", 1e6), ("K", 1e3)):
        scaled = number / factor
        if abs(scaled) >= 0.99995:  # what rounds to 1000 of a unit is 1 of the next
            digits = 2 if abs(scaled) < 99.995 else 1
            return f"{scaled:.{digits}f} {unit}"
    return f"{number:.0f}"
