"""The schema of a measured latency in report.json."""

from slimmer.runs.schemas.base import Amount, Count, Filed, Size


class LatencySetting(Filed):
    """What networks were timed with; threads are None for one per core."""

    provider: str
    threads: Size | None
    batch: Size
    precision: str


class LatencyMeasured(Filed):
    """How a latency budget was kept.

    `ratio` is relative to the dense network, with its 95 % interval; `measured` is False if it is a
    prediction from the table of another machine. `rounds` are the ratios of all plans that were
    measured, and `fit_error` is the mean relative error of the fit to `networks` networks.
    `dense_ms_again` and `slim_ms_again` are from the last round.
    """

    measured: bool
    ms: Amount
    dense_ms: Amount
    ratio: Amount
    low: Amount
    high: Amount
    limit_ratio: Amount
    narrowest_ratio: Amount
    dense_ms_again: Amount | None
    slim_ms_again: Amount | None
    rounds: list[Amount]
    seconds: Amount
    networks: Count
    fit_error: Amount
    multiple: Size
    setting: LatencySetting
    image: list[Size]
    machine: dict[str, str | int | float | None]
