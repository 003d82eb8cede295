"""Which channels go together: names, axes and index maps, no live modules."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain


@dataclass(frozen=True)
class Axis:
    """One axis of one tensor: a parameter or buffer by its name, or `@node` for an activation.

    Counts that a module holds as attributes are written `module#before` and `module#after` (of a
    channel-padding module), `module#num_features` (of a norm without tensors).
    """

    tensor: str
    dim: int

    def __str__(self) -> str:
        return f"{self.tensor}[{self.dim}]"


@dataclass(frozen=True)
class ChannelSlice:
    """Where the units of a group lie on one axis: `index[u]` are the positions of unit `u`."""

    axis: Axis
    index: tuple[tuple[int, ...], ...]

    @property
    def multiplicity(self) -> int:
        """Positions that one unit takes on the axis: 1 mostly; H*W behind a flatten; a grouped
        conv's width.
        """
        return len(self.index[0])

    def positions(self, units: Iterator[int] | tuple[int, ...]) -> list[int]:
        """The positions of `units` on the axis, ascending."""
        return sorted(chain.from_iterable(self.index[unit] for unit in units))


@dataclass(frozen=True)
class ChannelGroup:
    """Units that can be removed one by one; each unit takes its positions off every slice at once."""

    name: str
    size: int
    slices: tuple[ChannelSlice, ...]


@dataclass(frozen=True)
class Layer:
    """A convolution or linear layer: its output axis, the input axis that masks act on (None:
    none), its line.
    """

    name: str
    kind: str
    out_axis: Axis
    in_axis: Axis | None
    source: str


@dataclass(frozen=True)
class Operation:
    """An operation whose FLOPs are the product of the widths of `axes`, times a constant.

    `volume` is that constant for all images that the network was traced with (of an einsum, a
    number beside it).
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
"""How a width depends on a plan: the groups it holds, each with the positions that one of its units
takes.
"""


@dataclass(frozen=True)
class Split:
    """Channels that the code of a module cuts into parts, one behind the other: each part's dense
    width, and its way.

    A part's way is None where it holds only some of a group's units, so that its width is no matter
    of numbers.
    """

    module: str
    operation: str
    sizes: tuple[int, ...]
    parts: tuple[Width | None, ...]


@dataclass(frozen=True)
class Attribute:
    """A whole number that a module of the user's holds and that names a width: the ways of all that
    it may name.
    """

    module: str
    name: str
    value: int
    widths: tuple[Width | None, ...]

    def __str__(self) -> str:
        return f"{self.module}.{self.name}".removeprefix(".")

    def becomes(self, gone: Mapping[str, int]) -> list[int | None]:
        """The widths that it may name, each once, where `gone` units of each group go; None is one
        that can't be told.

        >>> Attribute("block", "width", 16, ((("conv", 1),), (("other", 1),))).becomes({"conv": 5})
        [11, 16]
        """
        found = {None if way is None else slim_width(self.value, way, gone) for way in self.widths}
        return sorted(found, key=lambda width: -1 if width is None else width)


def slim_width(dense: int, way: Width, gone: Mapping[str, int]) -> int:
    """What is left of a width of `dense` channels where `gone` units of each group go."""
    return dense - sum(positions * gone.get(group, 0) for group, positions in way)


@dataclass(frozen=True)
class ChannelGraph:
    """A network's channel groups, its layers, what is fixed, and what its operations' FLOPs depend
    on.

    `streams` names the groups of residual streams: channels whose activations are added to one
    another. `attributes` are numbers that a plan may change in the user's modules, see
    `slimmer.graph.attributes`.
    """

    groups: tuple[ChannelGroup, ...]
    layers: tuple[Layer, ...]
    fixed: tuple[Fixed, ...]
    operations: tuple[Operation, ...]
    sizes: tuple[tuple[Axis, int], ...]
    streams: frozenset[str] = frozenset()
    splits: tuple[Split, ...] = ()
    attributes: tuple[Attribute, ...] = ()

    def group(self, name: str) -> ChannelGroup:
        """The group called `name`. Raises KeyError."""
        for group in self.groups:
            if group.name == name:
                return group
        raise KeyError(name)

    @property
    def units(self) -> int:
        """All units of all groups."""
        return sum(group.size for group in self.groups)
