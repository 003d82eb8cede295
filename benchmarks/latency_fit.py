"""How well a latency is predicted for networks that were not measured.

    python benchmarks/latency_fit.py --out benchmarks/results/latency_fit.json

For each network, 15 networks of different widths are measured as `--latency` does, then 12 others
from another seed. Four predictions are fitted to the first and compared on the others: a line in
FLOPs; a line in the sum of convolutions and linear layers that are each timed alone; slimmer's fit;
and the same fit without node times, as on a GPU. Latency is CPU time on one thread, and wall time
on several. Errors are relative: mean and largest.
"""

import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import numpy as np
import onnx
from latency_budget import network
from onnx import TensorProto, helper

from slimmer.atomic_files import write_json
from slimmer.latency.bench import Bench
from slimmer.latency.build import cost_of
from slimmer.latency.common_nodes import Observed
from slimmer.latency.fit import fitted
from slimmer.latency.means import estimated, means_of
from slimmer.latency.measure import blocks_of, quiet_ms
from slimmer.latency.networks import limits_of, multiple_for, narrowest, sampled
from slimmer.latency.sliced_file import dense_file
from slimmer.latency.table import Table, machine_of, nodes_in, setting_of
from slimmer.pipeline.job import examine
from slimmer.pipeline.recount import subject_of
from slimmer.pipeline.sources import name_module
from slimmer.profiling.runtimes.environment import environment
from slimmer.profiling.timing import Effort, time_in_turns
from slimmer.recipe.budget import BudgetSection
from slimmer.recipe.latency_section import TimingSection
from slimmer.recipe.sections import ModelSection

UNSEEN = 12
NETS = "cifar_resnet20:1,resnet18:1,resnet18:2,torchvision/mobilenet_v2:1"


@click.command(help=__doc__)
@click.option("--out", type=Path, required=True)
@click.option("--nets", default=NETS, show_default=True, help="NETWORK:THREADS, with commas")
def main(out: Path, nets: str) -> None:
    rows = []
    for each in nets.split(","):
        name, threads = each.rsplit(":", 1)
        rows.append({"net": name, "threads": int(threads), **compared(name, int(threads))})
        print(rows[-1], flush=True)
        found = {
            "command": " ".join(["python", *sys.argv]),
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "environment": environment(),
            "rows": rows,
        }
        write_json(out, found)


def compared(name: str, threads: int) -> dict[str, Any]:
    """The errors of the four predictions for a network."""
    load = os.getloadavg()[0]
    model, size = network(name)
    identity = name_module(model, ModelSection(input_size=size), None)
    model, graph, costs, cut, scope = examine(model, identity)
    subject = subject_of(model, model, graph, scope, cut)
    section = TimingSection(threads=threads)
    bench = Bench(dense_file(subject, size), size, section, means_of(section))
    budget = BudgetSection(timing=section)
    multiple = multiple_for(budget)
    floors = narrowest(graph, limits_of(graph, budget, multiple))
    seen = sampled(graph, multiple, floors)
    others = sampled(graph, multiple, floors, UNSEEN + 2, seed=1)[2:]
    rows = bench.rows([*seen, *others])
    table = Table(
        format=1,
        network=bench.described,
        setting=setting_of(section),
        machine=machine_of(bench.machine()),
        multiple=multiple,
        networks=rows[: len(seen)],
    )
    times = np.array([row.ms for row in rows])
    flops = next(cost for cost in costs if cost.name == "flops")
    counts = np.array([flops.exact(row.widths) for row in rows], dtype=np.float64)
    alone = Alone(bench)
    sums = np.array([alone.sum(row.widths) for row in rows])
    fit = cost_of(bench, table).form
    observed = [
        Observed(tuple(row.widths), 1e6 * row.ms, tuple(map(estimated, nodes_in(row))))
        for row in table.networks
    ]
    totals = fitted(observed, *bench.dense.axis_widths()).form
    widths = [np.array(row.widths, dtype=np.float64) for row in rows]
    return {
        "load": load,
        "networks": len(seen),
        "unseen": len(others),
        "ratio_range": [float(times.min() / times[0]), 1.0],
        "flops": errors(line(counts, times, len(seen)), times, len(seen)),
        "layers_alone": errors(line(sums, times, len(seen)), times, len(seen)),
        "fit": errors(np.array([fit.value(each) / 1e6 for each in widths]), times, len(seen)),
        "fit_without_node_times": errors(
            np.array([totals.value(each) / 1e6 for each in widths]), times, len(seen)
        ),
    }


