"""The channel graph as data: names, axes and index maps, without modules."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from itertools import chain


@dataclass(frozen=True)
class Axis:
    """One axis of one tensor: a parameter or buffer by its name, or `@node` for an activation.

    An attribute of a module that counts channels is an axis too: `module#before` and `module#after`
    of a channel-padding module, `module#num_features` of a norm without tensors.
    """

    tensor: str
    dim: int

    def __str__(self) -> str:
        return f"{self.tensor}[{self.dim}]"


@dataclass(frozen=True)
class ChannelSlice:
    """The positions of a group's units on one axis: `index[u]` are those of unit `u`."""

    axis: Axis
    index: tuple[tuple[int, ...], ...]

    @property
    def multiplicity(self) -> int:
        """How many positions one unit takes on the axis: mostly 1; H*W after a flatten; several
        for a grouped convolution.
        """
        return len(self.index[0])

    def positions(self, units: Iterable[int]) -> list[int]:
        """The positions of `units` on the axis, ascending."""
        return sorted(chain.from_iterable(map(self.index.__getitem__, units)))


@dataclass(frozen=True)
class ChannelGroup:
    """Units that can be removed one by one; a removed unit loses its positions on all slices."""

    name: str
    size: int
    slices: tuple[ChannelSlice, ...]

    @property
    def axes(self) -> dict[Axis, int]:
        """The axes that hold channels of the group, and how many channels of it each holds."""
        return {part.axis: sum(map(len, part.index)) for part in self.slices}


@dataclass(frozen=True)
class Layer:
    """A convolution or linear layer: its output axis, the input axis that masks act on (None if
    there is none), and its source line.
    """

    name: str
    kind: str
    out_axis: Axis
    in_axis: Axis | None
    source: str


@dataclass(frozen=True)
class Operation:
    """An operation whose FLOPs are the product of the widths of `axes`, times a constant.

    `volume` is that constant for all images that the network was traced with (for an einsum it is
    only proportional to it).
    """

    module: str
    kind: str
    axes: tuple[Axis, ...]
    volume: int


@dataclass(frozen=True)
class Fixed:
    """Channels of a layer that are not pruned, and why."""

    layer: str
    channels: int
    of: int
    reason: str


Width = tuple[tuple[str, int], ...]
"""How a width depends on a plan: its groups, each with the number of positions that one unit takes.
"""


@dataclass(frozen=True)
class Split:
    """Channels that the code of a module splits into consecutive parts.

    `sizes` are the dense widths of the parts, and `parts` say how each depends on a plan: None if a
    part holds only some units of a group, so that the number of units does not determine its width.
    """

    module: str
    operation: str
    sizes: tuple[int, ...]
    parts: tuple[Width | None, ...]


@dataclass(frozen=True)
class Attribute:
    """An integer attribute of a user's module that states a width; `widths` are all widths that it
    may stand for.
    """

    module: str
    name: str
    value: int
    widths: tuple[Width | None, ...]

    def __str__(self) -> str:
        return f"{self.module}.{self.name}".removeprefix(".")

    def becomes(self, gone: Mapping[str, int]) -> list[int | None]:
        """The widths that it may stand for, each once, after `gone` units of each group are
        removed; None is a width that can't be determined.

        >>> Attribute("block", "width", 16, ((("conv", 1),), (("other", 1),))).becomes({"conv": 5})
        [11, 16]
        """
        unknown: list[int | None] = []
        known = set()
        for way in dict.fromkeys(self.widths):
            if way is None:
                unknown.append(None)
            else:
                known.add(slim_width(self.value, way, gone))
        return [*unknown, *sorted(known)]


def slim_width(dense: int, way: Width, gone: Mapping[str, int]) -> int:
    """What is left of a width of `dense` channels after `gone` units of each group are removed."""
    for group, positions in way:
        dense -= positions * gone.get(group, 0)
    return dense


@dataclass(frozen=True)
class ChannelGraph:
    """The channel groups of a network, its layers, the channels that are not pruned, and the
    operations whose FLOPs depend on the widths.

    `streams` are the names of the residual-stream groups: channels whose activations are added to
    one another. `attributes` are the attributes of the user's modules that a plan may change, see
    `slimmer.graph.attributes`. `branches` are sets of groups, by their names, that can be removed
    whole, see `slimmer.pruning.branches`.
    """

    groups: tuple[ChannelGroup, ...]
    layers: tuple[Layer, ...]
    fixed: tuple[Fixed, ...]
    operations: tuple[Operation, ...]
    sizes: tuple[tuple[Axis, int], ...]
    streams: frozenset[str] = frozenset()
    splits: tuple[Split, ...] = ()
    attributes: tuple[Attribute, ...] = ()
    branches: tuple[frozenset[str], ...] = ()

    def group(self, name: str) -> ChannelGroup:
        """The group called `name`. Raises KeyError."""
        for group in self.groups:
            if group.name == name:
                return group
        raise KeyError(name)

    @property
    def units(self) -> int:
        """The number of units in all groups."""
        return sum(self.widths)

    @property
    def removable(self) -> frozenset[str]:
        """The groups of all branches."""
        return frozenset[str]().union(*self.branches)

    @property
    def widths(self) -> list[int]:
        """The number of units in each group: the widths of the dense network."""
        return [group.size for group in self.groups]

    def producers(self, layers: Collection[str]) -> dict[str, ChannelGroup]:
        """The groups that contain outputs of these layers, by name, in the order of the graph."""
        axes = {layer.out_axis for layer in self.layers if layer.name in layers}
        found = {}
        for group in self.groups:
            if not axes.isdisjoint(group.axes):
                found[group.name] = group
        return found
