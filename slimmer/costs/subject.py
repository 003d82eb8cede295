"""The network of which a cost is computed or counted."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from torch import nn

from slimmer.graph import ChannelGraph, Inputs
from slimmer.recipe.budget import BudgetSection
from slimmer.runs.events import Event, Observe


def unheard(_event: Event) -> None:
    """Ignore an event."""


@dataclass(frozen=True, eq=False)
class Subject:
    """A network, dense or slim, and its inputs.

    Args:
        model: the whole network.
        traced: what is traced and pruned: the whole network, or the parts that the user named.
        inputs: those of `traced`: (channels, height, width) of one image, or a call's arguments.
        graph: the channel groups of the dense network.
        with_widths: returns the network pruned to the given number of units of each group, in the
            order of the graph's groups; for costs that are measured on real networks.
        budget: the budget section of the recipe, with the setting of a latency.
        observe: gets events while a cost is measured.
    """

    model: nn.Module
    traced: nn.Module
    inputs: Inputs
    graph: ChannelGraph
    with_widths: Callable[[Sequence[int]], nn.Module]
    budget: BudgetSection = field(default_factory=BudgetSection)
    observe: Observe = unheard