def line(values: Any, times: Any, seen: int) -> Any:
    """The line in `values` with the least relative errors on the first networks, everywhere."""
    table = np.stack([values, np.ones_like(values)], axis=1)
    weight = 1 / times[:seen]
    found, *_ = np.linalg.lstsq(table[:seen] * weight[:, None], np.ones(seen), rcond=None)
    return table @ found


def errors(predicted: Any, times: Any, seen: int) -> dict[str, float]:
    """The mean and the largest relative error on the networks that were not seen."""
    found = np.abs(predicted[seen:] / times[seen:] - 1)
    return {"mean": float(found.mean()), "largest": float(found.max())}


class Alone:
    """Layers that are timed in sessions of their own, each shape once."""

    def __init__(self, bench: Bench) -> None:
        self.bench, self.known = bench, {}

    def sum(self, widths: Sequence[int]) -> float:
        """The milliseconds of all convolutions and linear layers at `widths`."""
        file = onnx.shape_inference.infer_shapes(self.bench.dense.at(widths))
        shapes = {each.name: list(each.dims) for each in file.graph.initializer}
        for value in (*file.graph.input, *file.graph.value_info):
            dims = value.type.tensor_type.shape.dim
            shapes.setdefault(value.name, [dim.dim_value or 1 for dim in dims])
        total = 0.0
        for node in file.graph.node:
            if node.op_type in ("Conv", "Gemm"):
                total += self.time(node, [shapes[name] for name in node.input])
        return total

    def time(self, node: onnx.NodeProto, shapes: list[list[int]]) -> float:
        """The milliseconds of one layer."""
        alike = onnx.NodeProto()
        alike.CopyFrom(node)
        for field in ("name", "input", "output"):
            alike.ClearField(field)
        key = str(alike), str(shapes)
        if key not in self.known:
            self.known[key] = self._timed(alike, shapes)
        return self.known[key]

    def _timed(self, node: onnx.NodeProto, shapes: list[list[int]]) -> float:
        names = [f"x{index}" for index in range(len(shapes))]
        node.input.extend(names)
        node.output.append("y")
        draw = np.random.default_rng(0)
        weights = []
        for name, shape in zip(names[1:], shapes[1:], strict=True):
            array = draw.standard_normal(shape, dtype=np.float32)
            weights.append(onnx.numpy_helper.from_array(array, name))
        given = helper.make_tensor_value_info("x0", TensorProto.FLOAT, shapes[0])
        made = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
        graph = helper.make_graph([node], "layer", [given], [made], weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)])
        model.ir_version = 10  # what runtimes of that operator set can read
        means = self.bench.means
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "layer.onnx"
            onnx.save(model, path)
            session = means.open(path)
            run = session.prepare(draw.standard_normal(shapes[0], dtype=np.float32))
            effort = Effort(seconds=0.01, runs=3, blocks=3)
            clocks = replace(means.clocks)
            [taken] = time_in_turns(
                ["layer"], [run], effort, clocks=clocks, tell=untold, precise=lambda _: True
            )
            session.close()
        return quiet_ms(blocks_of(taken, self.bench.setting))


def untold(step: str, steps: int = 1) -> None:
    """Tell nobody."""


if __name__ == "__main__":
    main()
