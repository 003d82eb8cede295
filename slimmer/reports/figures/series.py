"""Time series from a run's events: sparsity, accuracy, loss and mask values."""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any, NamedTuple

Event = Mapping[str, Any]


class Series(NamedTuple):
    """Values over time; `epochs` and `values` have the same length."""

    epochs: list[float]
    values: list[float]


def over_epochs(events: Sequence[Event], kinds: Sequence[str], key: str) -> Series:
    """The values of `key` in events of these kinds, ordered by step.

    A resumed run repeats the steps after its last saved state, so only the last event of each
    step and kind counts.

    >>> events = [{"event": "step", "step": 10, "epoch": 1.0, "loss": 2.5}, {"event": "done"}]
    >>> over_epochs(events, ["step"], "loss")
    Series(epochs=[1.0], values=[2.5])
    """
    found: dict[tuple[int, int], float] = {}
    for event in events:
        if event["event"] in kinds and event.get(key) is not None:
            found[event["step"], kinds.index(event["event"])] = float(event[key])
    pace = _epochs_per_step(events)
    places = sorted(found)
    epochs, values = [], []
    for place in places:
        step, _ = place
        epochs.append(step * pace)
        values.append(found[place])
    return Series(epochs, values)


def sparsity(events: Sequence[Event], cost: str) -> Series:
    """The removed share of `cost`, 0 to 1, while masks are trained and when channels are removed.

    The exact projection at the end adds a second value at the same epoch. Empty without masks.
    """
    trained = _of_kind(events, "step", "masks")
    if not any(cost in event for event in trained):
        return Series([], [])
    remains = over_epochs(events, ("step", "masks", "removed"), cost)
    return Series(remains.epochs, [1 - share for share in remains.values])


def removal(events: Sequence[Event]) -> float | None:
    """The epoch in which the channels were removed, or None if they have not been removed yet."""
    removals = _of_kind(events, "removed")
    return removals[-1]["step"] * _epochs_per_step(events) if removals else None


def mask_moments(events: Sequence[Event], earlier: int = 3) -> list[Event]:
    """Up to `earlier` records of the masks, evenly spaced from the first one, and then the last."""
    by_step = {event["step"]: event for event in _of_kind(events, "masks")}
    records = [by_step[step] for step in sorted(by_step)]
    if not records:
        return []
    last = len(records) - 1
    chosen = {last * number // earlier for number in range(earlier)} | {last}
    return [records[index] for index in sorted(chosen)]


def running_mean(values: Sequence[float], reach: int) -> list[float]:
    """The mean of each value and up to `reach` neighbours on either side.

    >>> running_mean([1.0, 2.0, 6.0], 1)
    [1.5, 3.0, 4.0]
    """
    return [fmean(values[max(0, at - reach) : at + reach + 1]) for at in range(len(values))]


def _of_kind(events: Sequence[Event], *kinds: str) -> list[Event]:
    """The events of these kinds, in order."""
    return [event for event in events if event["event"] in kinds]


def _epochs_per_step(events: Sequence[Event]) -> float:
    """The length of a step in epochs, from the first event that has both; 0 without such an event,
    when there is only step 0.
    """
    for event in events:
        if event.get("epoch") and event.get("step"):
            return float(event["epoch"] / event["step"])
    return 0.0
