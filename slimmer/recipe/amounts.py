"""Amounts in a recipe: "0.5", "50%", "1.8G"."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import inf
from types import MappingProxyType

from slimmer.errors import RecipeError

_FACTORS = {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9, "t": 1e12}
NO_UNITS: Mapping[str, float] = MappingProxyType({})
RIGHT = (
    "give the amount that may remain: a ratio such as 0.5, a percentage such as 50%, or a number "
    "such as 1.8G"
)
_PATTERN = re.compile(r"^([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*(%|[^\W\d_]*)$")


@dataclass(frozen=True)
class Amount:
    """A share of the dense network's cost (`relative`, 0..1), or a number of units."""

    value: float
    relative: bool

    def of(self, dense: float) -> float:
        """The amount in units, for a dense network that costs `dense`."""
        if self.relative:
            return self.value * dense
        return self.value

    def __str__(self) -> str:
        if self.relative:
            return f"{self.value:g}"
        return short(self.value)


def parse_amount(text: str | float, where: str, units: Mapping[str, float] = NO_UNITS) -> Amount:
    """The amount that may remain: a ratio up to 1, a percentage, or a number with K, M, G or T.

    `units` are further units of the cost, each with its factor; case is ignored.

    Raises RecipeError if the text is not a valid amount, or if it is zero, negative, or a share
    above 1.

    >>> parse_amount("50%", "budget.flops")
    Amount(value=0.5, relative=True)
    >>> parse_amount("1.8G", "budget.flops")
    Amount(value=1800000000.0, relative=False)
    >>> parse_amount("2 MiB", "budget.memory", {"MiB": 2**20})
    Amount(value=2097152.0, relative=False)
    """
    match = _PATTERN.match(str(text).strip())
    if isinstance(text, bool) or not match:
        raise RecipeError(where, f"{text!r} is not a valid amount", RIGHT)
    value, unit = float(match[1]), match[2].casefold()
    factors = _FACTORS | {"%": 0.01} | {each.casefold(): by for each, by in units.items()}
    if unit not in factors:
        raise RecipeError(where, f"{text!r} is not a valid amount", RIGHT)
    if value * factors[unit] == inf:
        raise RecipeError(where, f"{text!r} is too large", RIGHT)
    if value <= 0:
        raise RecipeError(where, f"{text!r} is not above 0", RIGHT)
    if unit == "%":
        value /= 100
    relative = unit == "%" or (not unit and value <= 1)
    if unit == "%" and value > 1:
        raise RecipeError(where, f"{text!r} is more than 100 %", RIGHT)
    if not unit and 1 < value < 1000:
        raise RecipeError(
            where, f"{text!r} is too large for a ratio and too small for a count", RIGHT
        )
    return Amount(value if relative else value * factors[unit], relative)


def short(number: float) -> str:
    """A count in three or four digits, with K, M, G or T.

    >>> short(40931968), short(269722), short(950)
    ('40.93 M', '269.7 K', '950')
    """
    for unit, factor in (("T", 1e12), ("G", 1e9), ("M", 1e6), ("K", 1e3)):
        scaled = number / factor
        if abs(scaled) >= 0.99995:  # 999.95 K is shown as 1.00 M
            if abs(scaled) < 99.995:
                return f"{scaled:.2f} {unit}"
            return f"{scaled:.1f} {unit}"
    return f"{number:.0f}"
