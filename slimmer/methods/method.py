"""The interface between the training loop and a trained method."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from torch import Tensor, nn

from slimmer.costs import Budget
from slimmer.graph import ChannelGraph
from slimmer.methods.metric import Metric
from slimmer.recipe.method_options import MethodOptions

Options = TypeVar("Options", bound=MethodOptions)


@dataclass(frozen=True, eq=False)
class MethodSetup(Generic[Options]):
    """The setting of a method: it trains the masks of `model` for `steps` steps toward `budgets`.

    `options` is the recipe's method section, `epoch_steps` the number of steps of one epoch. The
    state of a `resumed` run is restored afterwards, so the method must not change the network.
    """

    model: nn.Module
    graph: ChannelGraph
    budgets: Sequence[Budget]
    options: Options
    steps: int
    epoch_steps: int
    resumed: bool = False

    def metrics(self) -> list[Metric]:
        """The costs of the budgets as functions of masks."""
        sizes = tuple(self.graph.widths)
        return [Metric(budget.cost, sizes) for budget in self.budgets]


class Method(Protocol):
    """How masks change while a network is trained under them.

    `has_masks`: the masks change at all; `trains_masks`: the optimizer updates them.
    """

    has_masks: bool
    trains_masks: bool

    @property
    def state(self) -> dict[str, Tensor]:
        """Tensors that a resumed run must restore, by name; the training loop copies into them."""
        ...

    def start(self) -> Tensor:
        """The initial mask variables (units,)."""
        ...

    def gate(self, variables: Tensor, *, training: bool) -> Tensor:
        """The mask (units,), in 0..1, of the variables (units,); in training it may be random."""
        ...

    def penalty(self, variables: Tensor, step: int) -> Tensor | None:
        """The penalty that is added to the loss at `step`, if any."""
        ...

    def after_backward_(self, variables: nn.Parameter, step: int) -> None:
        """Called after the backward pass of `step`, before the weights are updated."""
        ...

    def scores(self, variables: Tensor) -> Tensor:
        """The scores (units,) by which the final projection into the budgets ranks units."""
        ...


class Settling(Method, Protocol):
    """A method whose units can be removed while the others are trained (`method.settle`).

    `closed` is the variable of a removed unit: its mask is 0, in training too.
    """

    closed: float

    def settled(self, variables: Tensor) -> Tensor:
        """True for the units (units,) that count as removed now; one that is true twice in a row
        has settled.
        """
        ...

    def follow_(self, network: nn.Module) -> None:
        """Called with the network that is trained from now on, without the removed units."""
        ...
