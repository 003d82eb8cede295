"""The stages of a run in order: network, channel groups, masks, plan, slim network, report."""

import time
from collections.abc import Callable
from copy import deepcopy
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from lightning_fabric import Fabric
from torch import Tensor, nn

from slimmer.costs.flops import count_conv_linear, count_flops
from slimmer.data import Data, evaluation_batches
from slimmer.engine import make_engine
from slimmer.errors import DataError, ModelError
from slimmer.evaluate import accuracy, recalibrate_
from slimmer.files import read_json, write_json, write_text
from slimmer.finetune import Learner, Training, make_learner, train_
from slimmer.masks import Masked, fold_
from slimmer.plan import Plan
from slimmer.prepare import Task, prepare
from slimmer.probe import check_same
from slimmer.prune import prune, slice_tensors
from slimmer.recipe import Recipe
from slimmer.report import cost_report, to_markdown
from slimmer.run import Run, mark_latest, new_run
from slimmer.runtimes.environment import environment
from slimmer.slim import save_network
from slimmer.sparsify import choose_method, sparsify_steps, target_plan, training_images, training_of
from slimmer.state import SavedState

Observe = Callable[[dict[str, Any]], None]


def start(
    recipe: Recipe,
    out: Path | None = None,
    observe: Observe = lambda _: None,
    *,
    model: nn.Module | None = None,
    data: Data | None = None,
) -> tuple[Run, dict[str, Any]]:
    """Begin a run in `out` (default: the next free directory below runs/) and bring it to its report.

    Nothing is written before the network, the data and the budgets are found to fit together.
    """
    fabric = make_engine(recipe.device, recipe.finetune.precision)
    task = prepare(recipe, model, data)
    run = new_run(out, task.identity.arch) if fabric.global_rank == 0 else Run(Path())
    run = Run(Path(fabric.broadcast(str(run.path))))
    tell = _teller(fabric, run, observe)
    fabric.to_device(task.model)
    measured = _measure_dense(fabric, task, recipe, observe)
    if fabric.global_rank == 0:
        write_text(run.recipe_file, recipe.to_yaml())
        save_network(run.dense, task.model, task.identity, None, {})
        write_json(run.measured, measured)
        mark_latest(run)
    return run, _stages(fabric, run, recipe, task, measured, tell)


def resume(run: Run, observe: Observe = lambda _: None) -> dict[str, Any]:
    """Go on with a run that was stopped, from the last state it saved; a finished run gives its report again."""
    if run.report.is_file():
        return dict(read_json(run.report))
    recipe = run.recipe()
    fabric = make_engine(recipe.device, recipe.finetune.precision)
    task = prepare(recipe)
    fabric.to_device(task.model)
    measured = read_json(run.measured) if run.measured.is_file() else _measure_dense(fabric, task, recipe, observe)
    return _stages(fabric, run, recipe, task, measured, _teller(fabric, run, observe))


def _stages(
    fabric: Fabric, run: Run, recipe: Recipe, task: Task, measured: dict[str, Any], tell: Observe
) -> dict[str, Any]:
    """Masks, removal, training of the slim network, report; each skipped where its value is there already."""
    began = time.perf_counter()
    training = training_of(recipe, task)
    saved = SavedState(fabric, run.state, recipe.finetune.save_every)
    teacher = deepcopy(task.model).eval().requires_grad_(requires_grad=False)
    stage, step, tensors = saved.load()
    if stage != "slim":
        plan, slim, momentum, step = _sparsify(fabric, task, recipe, training, teacher, saved, (step, tensors), tell)
        _recalibrate(slim, task, recipe)
        measured["accuracy_removed"] = _accuracy(slim, task.data)
        learner = make_learner(slim, training)
        learner.restore_({**learner.state(), **momentum}, step)
        if fabric.global_rank == 0:
            write_text(run.plan, plan.to_json())
            write_json(run.measured, measured)
        saved.write("slim", learner, {})
        tell(
            {
                "event": "removed",
                "step": step,
                "accuracy": measured["accuracy_removed"],
                **{cost.name: cost.exact(plan.widths) / cost.dense for cost in task.costs},
            }
        )
    else:
        plan = Plan.from_json(run.plan.read_text(encoding="utf-8"), str(run.plan))
        learner = make_learner(fabric.to_device(prune(task.model, plan)), training)
        learner.restore_(tensors, step)
    slim = learner.network
    if task.data is not None and learner.step < training.steps(task.data):
        _train(fabric, learner, teacher, task.data, training, saved, tell)
        _recalibrate(slim, task, recipe)
    measured["accuracy_slim"] = _accuracy(slim, task.data)
    seconds = time.perf_counter() - began
    report = _report(run, recipe, task, plan, slim, measured, seconds)
    if fabric.global_rank == 0:
        notes = {"slimmer": version("slimmer"), "recipe_hash": recipe.hash(), "plan_hash": plan.hash}
        save_network(run.slim, slim.cpu(), task.identity, plan, notes)
        write_text(run.path / "report.md", to_markdown(report))
        write_json(run.report, report)
        run.state.unlink(missing_ok=True)
    tell({"event": "done", "report": report})
    fabric.barrier()
    return report


