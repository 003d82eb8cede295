"""The stages of a run in order: network, channel groups, masks, plan, slim network, report."""

import hashlib
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from slimmer.atomic_files import digest, write_json, write_text
from slimmer.data import Data, evaluation_batches, steps
from slimmer.errors import DataError, RunError, first_line
from slimmer.graph import example_inputs
from slimmer.models.copying import duplicate, set_mode_
from slimmer.pipeline.choose_plan import (
    check_method,
    choose_method,
    sparsify_steps,
    target_plan,
    training_images,
    training_of,
)
from slimmer.pipeline.job import Task, prepare
from slimmer.pipeline.make_report import make_report
from slimmer.pipeline.saved_state import DELETE, SavedState, Stand
from slimmer.pruning.batch_norms import recalibrate_
from slimmer.pruning.compensate import compensate_
from slimmer.pruning.masks import Masked, fold_, hard_mask
from slimmer.pruning.plan import Plan, read_plan
from slimmer.pruning.slim_file import load_identified, save_network
from slimmer.pruning.traced_parts import check_scope
from slimmer.recipe import Recipe
from slimmer.reports.figures import draw_run
from slimmer.reports.run_report import to_markdown
from slimmer.runs.claim import Claim
from slimmer.runs.directory import Run, all_or_nothing, mark_latest, new_run, old_run
from slimmer.runs.events import Observe, stage
from slimmer.runs.trust import check_code, remember
from slimmer.training.devices import make_engine, place_, synchronised_
from slimmer.training.evaluate import accuracy
from slimmer.training.loop import Learner, Training, make_learner, train_
from slimmer.training.mask_events import mask_event
from slimmer.training.optimizer_state import restore_, sliced_state
from slimmer.training.optimizers import check_optimizer

MASK_EVENTS = 50  # records of the masks' values while they are trained


@dataclass(frozen=True, eq=False)
class Job:
    """What every stage of one run works with."""

    fabric: Fabric
    recipe: Recipe
    task: Task
    training: Training
    saved: SavedState
    tell: Observe


def start(
    recipe: Recipe,
    out: Path | None = None,
    observe: Observe = lambda _: None,
    *,
    model: nn.Module | None = None,
    data: Data | None = None,
    latest: bool = True,
    trust_code: bool = False,
) -> tuple[Run, dict[str, Any]]:
    """Begin a run in `out` (default: the next free directory below runs/) and bring it to its report.

    Nothing is written before the network, the data and the budgets are found to fit together. `model` and `data`
    from Python stand in for the recipe's; the model is trained in place. `latest` makes the run the one that
    commands take by default. Code that the recipe names is the user's word, and noted as such; code that a checkpoint
    names (as one of slimmer's own files may) needs `trust_code`.
    """
    remember(recipe.model.arch, recipe.data.name, recipe.data.path)
    tuned = recipe.finetune
    check_optimizer(tuned.optimizer, tuned.optimizer_options, momentum=tuned.momentum)
    fabric = make_engine(recipe.device, recipe.finetune.precision)
    with ExitStack() as held:
        place = None if out is None else _claim(fabric, held, new_run(out, ""))
        tell = observe if fabric.global_rank == 0 else _silent
        task = prepare(recipe, model, data, trust_code=trust_code, observe=tell)
        check_method(recipe, task)
        place = _claim(fabric, held, new_run(None, task.identity.arch)) if place is None else place
        run, claim = place
        job = _job(fabric, run, claim, recipe, task, observe)
        measured = _measure_dense(job)
        if fabric.global_rank == 0:
            with all_or_nothing(run):
                save_network(run.dense, task.given, task.identity, None, {})
                text = recipe.to_yaml()
                measured["recipe_sha256"] = hashlib.sha256(text.encode()).hexdigest()
                measured["dense_sha256"] = digest(run.dense)
                write_json(run.measured, measured)
                write_text(run.recipe_file, text)  # last: with it the directory is a run
                if latest:
                    mark_latest(run)
        fabric.barrier()
        stand, _ = _standing(run, job, measured)
        job.tell({"event": "begun", "run": str(run.path)})
        return run, _stages(run, job, measured, stand, None)


