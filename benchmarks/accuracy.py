"""Accuracy at a FLOP budget: slimmer beside Torch-Pruning and ModelOpt, same data, images,
optimizer and schedule.

One network and one method a call; the result is a JSON file that `benchmarks/table.py` puts into a
table:

    python benchmarks/accuracy.py recipes/cifar_resnet20.yaml CHECKPOINT CIFAR_DIR slimmer --out
    benchmarks/results

METHOD is `slimmer` (the default), another method of slimmer's, a pruner of Torch-Pruning's
(tp-...), or `fastnas`, ModelOpt's, which must be installed.
"""

import json
import sys
import tempfile
import time
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any

import click
import torch
from fastnas import FASTNAS, check_installed, prune_by_fastnas
from peers import IMPORTANCES, prune_by_peer
from torch import nn

from slimmer.costs.flops import count_flops
from slimmer.data import Data, batches, evaluation_batches
from slimmer.exporting.onnx import export_onnx
from slimmer.exporting.parity import check_parity
from slimmer.pipeline.choose_plan import training_inputs, training_of
from slimmer.pipeline.job import PruningJob, prepare
from slimmer.pipeline.stages import start
from slimmer.profiling.runtimes.environment import environment
from slimmer.profiling.runtimes.onnxruntime import accuracy as onnx_accuracy
from slimmer.pruning.batch_norms import recalibrate_
from slimmer.pruning.slim_file import load_network
from slimmer.recipe import Recipe, parse_setting, read_recipe
from slimmer.recipe.costs import COSTS
from slimmer.training.devices import make_engine
from slimmer.training.evaluate import accuracy
from slimmer.training.learner import make_learner
from slimmer.training.loop import train_

# Slimmer's methods by the name that the tables have for them: what their recipe's method section
# says.
METHODS: dict[str, dict[str, Any]] = {
    "slimmer": {"name": "auto"},
    "maskconvnet": {"name": "maskconvnet", "sparsify": 0.5, "mask_lr": 0.5},
    "maskconvnet-dual": {
        "name": "maskconvnet",
        "sparsify": 0.5,
        "mask_lr": 0.5,
        "controller": "dual",
        "pull": "cost",
        "compensate": True,
    },
    "network_slimming": {"name": "network_slimming", "sparsify": 0.5, "strength": 1e-3},
    "bar": {"name": "bar", "sparsify": 0.5},
    "l1": {"name": "l1"},
    "l1-sensitivity": {"name": "l1", "sensitivity": 2, "priced": True},
    "l2": {"name": "l2", "compensate": False, "priced": False},
    "l2-priced": {"name": "l2", "compensate": False, "priced": True},
    "bn_scale": {"name": "bn_scale", "compensate": False, "priced": False},
    "bn_scale-priced": {"name": "bn_scale", "compensate": False, "priced": True},
    "taylor": {"name": "taylor", "even": 0.0, "stream": 0.0, "compensate": False},
    "taylor-sensitivity": {"name": "taylor", "even": 0.0, "stream": 0.0, "sensitivity": 2},
    "random": {"name": "random", "compensate": False},
}
VERSIONS = ("torch", "torch-pruning", "onnxruntime-gpu")
NEEDED = {FASTNAS: ("nvidia-modelopt", "torchprofile")}  # by one method alone
PEERS = (*IMPORTANCES, FASTNAS)
TAYLOR_BATCHES = 64  # from which Torch-Pruning's Taylor scores are taken, as many as slimmer's own


@click.command(help=__doc__)
@click.argument("recipe_file", type=Path)
@click.argument("checkpoint", type=Path)
@click.argument("data_path", type=Path)
@click.argument("method", type=click.Choice([*METHODS, *PEERS]))
@click.option("--out", type=Path, required=True)
@click.option(
    "--distill/--no-distill", default=False, help="give the peer slimmer's distillation too"
)
@click.option(
    "--search", type=Path, help="a file that FastNAS keeps its scores in, and goes on from"
)
@click.option("--threads", default=2, show_default=True)
@click.option("--set", "settings", multiple=True)
def main(
    recipe_file: Path,
    checkpoint: Path,
    data_path: Path,
    method: str,
    out: Path,
    distill: bool,
    search: Path | None,
    threads: int,
    settings: tuple[str, ...],
) -> None:
    torch.set_num_threads(threads)
    if method == FASTNAS:
        check_installed()
    fixed = [("model.checkpoint", str(checkpoint)), ("data.path", str(data_path))]
    chosen = [("method", METHODS[method])] if method in METHODS else []
    recipe = read_recipe(recipe_file, [*fixed, *chosen, *map(parse_setting, settings)])
    if method in PEERS:
        weight = recipe.finetune.distill * distill
        finetune = recipe.finetune.model_copy(update={"distill": weight})
        recipe = recipe.model_copy(update={"finetune": finetune})
    began = time.perf_counter()
    if method in METHODS:
        slim, job, found = run_slimmer(recipe)
    else:
        slim, job, found = run_peer(recipe, method, search)
    assert job.task is not None
    data = job.task.data
    assert data is not None
    net = job.identity.arch.rpartition(":")[2]
    budgets = {budget.cost.name: budget.ratio for budget in job.budgets}
    size, dense = job.identity.input_size, count_flops(job.model, job.identity.input_size)
    top1, parity = through_onnx(slim, size, data)
    result = {
        "command": " ".join(["python", *sys.argv]),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "net": net,
        "method": method,
        "distill": recipe.finetune.distill,
        "seed": recipe.seed,
        "epochs": recipe.finetune.epochs,
        "images": round(recipe.finetune.epochs * len(data.train)),
        "convention": COSTS["flops"].convention,
        "budgets": budgets,
        "flops_ratio": count_flops(slim, size) / dense,
        "params_ratio": sum(p.numel() for p in slim.parameters()) / found.pop("params"),
        "accuracy_onnxruntime": top1,
        "parity_max_abs": parity,
        **found,
        "seconds": round(time.perf_counter() - began, 1),
        "threads": threads,
        "versions": {name: version(name) for name in (*VERSIONS, *NEEDED.get(method, ()))},
        "environment": environment(),
        "recipe": json.loads(recipe.model_dump_json()),
    }
    out.mkdir(parents=True, exist_ok=True)
    name = row_name(net, method, budgets, recipe.seed, distill=distill)
    (out / name).write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(f"{name}: {top1:.2%} at {result['flops_ratio']:.2%} of the FLOPs")