def _sparsify(
    fabric: Fabric,
    task: Task,
    recipe: Recipe,
    training: Training,
    teacher: nn.Module,
    saved: SavedState,
    at: tuple[int, dict[str, Tensor]],
    tell: Observe,
) -> tuple[Plan, nn.Module, dict[str, Tensor], int]:
    """The plan, the slim network it gives, the momentum that goes with it, and the step at which it was reached."""
    step, tensors = at
    stop = sparsify_steps(recipe, task, training)
    method = choose_method(fabric, recipe, task, stop, resumed=bool(tensors))
    network = Masked(task.model, task.graph, method.start(), hard_sigmoid=method.hard_sigmoid)
    learner = make_learner(fabric.to_device(network), training, train_masks=method.trains_masks)
    if tensors:
        learner.restore_(tensors, step)
        for name, tensor in method.state.items():
            tensor.copy_(tensors[f"method.{name}"])
    if task.data is not None and learner.step < stop:

        def keep() -> None:
            saved.maybe("masks", learner, method.state)

        train_(fabric, learner, teacher, task.data, training, stop=stop, method=method, observe=tell, save=keep)
    plan = target_plan(task, recipe, method.scores(network.variables))
    if method.trains_masks:
        fold_(task.model, task.graph, network.mask())
    check_same(task.model, task.graph, plan, task.identity.input_size)
    slim = fabric.to_device(prune(task.model, plan))
    momenta = {
        name.removeprefix("momentum.model."): tensor
        for name, tensor in learner.state().items()
        if name.startswith("momentum.model.")
    }
    sliced = {f"momentum.{name}": tensor for name, tensor in slice_tensors(momenta, plan).items()}
    return plan, slim, sliced, learner.step


def _train(
    fabric: Fabric,
    learner: Learner,
    teacher: nn.Module,
    data: Data,
    training: Training,
    saved: SavedState,
    tell: Observe,
) -> None:
    """Train the slim network to the end of the run, with its accuracy told after every epoch."""
    total = training.steps(data)
    per_epoch = max(1, round(total / training.epochs)) if training.epochs else total
    while learner.step < total:
        stop = min(total, (learner.step // per_epoch + 1) * per_epoch)
        train_(
            fabric,
            learner,
            teacher,
            data,
            training,
            stop=stop,
            observe=tell,
            save=lambda: saved.maybe("slim", learner, {}),
        )
        tell(
            {
                "event": "epoch",
                "step": learner.step,
                "epoch": learner.step / per_epoch,
                "accuracy": _accuracy(learner.network, data),
            }
        )


def _measure_dense(fabric: Fabric, task: Task, recipe: Recipe, tell: Observe) -> dict[str, Any]:
    """What is known of the dense network. Raises DataError where it is near chance on the data."""
    top1 = _accuracy(task.model, task.data)
    found: dict[str, Any] = {cost.name: cost.dense for cost in task.costs}
    tell({"event": "dense", "accuracy": top1, **found})
    if task.data is not None and top1 is not None and not recipe.data.trust:
        chance = 1 / task.data.num_classes
        if top1 <= chance + 0.1 * (1 - chance):
            raise DataError(
                task.data.name,
                f"the dense network's accuracy is {top1:.1%}, chance is {chance:.1%}",
                "usual causes: data.mean and data.std are not those it was trained with, data.classes is in another "
                "order, the architecture is another; to go on all the same: --set data.trust=true",
            )
    fabric.barrier()
    return {**found, "accuracy_dense": top1}


def _accuracy(model: nn.Module, data: Data | None) -> float | None:
    """Top-1 on the test images, or None without data."""
    return None if data is None else accuracy(model, evaluation_batches(data.test, data, 500))


def _recalibrate(model: nn.Module, task: Task, recipe: Recipe) -> None:
    """Batch-norm statistics of the slim network from training images, where there are any."""
    number = recipe.finetune.recalibrate
    if task.data is not None and number:
        recalibrate_(model, training_images(task.data, recipe, number))


def _teller(fabric: Fabric, run: Run, observe: Observe) -> Observe:
    """What happens goes to the caller, and what is no single step into the run's events, from the first process."""
    began = time.time()

    def tell(event: dict[str, Any]) -> None:
        if fabric.global_rank:
            return
        observe(event)
        if event["event"] != "step" or event["step"] % 10 == 0:
            run.record({"time": round(time.time() - began, 3), **{k: v for k, v in event.items() if k != "report"}})

    return tell


def _report(
    run: Run,
    recipe: Recipe,
    task: Task,
    plan: Plan,
    slim: nn.Module,
    measured: dict[str, Any],
    seconds: float,
) -> dict[str, Any]:
    """All that was measured; the closed forms have to agree with a recount of the slim network to the unit."""
    size = task.identity.input_size
    flops, params = (cost_report(cost, plan, task.budgets) for cost in task.costs)
    recount = {"fvcore": count_flops(slim, size), "torch": count_conv_linear(slim, size)}
    counted = sum(parameter.numel() for parameter in slim.parameters())
    if recount["fvcore"] != flops["slim"] or counted != params["slim"]:
        raise ModelError(
            task.identity.arch,
            f"{flops['slim']} FLOPs and {params['slim']} parameters were planned, "
            f"{recount['fvcore']} and {counted} counted",
            "this is a mistake of slimmer's; please report it",
        )
    top1 = {key: measured[f"accuracy_{key}"] for key in ("dense", "removed", "slim")}
    return {
        "format": 1,
        "slimmer": version("slimmer"),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "run": str(run.path),
        "arch": task.identity.arch,
        "input_size": list(size),
        "seed": recipe.seed,
        "method": recipe.method.name,
        "epochs": recipe.finetune.epochs if task.data is not None else 0.0,
        "recipe_hash": recipe.hash(),
        "plan_hash": plan.hash,
        "flops": flops,
        "params": params,
        "recount": recount,
        "accuracy": None if task.data is None else top1,
        "groups": [
            {"name": group.name, "dense": group.size, "slim": width}
            for group, width in zip(plan.groups, plan.widths, strict=True)
        ],
        "fixed": [vars(row) for row in task.graph.fixed],
        "seconds": round(seconds, 1),
        "environment": environment(),
    }
