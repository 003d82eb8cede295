"""The main metric of a run as text and in figures; top-1 if a report names none."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

TOP1 = {"name": "top-1", "higher_is_better": True, "percent": True}


@dataclass(frozen=True)
class MetricText:
    """A metric's name and direction; `percent` is true for a share, which is shown in percent."""

    name: str
    higher_is_better: bool
    percent: bool

    @property
    def unit(self) -> str:
        """What follows the name of a column or an axis: " %" for a share."""
        return " %" if self.percent else ""

    def shown(self, value: float, digits: int = 2) -> str:
        """A value as text.

        >>> metric_of({}).shown(0.5), MetricText("MSE", False, False).shown(0.123456)
        ('50.00%', '0.1235')
        """
        return f"{value:.{digits}%}" if self.percent else f"{value:.{digits + 2}g}"

    def scaled(self, value: float) -> float:
        """A value in the unit of a figure's axis."""
        return 100 * value if self.percent else value


def metric_of(found: Mapping[str, Any] | None) -> MetricText:
    """The metric of a report, of a row of a comparison, or of an exported file.

    >>> metric_of({"metric": {"name": "MSE", "higher_is_better": False, "percent": False}}).name
    'MSE'
    """
    known = {**TOP1, **((found or {}).get("metric") or {})}
    return MetricText(
        str(known["name"]), bool(known["higher_is_better"]), percent=bool(known["percent"])
    )
