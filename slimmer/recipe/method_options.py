"""What the options of all methods have in common."""

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from slimmer.recipe.sections import Section

Share = Annotated[float, Field(ge=0, le=1)]
Weight = Annotated[float, Field(ge=0)]
Compensate = Annotated[
    bool,
    Field(
        description="update the remaining weights to compensate for the removed channels "
        "(least squares)"
    ),
]
Priced = Annotated[bool, Field(description="weight scores by the cost of a channel")]


@dataclass(frozen=True)
class Allocation:
    """How scores become widths; the fields are the options of the same names."""

    priced: bool = False
    even: float = 0.0
    stream: float = 0.0


class MethodOptions(Section):
    """The options of every method, and the questions that a run asks of any method."""

    name: str
    compensate: Compensate = False

    def allocation(self) -> Allocation:
        """How scores become widths."""
        return Allocation()

    def share_under_masks(self) -> float:
        """The fraction of the epochs in which the network is trained under masks."""
        return 0.0

    def settle_epochs(self) -> float | None:
        """The number of epochs after which channels with settled masks are removed, again and
        again, while masks are trained; None if they stay until its end.
        """
        return None

    def plans_to_try(self) -> int:
        """The number of plans near the one that the scores give that are tried; 0 for none."""
        return 0

    def sensitivity_batches(self) -> int:
        """The number of batches for measuring the sensitivity of groups; 0 for none."""
        return 0

    def own_cut(self) -> str | None:
        """The option that decides what is removed, instead of a budget; None if a budget does."""
        return None

    def check(self, epochs: float, budgets: int) -> None:
        """Raise ValueError if an option does not fit the number of epochs or budgets."""
