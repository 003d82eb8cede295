"""What a cost is computed or counted of."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import nn

from slimmer.graph import ChannelGraph, Inputs


@dataclass(frozen=True, eq=False)
class Subject:
    """A network, dense or slim, and how it is called.

    Args:
        model: the whole network.
        traced: what of it is traced and pruned: all of it, or the parts that the user named.
        inputs: what `traced` takes: (channels, height, width) of one image, or a call's arguments.
        graph: the channel groups of the dense network.
        with_widths: the network cut to so many units of each group, in the order of the graph's
            groups; for a cost that is measured on real networks.
    """

    model: nn.Module
    traced: nn.Module
    inputs: Inputs
    graph: ChannelGraph
    with_widths: Callable[[Sequence[int]], nn.Module]
