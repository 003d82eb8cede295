"""What refitting layer by layer is worth right after the removal, beside today's compensation.

Today each removed channel is predicted from the kept ones at one position, once, on the dense
network's activations. Here every convolution of the slim network is refitted in order, over its
whole receptive field and on the slim net's own inputs, so that it gives the dense convolution's
outputs; the second convolution of a residual block also makes up for what the shortcut has lost (He
et al. 2017, section 3.2). For the CIFAR ResNets:

    python benchmarks/reconstruction.py recipes/cifar_resnet20.yaml CHECKPOINT CIFAR_DIR --flops 0.5
"""

import json
import sys
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import torch
from torch import Tensor, nn
from torch.nn.functional import unfold

from slimmer.criteria import magnitude_scores, taylor_scores
from slimmer.graph import Axis
from slimmer.models.copying import duplicate
from slimmer.pipeline.choose_plan import deal, target_plan, training_inputs
from slimmer.pipeline.job import PruningJob, prepare
from slimmer.pruning.apply import prune
from slimmer.pruning.batch_norms import recalibrate_
from slimmer.pruning.compensate import compensate_
from slimmer.pruning.plan import Plan
from slimmer.recipe import Recipe, read_recipe
from slimmer.training.evaluate import evaluate

RIDGE = 1e-3  # of the mean square of the inputs
LARGEST = 20.0  # of a norm's inverse scale, so that a dead norm asks for no miracle
SHARE = 4  # one position in so many is looked at


@click.command(help=__doc__)
@click.argument("recipe_file", type=Path)
@click.argument("checkpoint", type=Path)
@click.argument("data_path", type=Path)
@click.option("--flops", default=0.5, show_default=True)
@click.option("--batches", default=16, show_default=True, help="of training images, for each layer")
def main(recipe_file: Path, checkpoint: Path, data_path: Path, flops: float, batches: int) -> None:
    torch.set_num_threads(1)
    given = {
        "model.checkpoint": str(checkpoint),
        "data.path": str(data_path),
        "budget.flops": flops,
    }
    recipe = read_recipe(recipe_file, given.items())
    job = prepare(recipe)
    scores = taylor_scores(job.model, job.graph, as_trained(recipe, job, 64), recipe.seed)
    plan = target_plan(job, recipe, deal(scores, magnitude_scores(job.model, job.graph), job.graph))
    found: dict[str, float] = {
        "removed alone": top1(job, recalibrated(recipe, job, prune(job.model, plan)))
    }
    today = duplicate(job.model)
    compensate_(today, job.graph, plan, as_trained(recipe, job, 40))
    found["compensated"] = top1(job, recalibrated(recipe, job, prune(today, plan)))
    for residual in (False, True):
        slim, began = prune(job.model, plan).eval(), time.perf_counter()
        refit_(
            slim, job.model.eval(), plan, list(as_trained(recipe, job, batches)), residual=residual
        )
        name = "refitted" + ", shortcuts made up for" * residual
        found[name] = top1(job, slim)
        found[f"{name}, recalibrated"] = top1(job, recalibrated(recipe, job, slim))
        found[f"{name}, seconds"] = round(time.perf_counter() - began, 1)
    command = " ".join(["python", *sys.argv])
    print(
        json.dumps(
            {"command": command, "date": datetime.now(UTC).isoformat(timespec="seconds"), **found},
            indent=2,
        )
    )


def as_trained(recipe: Recipe, job: PruningJob, number: int) -> Iterable[Any]:
    assert job.task is not None
    return training_inputs(job.task, recipe, number, augment=True)


def recalibrated(recipe: Recipe, job: PruningJob, slim: nn.Module) -> nn.Module:
    slim = duplicate(slim)
    recalibrate_(slim, as_trained(recipe, job, 40))
    return slim


def top1(job: PruningJob, network: nn.Module) -> float:
    return (evaluate(network, job.task) or {})["top-1"]


def refit_(
    slim: nn.Module, dense: nn.Module, plan: Plan, images: list[Tensor], *, residual: bool
) -> None:
    """Refit every convolution of `slim` in order; what its norm subtracts takes up the constant."""
    removed = plan.removed()
    for name in [name for name, module in slim.named_modules() if isinstance(module, nn.Conv2d)]:
        wide, conv = dense.get_submodule(name), slim.get_submodule(name)
        gone = set(removed.get(Axis(f"{name}.weight", 0), ()))
        kept = [channel for channel in range(wide.out_channels) if channel not in gone]
        inputs, products = moments(
            slim, dense, name, kept, images, residual=residual and name.endswith("conv2")
        )
        before = torch.cat(
            [conv.weight.detach().flatten(1).T.double(), torch.zeros(1, len(kept)).double()]
        )
        ridge = RIDGE * inputs.diagonal().mean() * torch.eye(len(inputs)).double()
        after = before + torch.linalg.solve(inputs + ridge, products - inputs @ before)
        with torch.no_grad():
            conv.weight.copy_(after[:-1].T.reshape(conv.weight.shape))
            slim.get_submodule(name.replace("conv", "bn")).running_mean.sub_(after[-1])


def moments(
    slim: nn.Module,
    dense: nn.Module,
    name: str,
    kept: list[int],
    images: list[Tensor],
    *,
    residual: bool,
) -> tuple[Tensor, Tensor]:
    """Second moments of the slim convolution's patches and a constant, and their products with the
    wanted outputs.
    """
    conv, seen = slim.get_submodule(name), {}
    watched = {"x": conv, "y": dense.get_submodule(name)}
    if residual:
        block = name.rpartition(".")[0]
        norm = dense.get_submodule(f"{block}.bn2")
        scale = (norm.running_var + norm.eps).sqrt() / norm.weight
        scale = (scale.sign() * scale.abs().clamp(max=LARGEST)).detach()[kept].view(1, -1, 1, 1)
        watched |= {"slim": slim.get_submodule(block), "dense": dense.get_submodule(block)}
    hooks = [watch(module, seen, key) for key, module in watched.items()]
    patches_total, products_total = torch.zeros(()), torch.zeros(())
    for batch in images:
        with torch.no_grad():
            slim(batch), dense(batch)
        wanted = seen["y"][1][:, kept]
        if residual:
            wanted = wanted + scale * (
                shortcut(dense, block, seen["dense"][0])[:, kept]
                - shortcut(slim, block, seen["slim"][0])
            )
        patches = unfold(seen["x"][0], conv.kernel_size, padding=conv.padding, stride=conv.stride)
        places = torch.randperm(patches.shape[2])[: max(16, patches.shape[2] // SHARE)]
        rows = patches[:, :, places].transpose(1, 2).flatten(0, 1).double()
        rows = torch.cat([rows, rows.new_ones(len(rows), 1)], 1)
        targets = wanted.flatten(2)[:, :, places].transpose(1, 2).flatten(0, 1).double()
        patches_total, products_total = (
            patches_total + rows.T @ rows,
            products_total + rows.T @ targets,
        )
    for hook in hooks:
        hook.remove()
    return patches_total, products_total


def watch(
    module: nn.Module, seen: dict[str, tuple[Tensor, Tensor]], key: str
) -> torch.utils.hooks.RemovableHandle:
    return module.register_forward_hook(
        lambda _module, inputs, output: seen.update({key: (inputs[0], output)})
    )


def shortcut(network: nn.Module, block: str, x: Tensor) -> Tensor:
    module = getattr(network.get_submodule(block), "shortcut", None)
    with torch.no_grad():
        return x if module is None else module(x)


if __name__ == "__main__":
    main()