def _silent(_event: dict[str, Any]) -> None:
    """Hear nothing."""


def _claim(
    fabric: Fabric, held: ExitStack, place: AbstractContextManager[tuple[Run, Claim]]
) -> tuple[Run, Claim | None]:
    """The run's directory, claimed by the first process until `held` ends."""
    found = held.enter_context(place) if fabric.global_rank == 0 else None
    path = fabric.broadcast("" if found is None else str(found[0].path))
    return Run(Path(path)), None if found is None else found[1]


def resume(run: Run, observe: Observe = lambda _: None, *, trust_code: bool = False) -> dict[str, Any]:
    """Go on with a run that was stopped, from the last state it saved; a finished run gives its report again.

    The network is the run's own copy, so that nothing changes where the checkpoint has gone since. Code that the run
    names is run where the user has named it too, or with `trust_code`. Raises TrustError for other code.
    """
    if run.measured.exists() or not run.report.is_file():
        run.check_recipe()
    if run.report.is_file():
        return run.read_report()
    run.check_dense()
    recipe = run.recipe()
    check_code(str(run.recipe_file), recipe.data.name, recipe.data.path, trusted=trust_code)
    fabric = make_engine(recipe.device, recipe.finetune.precision)
    with ExitStack() as held:
        claim = held.enter_context(old_run(run)) if fabric.global_rank == 0 else None
        network, identity = load_identified(run.dense, trust_code=trust_code)
        tell = observe if fabric.global_rank == 0 else _silent
        task = prepare(recipe, network, identity=identity, observe=tell)
        job = _job(fabric, run, claim, recipe, task, observe)
        measured = run.read_measured()
        if task.data is None and measured["accuracy_dense"] is not None:
            raise RunError(str(run.path), "its data came from Python and are not here", "start it anew from Python")
        stand, plan = _standing(run, job, measured)
        job.tell({"event": "resumed", "limits": {b.cost.name: b.ratio for b in task.budgets}})
        return _stages(run, job, measured, stand, plan)


def _job(fabric: Fabric, run: Run, claim: Claim | None, recipe: Recipe, task: Task, observe: Observe) -> Job:
    if recipe.finetune.sync_batch_norm:
        task = replace(task, model=synchronised_(fabric, task.model))
    place_(fabric, task.model, _call(task))
    saved = SavedState(fabric, run, recipe.finetune.save_every)
    return Job(fabric, recipe, task, training_of(recipe, task), saved, _teller(run, claim, observe))


def _stages(run: Run, job: Job, measured: dict[str, Any], stand: Stand, plan: Plan | None) -> dict[str, Any]:
    """Masks, removal, training of the slim network, report; masks are skipped where there is a `plan` already."""
    task = job.task
    teacher = set_mode_(duplicate(task.model), training=False).requires_grad_(requires_grad=False)
    if plan is not None:
        learner = make_learner(_slim(job, plan), job.training)
        with _fitting(run):
            learner.restore_(stand.tensors, stand.step)
    else:
        plan, learner, measured["before_projection"] = _sparsify(run, job, teacher, stand)
        measured["accuracy_removed"] = _accuracy(learner.network, task.data)
        if job.fabric.global_rank == 0:
            write_text(run.plan, plan.to_json())
            write_json(run.measured, measured)
        job.saved.write("slim", learner, {}, plan.hash)
        left = remaining(task, hard_mask(plan) > 0)
        job.tell({"event": "removed", "step": learner.step, "accuracy": measured["accuracy_removed"], **left})
    if task.data is not None:
        _train(job, learner, teacher, task.data, plan)
    measured["accuracy_slim"] = _accuracy(learner.network, task.data)
    report = make_report(run, job.recipe, job.task, plan, learner.network, measured)
    if job.fabric.global_rank == 0:
        notes = {"slimmer": version("slimmer"), "recipe_hash": job.recipe.hash(), "plan_hash": plan.hash}
        rewritten = job.recipe.model.rewrite
        save_network(run.slim, learner.network.cpu(), task.identity, plan, notes, rewritten=rewritten)
        drawn = draw_run(run.read_events(), report, run.path / "figures")
        report = {**report, "figures": [str(path.relative_to(run.path)) for path in drawn]}
        write_text(run.text, to_markdown(report))
        write_json(run.report, report)
        run.state.unlink(missing_ok=True)
    job.tell({"event": "done", "report": report})
    job.fabric.barrier()
    return report


