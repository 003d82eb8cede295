"""The metric of a report, as the pages write it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from slimmer.reports import metric_text
from slimmer.reports.page.words import SPACE, percent, round_percent, signed


@dataclass(frozen=True)
class Metric(metric_text.MetricText):
    """A metric, whose values and changes are text."""

    def shown(self, value: float, digits: int = 1) -> str:
        r"""A value as text.

        >>> Metric("top-1", True, True).shown(0.9917), Metric("loss", False, False).shown(0.25)
        ('99.2\xa0%', '0.25')
        """
        return percent(value, digits) if self.percent else f"{value:.{digits + 3}g}"

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


def metric_of(found: Mapping[str, Any]) -> Metric:
    """The metric of a report or of a row of a comparison; top-1 if it names none.

    >>> metric_of({}).name
    'top-1'
    """
    return Metric(**vars(metric_text.metric_of(found)))
