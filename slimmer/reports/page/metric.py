"""Values of a report's metric, as the pages write them."""

from functools import partial
from math import floor, log10

from slimmer.reports.metric_text import MetricText
from slimmer.reports.page.charts.lines import Axis
from slimmer.reports.page.words import SPACE, percent, round_percent, signed

DIGITS = 4  # of a value that is not a share


def shown(metric: MetricText, value: float) -> str:
    r"""A value as text.

    >>> shown(MetricText("top-1", True, True), 0.9917)
    '99.2\xa0%'
    >>> shown(MetricText("loss", False, False), 0.25)
    '0.25'
    """
    return percent(value) if metric.percent else f"{value:.{DIGITS}g}"


def axis(metric: MetricText) -> Axis:
    """The axis of the metric."""

    def tick(value: float) -> str:
        return round_percent(value) if metric.percent else f"{value:.{DIGITS}g}"

    return Axis(metric.name, partial(shown, metric), tick, most=1.0 if metric.percent else None)


def change(metric: MetricText, value: float, before: float) -> str:
    r"""The difference to an earlier value as text, with as many decimals as the larger one shows.

    >>> change(MetricText("top-1", True, True), 0.75, 0.5)
    '+25.0\xa0points'
    >>> loss = MetricText("loss", False, False)
    >>> change(loss, 0.1625, 0.1456), change(loss, 0.1456 + 5e-10, 0.1456), change(loss, 2.5, 2)
    ('+0.0169', '0', '+0.5')
    """
    found = _difference(metric, value, before)
    if metric.percent:
        return f"{signed(found, '.1f')}{SPACE}points"
    return signed(found, f".{DIGITS}g")


def worse(metric: MetricText, value: float, before: float) -> bool:
    """Whether a value is worse than an earlier one, as far as the page shows it."""
    found = _difference(metric, value, before)
    return found < 0 if metric.higher_is_better else found > 0


def _difference(metric: MetricText, value: float, before: float) -> float:
    """The difference in percentage points or in the metric's unit, rounded as it is shown."""
    if metric.percent:
        return round(100 * (value - before), 1)
    largest = max(abs(value), abs(before))
    if not largest:
        return 0.0
    return round(value - before, DIGITS - 1 - floor(log10(largest)))