def _standing(run: Run, job: Job, measured: Mapping[str, Any]) -> tuple[Stand, Plan | None]:
    """The last state, and the plan that its network was cut by; None before that.

    Raises RunError where one of them is damaged, gone or of another run.
    """
    stand = job.saved.load(0 if job.task.data is None else job.training.steps(job.task.data))
    if stand.stage == "masks":
        return stand, None
    right = f"delete {run.state} and resume: the plan is made anew"
    plan = read_plan(run.plan, right)
    if plan.hash != stand.plan_hash:
        raise RunError(str(run.plan), "is not the plan that the state was trained under", right)
    if "accuracy_removed" not in measured:
        raise RunError(str(run.measured), "does not know of the plan that there is", right)
    return stand, plan


@contextmanager
def _fitting(run: Run) -> Iterator[None]:
    """A block that puts a state back; raises RunError where it is not of this run's network."""
    try:
        yield
    except (KeyError, RuntimeError, TypeError, ValueError) as error:
        found = f"does not fit the run's network ({first_line(error)})"
        raise RunError(str(run.state), found, DELETE) from error


def _sparsify(run: Run, job: Job, teacher: nn.Module, stand: Stand) -> tuple[Plan, Learner, dict[str, float] | None]:
    """Train under masks toward the budgets, project exactly into them, and remove the channels for real.

    Returns the plan, the slim network with its optimizer state, batch norm recalibrated, and what the masks alone
    left of each cost (None where there were none).
    """
    task = job.task
    stop = sparsify_steps(job.recipe, task, job.training)
    job.tell(stage("scoring the channels"))
    method = choose_method(job.recipe, task, stop, resumed=bool(stand.tensors), observe=job.tell)
    network = Masked(task.model, task.graph, method.start(), method.gate)
    learner = make_learner(job.fabric.to_device(network), job.training, train_masks=method.trains_masks)
    if stand.tensors:
        with _fitting(run):
            learner.restore_(stand.tensors, stand.step)
            for name, tensor in method.state.items():
                tensor.copy_(stand.tensors[f"method.{name}"])
    if task.data is not None and learner.step < stop:
        keep = partial(job.saved.maybe, "masks", learner, method.state)
        often = max(1, stop // MASK_EVENTS)

        def tell(event: dict[str, Any]) -> None:
            mask = method.gate(network.variables.detach(), training=False)
            job.tell({**event, **remaining(task, mask.cpu() > 0)})
            if method.has_masks and (event["step"] % often == 0 or event["step"] == stop):
                told = {key: event[key] for key in ("step", "epoch")}
                job.tell({"event": "masks", **told, **mask_event(mask, [group.size for group in task.graph.groups])})

        train_(job.fabric, learner, teacher, task.data, job.training, stop=stop, method=method, observe=tell, save=keep)
    plan = target_plan(task, job.recipe, method.scores(network.variables))
    set_mode_(network, training=False)
    before = remaining(task, network.mask().cpu() > 0) if stop and method.has_masks else None
    if method.trains_masks:
        fold_(task.model, task.graph, network.mask())
    number = job.recipe.finetune.recalibrate if task.data is not None else 0
    if number and job.recipe.method.compensate:
        compensate_(task.model, task.graph, plan, _as_trained(job, number))
    check_scope(task.model, task.graph, plan, task.scope, task.cut)
    slim = make_learner(_slim(job, plan), job.training)
    remembered = sliced_state(learner.optimizer, network.model, plan)
    restore_(slim.optimizer, slim.network, remembered)
    slim.step = learner.step
    if number:
        recalibrate_(slim.network, _as_trained(job, number))
    return plan, slim, before


def _slim(job: Job, plan: Plan) -> nn.Module:
    """The slim network where it is trained."""
    return place_(job.fabric, job.task.cut(job.task.model, plan), _call(job.task))


def _call(task: Task) -> tuple[Any, ...]:
    """The arguments of one call of the task's network."""
    return example_inputs(task.model, task.identity.inputs(task.given), images=2)


def _as_trained(job: Job, number: int) -> Iterator[Tensor]:
    """Batches of training images, augmented as in training: see docs/decisions.md, 8."""
    assert job.task.data is not None
    return training_images(job.task.data, job.recipe, number, augment=job.task.data.augment)


def remaining(task: Task, alive: Tensor) -> dict[str, float]:
    """What remains of each cost, as a share of dense, where `alive` (units,) tells the units that do."""
    widths = torch.stack([part.sum() for part in alive.split([group.size for group in task.graph.groups])])
    return {cost.name: cost.share(float(cost.value(widths))) for cost in task.costs}


def _train(job: Job, learner: Learner, teacher: nn.Module, data: Data, plan: Plan) -> None:
    """Train the slim network to the end of the run, with its accuracy told after every epoch."""
    total, per_epoch = job.training.steps(data), steps(data.train, job.training.batch_size)
    keep = partial(job.saved.maybe, "slim", learner, {}, plan.hash)
    while learner.step < total:
        stop = min(total, (learner.step // per_epoch + 1) * per_epoch)
        train_(job.fabric, learner, teacher, data, job.training, stop=stop, observe=job.tell, save=keep)
        top1 = _accuracy(learner.network, data)
        job.tell({"event": "epoch", "step": learner.step, "epoch": learner.step / per_epoch, "accuracy": top1})


def _measure_dense(job: Job) -> dict[str, Any]:
    """What is known of the dense network. Raises DataError where it is near chance on the data."""
    data = job.task.data
    job.tell(stage("measuring the dense network"))
    top1 = _accuracy(job.task.model, data)
    found: dict[str, Any] = {cost.name: cost.dense for cost in job.task.costs}
    job.tell({"event": "dense", "accuracy": top1, **found, "limits": {b.cost.name: b.ratio for b in job.task.budgets}})
    if data is not None and top1 is not None and not (job.recipe.data.trust or job.recipe.model.scratch):
        chance = 1 / data.num_classes
        if top1 <= chance + 0.1 * (1 - chance):
            raise DataError(
                data.name,
                f"the dense network's accuracy is {top1:.1%}, chance is {chance:.1%}",
                "usual causes: data.mean and data.std are not those it was trained with, data.classes is in another "
                "order, the architecture is another; to go on all the same: --set data.trust=true",
            )
    return {**found, "accuracy_dense": top1}


def _accuracy(model: nn.Module, data: Data | None) -> float | None:
    """Top-1 on the test images, or None without data."""
    return None if data is None else accuracy(model, evaluation_batches(data.test, data, 500))


def _teller(run: Run, claim: Claim | None, observe: Observe) -> Observe:
    """What happens goes to the caller, and what is no single step into the run's events, from the first process.

    That is the one that has the claim; it ends with RunError where the run's directory was removed.
    """
    began = time.monotonic()

    def tell(event: dict[str, Any]) -> None:
        if claim is None:
            return
        claim.check()
        observe(event)
        if event["event"] not in {"dense", "stage"} and (event["event"] != "step" or event["step"] % 10 == 0):
            at = round(time.monotonic() - began, 3)
            run.record({"time": at, **{key: value for key, value in event.items() if key != "report"}})

    return tell
