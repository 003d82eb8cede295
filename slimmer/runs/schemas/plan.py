"""The schema of plan.json: which channels stay."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from slimmer.runs.schemas.base import Count, Filed, Size


def _tuple(value: object) -> object:
    """JSON has lists only."""
    return tuple(value) if isinstance(value, list) else value


Slice = Annotated[tuple[str, Count, Size, str], BeforeValidator(_tuple)]


class PlanGroup(Filed):
    """A channel group: its units, those that stay as ranges (`0:8,12`), and where its channels lie.

    A slice is a tensor's name, the axis, the positions of a unit, and all positions as ranges.
    """

    name: str
    size: Size
    keep: str
    slices: list[Slice]


class PlanFile(Filed):
    """plan.json: the channel groups of a network and what stays of each.

    `attributes` are numbers of the user's modules that name a width, `module#name`, and what they
    become.
    """

    format: Literal[1]
    groups: list[PlanGroup] = Field(max_length=1_000_000)
    attributes: dict[Annotated[str, Field(pattern="#")], Size] = Field({})
