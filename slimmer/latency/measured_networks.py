"""The measurement of many networks for a table, a few at a time. Imports no torch."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from slimmer.latency.means import Means
from slimmer.latency.measure import dense_ms, node_times, quick_effort, time_files
from slimmer.latency.table import NetworkRow, node_rows
from slimmer.profiling.runtimes import Array
from slimmer.recipe.latency_section import TimingSection

AT_ONCE = 5  # networks that are open beside the dense one; more would take gigabytes

Source = Callable[[int], Path]
"""The ONNX file of the network with a number; the dense one has number 0."""

Tell = Callable[[int], None]
"""Called with the number of networks that are measured."""

Early = Callable[[Sequence[NetworkRow]], None]
"""Called with the dense and the next network, before others are measured."""


def measured_networks(
    widths: Sequence[Sequence[int]],
    source: Source,
    images: Array,
    setting: TimingSection,
    means: Means,
    tell: Tell = lambda _: None,
    *,
    early: Early = lambda _: None,
    done: Callable[[Path], None] = lambda _: None,
) -> list[NetworkRow]:
    """The measured latency of every network at `widths`, the first of which is dense.

    One network takes turns with the dense one, then a few, then the next few. `done` is called with
    a file that is no longer needed.
    """
    dense = source(0)
    effort = quick_effort(dense_ms(dense, images, means))
    rows: list[NetworkRow] = []
    dense_times: list[float] = []
    tell(0)
    for start, end in _parts(len(widths)):
        numbers = range(start, end)
        files = [dense, *map(source, numbers)]
        taken = time_files(files, images, setting, means, effort)
        nodes = list(node_times(files[0 if start == 1 else 1 :], images, means))
        dense_times.append(taken[0].ms)
        first = 0 if start == 1 else 1
        for number, one, found in zip([0, *numbers][first:], taken[first:], nodes, strict=True):
            row = NetworkRow(
                widths=list(widths[number]), ms=one.ms, ratio=one.ratio, nodes=node_rows(found)
            )
            rows.append(row)
        for file in files[1:]:
            done(file)
        if start == 1:
            early(rows)
        tell(len(rows))
    usual = float(np.median(dense_times))
    return [row.model_copy(update={"ms": row.ratio * usual}) for row in rows]


def _parts(networks: int) -> Iterator[tuple[int, int]]:
    """The numbers of the networks that are open together, from the first to before the second.

    >>> list(_parts(9)), list(_parts(1))
    ([(1, 2), (2, 7), (7, 9)], [(1, 1)])
    """
    yield 1, min(2, networks)
    for start in range(2, networks, AT_ONCE):
        yield start, min(start + AT_ONCE, networks)
