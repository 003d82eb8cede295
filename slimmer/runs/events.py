"""What long work tells while it goes on."""

from collections.abc import Callable
from typing import Any

Event = dict[str, Any]
"""Its kind under "event", and what belongs to it; written as a line of JSON into a run's events."""

Observe = Callable[[Event], None]
