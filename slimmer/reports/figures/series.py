"""What a run's events say over time: sparsity, accuracy, loss and the values of the masks."""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any, NamedTuple

Event = Mapping[str, Any]


class Series(NamedTuple):
    """Values over time; `epochs` and `values` are as long as each other."""

    epochs: list[float]
    values: list[float]


def over_epochs(events: Sequence[Event], kinds: Sequence[str], key: str) -> Series:
    """The values under `key` in events of these kinds, in the order of their steps.

    A run that was resumed repeats the steps behind its last saved state: of each step and kind the
    last event counts.

    >>> events = [{"event": "step", "step": 10, "epoch": 1.0, "loss": 2.5}, {"event": "done"}]
    >>> over_epochs(events, ["step"], "loss")
    Series(epochs=[1.0], values=[2.5])
    """
    found = {
        (event["step"], kinds.index(event["event"])): float(event[key])
        for event in events
        if event["event"] in kinds and event.get(key) is not None
    }
    pace = _epochs_per_step(events)
    places = sorted(found)
    return Series([step * pace for step, _ in places], [found[place] for place in places])


def sparsity(events: Sequence[Event], cost: str) -> Series:
    """The share of `cost` that is gone, 0 to 1, while the network is under masks and when the
    channels are removed.

    The exact projection at the end is a second value at the same epoch. Empty where there were no
    masks.
    """
    if not any(cost in event for event in events if event["event"] in ("step", "masks")):
        return Series([], [])
    remains = over_epochs(events, ("step", "masks", "removed"), cost)
    return Series(remains.epochs, [1 - share for share in remains.values])


def removal(events: Sequence[Event]) -> float | None:
    """The epoch in which the channels were removed for real, or None where they were not yet."""
    steps = [event["step"] for event in events if event["event"] == "removed"]
    return steps[-1] * _epochs_per_step(events) if steps else None


def mask_moments(events: Sequence[Event], earlier: int = 3) -> list[Event]:
    """The last record of the masks, and before it up to `earlier` others, evenly spread from the
    first one on.
    """
    by_step = {event["step"]: event for event in events if event["event"] == "masks"}
    records = [by_step[step] for step in sorted(by_step)]
    if not records:
        return []
    last = len(records) - 1
    chosen = sorted({last * number // earlier for number in range(earlier)} - {last})
    return [*(records[index] for index in chosen), records[last]]


def running_mean(values: Sequence[float], reach: int) -> list[float]:
    """The mean of each value and up to `reach` neighbours on either side.

    >>> running_mean([1.0, 2.0, 6.0], 1)
    [1.5, 3.0, 4.0]
    """
    return [fmean(values[max(0, at - reach) : at + reach + 1]) for at in range(len(values))]


def _epochs_per_step(events: Sequence[Event]) -> float:
    """A step in epochs; an event that tells both says it, and without one only step 0 is known to
    be there.
    """
    return next(
        (
            event["epoch"] / event["step"]
            for event in events
            if event.get("epoch") and event.get("step")
        ),
        0.0,
    )
