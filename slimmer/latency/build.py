"""The latency of a network as a cost: measured networks, and the fit to them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from slimmer.costs import Subject
from slimmer.costs.latency import LatencyCost, LatencyForm, Widths
from slimmer.errors import BudgetError, ModelError, RunError
from slimmer.graph import is_image
from slimmer.latency import means as latency_means
from slimmer.latency.bench import Bench
from slimmer.latency.check_slices import exporting_if_needed
from slimmer.latency.common_nodes import Observed
from slimmer.latency.fit import Fit, fitted
from slimmer.latency.measure import check_tellable
from slimmer.latency.networks import (
    limits_of,
    multiple_for,
    narrowest,
    sampled,
    smallest,
)
from slimmer.latency.sliced_file import dense_file
from slimmer.latency.table import (
    NetworkRow,
    Table,
    cache_file,
    check_fits,
    machine_of,
    nodes_in,
    read_cached,
    read_table,
    setting_of,
    write_cached,
)
from slimmer.profiling.runtimes.providers import check_provider
from slimmer.recipe.amounts import Amount
from slimmer.recipe.budget import BudgetSection
from slimmer.recipe.costs import COSTS
from slimmer.runs.events import Observe, stage

NAME = "latency"


@dataclass(frozen=True, eq=False)
class MeasuredLatency(LatencyCost):
    """A latency with what it was fitted to, and the bench on which networks are measured."""

    bench: Bench | None = None
    table: Table | None = None
    fit: Fit | None = None
    here: bool = True  # whether the table was measured on this machine

    @property
    def multiple(self) -> int:
        """The number of which the measured widths are multiples."""
        return 1 if self.table is None else self.table.multiple


def build(subject: Subject) -> MeasuredLatency:
    """The latency of the dense network as a function of widths, measured in the setting of
    `subject.budget`.

    Networks are measured on this machine unless there is a cached table, or the setting names one.
    Raises BudgetError if even the narrowest network is above the budget; ModelError for networks
    that do not take images; RuntimeUnavailableError for a provider that is not active, and for a
    machine that is too noisy for wall time; RunError for a table of another network or setting.
    """
    graph, budget = subject.graph, subject.budget
    if not graph.groups:
        return MeasuredLatency(NAME, 1, _constant(1.0))
    section, observe = budget.timing, subject.observe
    carried = None
    if section.table is None:
        check_provider(section.provider)
    else:
        carried = read_table(Path(section.table))  # a damaged file is refused before the export
    observe(stage("exporting the dense network to measure its latency"))
    bench = bench_of(subject)
    if carried is not None:
        table = _fitting(carried, bench, budget)
        here = table.machine == machine_of(bench.machine())
    else:
        table, here = _measured(bench, budget, observe), True
    if here and budget.latency is not None and section.threads != 1:
        observe(stage("checking that other work does not hide differences of 3 %"))
        near = table.nearest(limit_of(budget.amounts()[NAME], 1e6 * table.dense_ms) / 1e6)
        check_tellable(bench.measure(near.widths)[1], bench.means, section)
    return cost_of(bench, table, here=here)


def bench_of(subject: Subject) -> Bench:
    """The bench of the dense network, in the setting of `subject.budget`.

    The files of other widths are sliced from the dense one's, or exported one by one if that file
    can't be sliced, which a note says. Raises ModelError if the network does not take images.
    """
    graph, budget = subject.graph, subject.budget
    section = budget.timing
    if not is_image(subject.inputs):
        found = "a latency budget needs a network that takes images, and this one takes a call"
        raise ModelError("budget.latency", found, "give another budget, such as --flops")
    channels, *size = subject.inputs
    shape = channels, *(section.image_size or size)
    bench = Bench(dense_file(subject, shape), shape, section, latency_means.means_of(section))
    limits = limits_of(graph, budget, multiple_for(budget))
    bench = exporting_if_needed(bench, subject, narrowest(graph, limits))
    if graph.branches and bench.export is None:
        bench = exporting_if_needed(bench, subject, smallest(graph, limits))
    return bench


def cost_of(bench: Bench, table: Table, *, here: bool = True) -> MeasuredLatency:
    """The cost that is fitted to a table."""
    rows = [row for row in table.networks if min(row.widths, default=1) > 0]
    observed = [Observed(tuple(row.widths), 1e6 * row.ms, nodes_in(row)) for row in rows]
    fit = fitted(observed, *bench.dense.axis_widths())
    dense = round(1e6 * table.dense_ms)
    return MeasuredLatency(NAME, dense, fit.form, bench, table, fit, here)


def limit_of(amount: Amount | None, dense: float) -> float:
    """The budget in nanoseconds; infinite without one."""
    return float("inf") if amount is None else amount.of(dense)


def _fitting(table: Table, bench: Bench, budget: BudgetSection) -> Table:
    """The table that the setting names. Raises RunError unless it fits."""
    path = Path(str(budget.timing.table))
    check_fits(table, bench.described, setting_of(budget.timing), str(path))
    if budget.round_to is not None and budget.round_to % table.multiple:
        found = f"was measured at multiples of {table.multiple}, not of {budget.round_to}"
        raise RunError(str(path), found, f"give --round-to {table.multiple}, or leave it out")
    graph = bench.dense.graph
    least = smallest(graph, limits_of(graph, budget, table.multiple))
    known = table.measured(least)
    if known is not None:
        _check_reached(budget, table.dense_ms, known.ms, table.machine)
    return table


def _measured(bench: Bench, budget: BudgetSection, observe: Observe) -> Table:
    """The cached table, or a new one. Raises BudgetError as soon as the narrowest network is known
    to be too slow.
    """
    graph, machine = bench.dense.graph, machine_of(bench.machine())
    sizes = [group.size for group in graph.groups]
    multiple = multiple_for(budget)
    limits = limits_of(graph, budget, multiple)
    least = smallest(graph, limits)
    network, setting = bench.described, setting_of(bench.setting)
    key = {**machine, "multiple": multiple}
    if graph.branches:
        key["branches"] = len(graph.branches)
    path = cache_file(network, setting, key)
    table, note = read_cached(path)
    _tell_note(note, observe)
    known = None if table is None else table.measured(least)
    if table is not None and known is not None:
        _check_reached(budget, table.dense_ms, known.ms, machine)
        return table
    observe(stage(f"measuring the dense and the narrowest network ({_said(bench)})"))

    def early(rows: Sequence[NetworkRow]) -> None:
        dense, narrow = rows
        _check_reached(budget, dense.ms, narrow.ms, machine)

    if table is not None:
        bench.rows([sizes, least], early=early)
        return table

    widths = sampled(graph, multiple, narrowest(graph, limits))
    if graph.branches:
        widths.insert(1, least)

    def tell(done: int) -> None:
        observe({"event": "latency_networks", "done": done, "networks": len(widths)})

    rows = bench.rows(widths, tell, early)
    table = Table(
        format=1,
        network=network,
        setting=setting,
        machine=machine,
        multiple=multiple,
        networks=rows,
    )
    _tell_note(write_cached(table, path), observe)
    return table


def _tell_note(note: str | None, observe: Observe) -> None:
    if note is not None:
        observe({"event": "note", "text": note})


def _check_reached(
    budget: BudgetSection, dense_ms: float, least_ms: float, machine: dict[str, Any]
) -> None:
    """Raise BudgetError if the narrowest network is slower than the budget."""
    amount = budget.amounts().get(NAME)
    limit, kind = limit_of(amount, 1e6 * dense_ms), COSTS[NAME]
    if 1e6 * least_ms <= limit:
        return
    found = (
        f"at most {kind.short(limit)} ({limit / dense_ms / 1e6:.1%} of the dense network's "
        f"{dense_ms:.4g} ms) can't be met: at its narrowest, the network takes "
        f"{least_ms:.4g} ms ({least_ms / dense_ms:.1%}), measured on {machine.get('cpu')}"
    )
    reachable = math.ceil(100 * least_ms / dense_ms)
    right = (
        f"give {reachable}% or more: what remains is spent on layers and operations whose time "
        "does not depend on prunable channels (`slimmer inspect --latency`)"
    )
    raise BudgetError("budget.latency", found, right)


def _said(bench: Bench) -> str:
    setting = bench.setting
    threads = "one thread per core" if setting.threads is None else f"threads {setting.threads}"
    return f"{setting.provider}, {threads}, batch {setting.batch}, {setting.precision}"


def _constant(ns: float) -> LatencyForm:
    none = Widths(np.zeros((0, 0)), np.zeros(0))
    return LatencyForm(none, none, none, np.zeros((0, 4)), np.zeros((0, 4)), ns, 1)


def corrected(cost: MeasuredLatency, widths: Sequence[int], ns: float) -> MeasuredLatency:
    """The cost scaled so that it is `ns` at `widths`, where that was measured."""
    now = cost.form.value(np.asarray(widths, dtype=np.float64))
    return replace(cost, form=cost.form.scaled(ns / now))
