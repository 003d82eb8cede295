"""The measurement of many networks for a table, a few at a time. Imports no torch."""

from collections.abc import Callable, Sequence
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


def measured_networks(
    widths: Sequence[Sequence[int]],
    source: Source,
    images: Array,
    setting: TimingSection,
    means: Means,
    tell: Tell = lambda _: None,
    *,
    done: Callable[[Path], None] = lambda _: None,
) -> list[NetworkRow]:
    """The measured latency of every network at `widths`, the first of which is dense.

    A few networks take turns with the dense one, then the next few. `done` is called with a file
    that is no longer needed.
    """
    dense = source(0)
    effort = quick_effort(dense_ms(dense, images, means))
    rows: list[NetworkRow] = []
    dense_times: list[float] = []
    tell(0)
    for start in range(1, max(2, len(widths)), AT_ONCE):
        numbers = range(start, min(start + AT_ONCE, len(widths)))
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
        tell(len(rows))
    usual = float(np.median(dense_times))
    return [row.model_copy(update={"ms": row.ratio * usual}) for row in rows]
