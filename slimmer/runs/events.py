"""Progress events of long operations."""

from collections.abc import Callable
from typing import Any

Event = dict[str, Any]
"""The kind of event under "event", and its values; a line of JSON in a run's event log."""

Observe = Callable[[Event], None]


def ignore(_event: Event) -> None:
    """Ignore an event."""


def stage(text: str) -> Event:
    """The event that a step which may take seconds begins; it is shown but not recorded.

    >>> stage("loading PyTorch")
    {'event': 'stage', 'text': 'loading PyTorch'}
    """
    return {"event": "stage", "text": text}


def loading_pytorch() -> Event:
    """The first stage of every command, reported before any module that imports PyTorch is
    loaded.
    """
    return stage("loading PyTorch")
