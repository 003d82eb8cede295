"""The schemas of the lines of events.jsonl, one for each kind of event."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from pydantic import ValidationError

from slimmer.runs.schemas.base import AMOUNT, Amount, Count, Filed, OfCosts, Share


class Event(Filed):
    """Any event; `time` is in seconds since the run was started or resumed."""

    event: str
    time: Amount


class Begun(Event):
    """A run was started."""

    run: str


class Resumed(Event):
    """A run was resumed after `step`; `limits` are its budgets as shares of dense."""

    step: Count = 0
    limits: dict[str, Amount]


class Scores(Event):
    """`done` of `groups` channel groups have been scored."""

    done: Count
    groups: Count


class Answers(Event):
    """The dense network has answered `done` of `images` training images, as they are seen in
    `view`, which is counted from 0 up to `views`.
    """

    view: Count
    views: Count
    done: Count
    images: Count


class Step(OfCosts, Event):
    """A training step; under masks also the remaining share of each cost, relative to dense."""

    cost_kind = AMOUNT
    step: Count
    steps: Count
    epoch: Amount
    loss: float
    lr: Amount | None = None
    batch_accuracy: Share | None
    images_per_s: Amount
    flops: Amount | None = None
    params: Amount | None = None


class Masks(Event):
    """A histogram of the mask values in 20 bins over 0..1, and each group's number above 0."""

    step: Count
    epoch: Amount
    histogram: list[Count]
    widths: list[Count]


class Settled(OfCosts, Event):
    """`units` more were removed during training under masks, because their masks had settled at
    zero; the share of each cost that is left, relative to dense.
    """

    cost_kind = AMOUNT
    step: Count
    epoch: Amount
    units: Count
    flops: Amount
    params: Amount


class LatencyRound(Event):
    """A network inside the latency budget was measured; all values are relative to dense."""

    round: Count
    predicted: Amount
    measured: Amount
    limit: Amount


class Depth(Event):
    """A network within the budgets without a number of branches, which are these `groups`, was
    compared with the dense one: `change` is how far its outputs are away, None if they are not
    finite.
    """

    branches: Count
    groups: list[str]
    change: Amount | None


class Search(Event):
    """`done` of `plans` plans within the budgets were tried, all before training or the best ones
    after some steps; `change` is how far the outputs of the best one are from the dense network's,
    None if no plan has finite ones.
    """

    trained: bool
    done: Count
    plans: Count
    change: Amount | None


class Removed(OfCosts, Event):
    """Channels were removed; `accuracy` is the main metric directly afterwards, None without
    data, and `metrics` are all of them if there are several.
    """

    cost_kind = AMOUNT
    step: Count
    accuracy: float | None
    metrics: dict[str, float] | None = None
    flops: Amount
    params: Amount


class Epoch(Event):
    """The main metric of the slim network after an epoch of fine-tuning, and all metrics if there
    are several.
    """

    step: Count
    epoch: Amount
    accuracy: float | None
    metrics: dict[str, float] | None = None


KINDS: Final[Mapping[str, type[Event]]] = MappingProxyType(
    {
        "begun": Begun,
        "resumed": Resumed,
        "scores": Scores,
        "answers": Answers,
        "step": Step,
        "masks": Masks,
        "settled": Settled,
        "depth": Depth,
        "search": Search,
        "latency_round": LatencyRound,
        "removed": Removed,
        "epoch": Epoch,
    }
)


def is_event(value: Any) -> bool:
    """Whether a value is an event as slimmer records it; an unknown kind of event only needs the
    fields of every event.

    >>> is_event({"event": "begun", "time": 0.1, "run": "r"})
    True
    >>> is_event({"event": "begun"}), is_event(3)
    (False, False)
    """
    try:
        found = Event.model_validate(value)
        KINDS.get(found.event, Event).model_validate(value)
    except ValidationError:
        return False
    return True
