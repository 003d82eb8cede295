"""The schemas of the lines of events.jsonl, by the kind of event."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from pydantic import ValidationError

from slimmer.runs.schemas.base import AMOUNT, Amount, Count, Filed, OfCosts, Share


class Event(Filed):
    """Any event; `time` is in seconds since the run began or went on."""

    event: str
    time: Amount


class Begun(Event):
    """A run began."""

    run: str


class Resumed(Event):
    """A run went on; `limits` are its budgets' shares of dense."""

    limits: dict[str, Amount]


class Scores(Event):
    """So many of the channel groups have their scores."""

    done: Count
    groups: Count


class Step(OfCosts, Event):
    """A step of training; under masks with what remains of each cost, as a share of dense."""

    cost_kind = AMOUNT
    step: Count
    steps: Count
    epoch: Amount
    loss: float
    batch_accuracy: Share
    images_per_s: Amount
    flops: Amount | None = None
    params: Amount | None = None


class Masks(Event):
    """The values of the masks in 20 bins over 0..1, and what is above 0 in every group."""

    step: Count
    epoch: Amount
    histogram: list[Count]
    widths: list[Count]


class Removed(OfCosts, Event):
    """Channels went for real; `accuracy` is top-1 right behind it, None without data."""

    cost_kind = AMOUNT
    step: Count
    accuracy: Share | None
    flops: Amount
    params: Amount


class Epoch(Event):
    """The top-1 of the slim network while it trains."""

    step: Count
    epoch: Amount
    accuracy: Share | None


KINDS: Final[Mapping[str, type[Event]]] = MappingProxyType(
    {
        "begun": Begun,
        "resumed": Resumed,
        "scores": Scores,
        "step": Step,
        "masks": Masks,
        "removed": Removed,
        "epoch": Epoch,
    }
)


def is_event(value: Any) -> bool:
    """Whether a line's value is an event as slimmer records it; one of a kind that is not known is
    taken as it is.

    >>> is_event({"event": "begun", "time": 0.1, "run": "r"}), is_event({"event": "begun"}), is_event(3)
    (True, False, False)
    """
    try:
        found = Event.model_validate(value)
        KINDS.get(found.event, Event).model_validate(value)
    except ValidationError:
        return False
    return True