def row_name(net: str, method: str, budgets: dict[str, float], seed: int, *, distill: bool) -> str:
    """The file of one row; `budgets` by their costs, as shares of dense."""
    limits = "-".join(f"{cost}{share * 100:.0f}" for cost, share in budgets.items())
    return f"{net}-{method}{'-distill' * distill}-{limits}-seed{seed}.json"


def through_onnx(slim: nn.Module, size: tuple[int, int, int], data: Data) -> tuple[float, float]:
    """Top-1 of the network's ONNX file on the test images, and its largest difference from
    PyTorch.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "slim.onnx"
        export_onnx(slim, path, size, metadata={})
        parity = check_parity(slim, path, torch.randn(16, *size))
        return onnx_accuracy(path, evaluation_batches(data.test, data, 500)), parity.max_abs


def run_slimmer(recipe: Recipe) -> tuple[nn.Module, PruningJob, dict[str, Any]]:
    """The network that a run of slimmer ends with."""
    with tempfile.TemporaryDirectory() as folder:
        run, report = start(recipe, Path(folder) / "run", _say)
        slim = load_network(run.slim)
    top1 = report["accuracy"]
    return (
        slim,
        prepare(recipe),
        {
            "params": report["params"]["dense"],
            "accuracy_dense": top1["dense"],
            "accuracy_removed": top1["removed"],
        },
    )


def run_peer(
    recipe: Recipe, method: str, search: Path | None = None
) -> tuple[nn.Module, PruningJob, dict[str, Any]]:
    """The network that a peer gives, trained by slimmer's own loop on the same images."""
    job = prepare(recipe)
    assert job.task is not None
    data = job.task.data
    assert data is not None
    slim, found = _pruned(recipe, job, data, method, search)
    slim = slim.to(memory_format=torch.channels_last)
    number = recipe.finetune.recalibrate
    recalibrate_(slim, training_inputs(job.task, recipe, number, augment=True))
    top1 = {"accuracy_dense": _top1(job.model, data), "accuracy_removed": _top1(slim, data)}
    training = training_of(recipe, job)
    fabric = make_engine(recipe.device)
    learner = make_learner(slim, training)
    stop = training.steps(job.task)
    train_(fabric, learner, job.model.eval(), job.task, training, stop=stop, observe=_say)
    params = sum(parameter.numel() for parameter in job.model.parameters())
    return slim.eval(), job, {"params": params, **top1, **found}


def _pruned(
    recipe: Recipe, job: PruningJob, data: Data, method: str, search: Path | None
) -> tuple[nn.Module, dict[str, Any]]:
    """The network that a peer gives, and what its row says of the search."""
    size, flops = job.identity.input_size, job.budgets[0].ratio
    if method == FASTNAS:
        return prune_by_fastnas(job.model, size, flops, data, kept=search)
    labelled = batches(
        data.train,
        data,
        batch_size=recipe.finetune.batch_size,
        epoch=0,
        seed=recipe.seed,
        augment="none",
    )
    slim = prune_by_peer(
        method,
        job.model,
        size,
        flops,
        islice(labelled, TAYLOR_BATCHES),
        global_pruning=True,
        round_to=recipe.budget.round_to,
    )
    return slim, {}


def _top1(model: nn.Module, data: Data) -> float:
    return accuracy(model, evaluation_batches(data.test, data, 500))


def _say(event: dict[str, Any]) -> None:
    if event["event"] != "step" or event["step"] % 100 == 0:
        print({key: value for key, value in event.items() if key != "report"}, flush=True)


if __name__ == "__main__":
    main()
