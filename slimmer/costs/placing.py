"""Assign fvcore's counts to the modules of the graph's operations, if the two disagree about which
module ran an operation.

A program (`slimmer.pruning.rewrite`) runs the operations of all modules in one module. And
torch.export may confuse modules that share a submodule if `forward` was assigned to the instances
(fused networks).
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from fractions import Fraction

from slimmer.costs.closed_form import volume
from slimmer.costs.fvcore_count import Place
from slimmer.graph import ChannelGraph, Operation


def placed(counts: Mapping[Place, int], graph: ChannelGraph) -> dict[Place, int]:
    """Fvcore's `counts` by the graph's (module, operation).

    An operation's volume times its widths is fvcore's count times the number of images with which
    the graph was traced. Counts for which this holds are kept. The others of a kind are added up;
    if their sum is right, each operation gets the count that follows from its volume, otherwise
    they are kept too.
    """
    volumes: dict[Place, int] = {}
    for operation in graph.operations:
        place = (operation.module, operation.kind)
        volumes[place] = volumes.get(place, 0) + _whole(operation, graph)
    images = _images(counts, volumes)
    found = dict(counts)
    for kind in sorted({kind for _, kind in volumes}):
        places = [place for place in {**volumes, **counts} if place[1] == kind]
        expected = {place: images * counts.get(place, 0) for place in places}
        wrong = [place for place in places if volumes.get(place, 0) != expected[place]]
        shares = {place: volumes.get(place, 0) / images for place in wrong}
        whole = all(share.denominator == 1 for share in shares.values())
        if whole and sum(shares.values()) == sum(counts.get(place, 0) for place in wrong):
            found |= {place: int(share) for place, share in shares.items()}
    return {place: count for place, count in found.items() if count}


def _images(counts: Mapping[Place, int], volumes: Mapping[Place, int]) -> Fraction:
    """The number of images with which the graph was traced, relative to fvcore's count: the most
    frequent ratio.

    The ratios are those of the kinds' totals, since single modules may be wrong, and of modules.
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
