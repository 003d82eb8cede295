"""What explains a profile's timings: traces, and first uses in separate processes."""

from collections.abc import Sequence
from itertools import product

import numpy as np

from slimmer.profiling.means import Means, Network
from slimmer.profiling.results import Case, Conditions, FreshUse, TracedRun
from slimmer.profiling.runtimes import Array
from slimmer.profiling.runtimes.known import RUNTIMES
from slimmer.profiling.timing import Tell


def explain(
    networks: Sequence[Network], conditions: Conditions, means: Means, tell: Tell
) -> tuple[list[TracedRun], list[FreshUse], list[Case]]:
    """Traces, first uses, and the cases whose first use failed.

    They use the first number of threads, and are measured before any session is open.
    """
    traces: list[TracedRun] = []
    fresh: list[FreshUse] = []
    lost: list[Case] = []
    threads = conditions.threads[0]
    for name, network, batch in product(conditions.runtimes, networks, conditions.batches):
        entry, case = RUNTIMES[name], Case(network.name, name, threads, batch)
        shape = (batch, *conditions.input_size)
        if means.trace is not None and entry.trace is not None:
            tell(f"{network.name}, batch {batch}: tracing nodes")
            trace = means.trace(name, network.path, random_images(shape, conditions.seed), threads)
            traces.append(TracedRun(**vars(case), trace=trace))
        if means.fresh is not None and entry.first_use is not None:
            tell(f"{network.name}, batch {batch}: first use in a separate process")
            cost = means.fresh(name, network.path, shape, threads)
            if cost is None:
                lost.append(case)
            else:
                fresh.append(FreshUse(**vars(case), cost=cost))
    return traces, fresh, lost


def explaining_steps(networks: int, conditions: Conditions, means: Means) -> int:
    """The number of steps that `explain` announces."""
    each = 0
    for name in conditions.runtimes:
        entry = RUNTIMES[name]
        each += means.fresh is not None and entry.first_use is not None
        each += means.trace is not None and entry.trace is not None
    return networks * len(conditions.batches) * each


def random_images(shape: tuple[int, ...], seed: int) -> Array:
    """Standard normal images of `shape`, float32."""
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)
