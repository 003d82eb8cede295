"""Fvcore's counts brought to the places of the graph's operations, where the two say differently
which module ran them.

A program (`slimmer.pruning.rewrite`) runs the operations of all modules in one place, and
torch.export can take one module for another where several share a part and `forward` was assigned
to the modules themselves (fused networks).
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from fractions import Fraction

from slimmer.costs.closed_form import volume
from slimmer.costs.fvcore_count import Place
from slimmer.graph import ChannelGraph, Operation


def placed(counts: Mapping[Place, int], graph: ChannelGraph) -> dict[Place, int]:
    """Fvcore's `counts` by the graph's (module, operation).

    An operation's volume times its widths is what fvcore counts of it, times the number of images
    that the graph was traced with. Places where that is so stay. The others of a kind are put
    together, and if their sum is right, each operation gets what its volume says; if it is not,
    these stay too.
    """
    volumes: dict[Place, int] = {}
    for operation in graph.operations:
        place = (operation.module, operation.kind)
        volumes[place] = volumes.get(place, 0) + _whole(operation, graph)
    images = _images(counts, volumes)
    found = dict(counts)
    for kind in sorted({kind for _, kind in volumes}):
        places = [place for place in {**volumes, **counts} if place[1] == kind]
        wrong = [
            place for place in places if volumes.get(place, 0) != images * counts.get(place, 0)
        ]
        shares = {place: volumes.get(place, 0) / images for place in wrong}
        whole = all(share.denominator == 1 for share in shares.values())
        if whole and sum(shares.values()) == sum(counts.get(place, 0) for place in wrong):
            found |= {place: int(share) for place, share in shares.items()}
    return {place: count for place, count in found.items() if count}


def _images(counts: Mapping[Place, int], volumes: Mapping[Place, int]) -> Fraction:
    """How many images the graph was traced with for each that fvcore counted: what most kinds of
    operations say.

    A kind says it by what it has in all, since single places may be wrong.
    """

    def by_kind(table: Mapping[Place, int]) -> Counter[str]:
        total: Counter[str] = Counter()
        for (_, kind), count in table.items():
            total[kind] += count
        return total

    counted, traced = by_kind(counts), by_kind(volumes)
    said = [Fraction(traced[kind], counted[kind]) for kind in traced if counted[kind]]
    said += [Fraction(volumes[place], counts[place]) for place in volumes if counts.get(place)]
    return _most_common(said)


def _most_common(said: Iterable[Fraction]) -> Fraction:
    votes = Counter(said).most_common(1)
    return votes[0][0] if votes else Fraction(1)


def _whole(operation: Operation, graph: ChannelGraph) -> int:
    return operation.volume * volume(graph, operation.axes)
