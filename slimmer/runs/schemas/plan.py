"""The schema of plan.json: which channels are kept."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from slimmer.runs.schemas.base import Count, Filed, Size


def _tuple(value: object) -> object:
    """A list as a tuple, since JSON has only lists; other values unchanged."""
    return tuple(value) if isinstance(value, list) else value


Slice = Annotated[tuple[str, Count, Size, str], BeforeValidator(_tuple)]


class PlanGroup(Filed):
    """A channel group: its number of units, the kept units as ranges (`0:8,12`), and where its
    channels are. `removed` is true for a group that is removed whole.

    A slice is a tensor's name, the axis, the positions per unit, and all positions as ranges.
    """

    name: str
    size: Size
    keep: str
    slices: list[Slice]
    removed: bool = False


class PlanFile(Filed):
    """plan.json: the channel groups of a network and which units of each are kept.

    `attributes` are numbers in the user's modules that hold a width, by `module#name`, with their
    new values.
    """

    format: Literal[1]
    groups: list[PlanGroup] = Field(max_length=1_000_000)
    attributes: dict[Annotated[str, Field(pattern="#")], Size] = Field({})
