"""What long work tells while it goes on."""

from collections.abc import Callable
from typing import Any

Event = dict[str, Any]
"""Its kind under "event", and what belongs to it; written as a line of JSON into a run's events."""

Observe = Callable[[Event], None]


def stage(text: str) -> Event:
    """The event of what begins now and may take seconds, in words; shown, and kept in no file.

    >>> stage("loading PyTorch")
    {'event': 'stage', 'text': 'loading PyTorch'}
    """
    return {"event": "stage", "text": text}


def loading_pytorch() -> Event:
    """The stage that every command begins with, before anything that imports PyTorch is imported."""
    return stage("loading PyTorch")
