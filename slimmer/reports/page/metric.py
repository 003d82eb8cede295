"""The metric of a report: its name, its direction and how its values are written."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from slimmer.reports.page.words import SPACE, percent, round_percent, signed

DEFAULT = {"name": "top-1", "higher_is_better": True, "percent": True}


@dataclass(frozen=True)
class Metric:
    """A metric; `percent` is True if its values are shares, which are shown in percent."""

    name: str
    higher_is_better: bool
    percent: bool

    def shown(self, value: float) -> str:
        r"""A value as text.

        >>> Metric("top-1", True, True).shown(0.9917), Metric("loss", False, False).shown(0.25)
        ('99.2\xa0%', '0.25')
        """
        return percent(value) if self.percent else f"{value:.4g}"

    def tick(self, value: float) -> str:
        """A value on an axis."""
        return round_percent(value) if self.percent else f"{value:.4g}"

    def change(self, value: float, before: float) -> str:
        r"""The difference to an earlier value as text.

        >>> Metric("top-1", True, True).change(0.75, 0.5)
        '+25.0\xa0points'
        """
        if self.percent:
            return f"{signed(100 * (value - before), '.1f')}{SPACE}points"
        return signed(value - before, ".4g")

    def worse(self, value: float, before: float) -> bool:
        """Whether a value is worse than an earlier one."""
        return value < before if self.higher_is_better else value > before


def metric_of(report: Mapping[str, Any]) -> Metric:
    """The metric of a report; top-1 if the report names none.

    >>> metric_of({}).name
    'top-1'
    """
    found = DEFAULT | (report.get("metric") or {})
    return Metric(
        str(found["name"]), bool(found["higher_is_better"]), percent=bool(found["percent"])
    )
