"""The seam between the training loop and a method."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from torch import Tensor, nn

from slimmer.costs import Budget
from slimmer.graph import ChannelGraph
from slimmer.methods.metric import Metric
from slimmer.recipe.methods import MethodOptions

Options = TypeVar("Options", bound=MethodOptions)


@dataclass(frozen=True, eq=False)
class MethodSetup(Generic[Options]):
    """What a method is built for: train the masks of `model` for `steps` steps, toward `budgets`.

    `options` is the recipe's method section, `epoch_steps` the steps of one epoch. A `resumed` run
    gets its state back afterwards, so nothing is to be changed in the network.
    """

    model: nn.Module
    graph: ChannelGraph
    budgets: Sequence[Budget]
    options: Options
    steps: int
    epoch_steps: int
    resumed: bool = False

    def metrics(self) -> list[Metric]:
        """The costs of the budgets as masks see them."""
        sizes = tuple(group.size for group in self.graph.groups)
        return [Metric(budget.cost, sizes) for budget in self.budgets]


class Method(Protocol):
    """How masks move while a network is trained under them.

    `has_masks` is whether they move at all; `trains_masks`, whether the optimizer moves them.
    """

    has_masks: bool
    trains_masks: bool

    @property
    def state(self) -> dict[str, Tensor]:
        """Tensors that a resumed run has to put back, by name; the training loop copies into them."""
        ...

    def start(self) -> Tensor:
        """The first mask variables (units,)."""
        ...

    def gate(self, variables: Tensor, *, training: bool) -> Tensor:
        """The mask (units,), in 0..1, that the variables (units,) stand for; it may be drawn while
        training.
        """
        ...

    def penalty(self, variables: Tensor, step: int) -> Tensor | None:
        """What is added to the loss at `step`."""
        ...

    def after_backward_(self, variables: nn.Parameter, step: int) -> None:
        """Called with the gradients of `step`, before the weights move."""
        ...

    def scores(self, variables: Tensor) -> Tensor:
        """What the exact projection at the end ranks units by (units,)."""
        ...
