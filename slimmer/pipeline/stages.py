"""The stages of a run in their order: network, channel groups, masks, plan, slim network,
report.
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from lightning_fabric import Fabric
from torch import nn

from slimmer.atomic_files import digest, write_json, write_text
from slimmer.data import Data
from slimmer.errors import RunError
from slimmer.pipeline.check_method import check_method
from slimmer.pipeline.job import prepare
from slimmer.pipeline.latency_plan import as_measured, check_processes
from slimmer.pipeline.make_report import make_report, write_results
from slimmer.pipeline.measured import check_above_chance, measured_at, told
from slimmer.pipeline.remove_channels import remove_channels
from slimmer.pipeline.run_context import (
    Context,
    dense_teacher,
    make_context,
    remaining,
    slim_network,
    with_logs,
)
from slimmer.pipeline.saved_state import Stand, fitting
from slimmer.pipeline.task_of_run import code_of
from slimmer.pruning.masks import hard_mask
from slimmer.pruning.plan import Plan, read_plan
from slimmer.pruning.slim_file import load_identified, save_network
from slimmer.recipe import Recipe
from slimmer.reports.page import write_page
from slimmer.runs.claim import Claim
from slimmer.runs.directory import Run
from slimmer.runs.events import Observe, ignore, stage
from slimmer.runs.loggers import check_loggers
from slimmer.runs.new_run import all_or_nothing, new_run, old_run, write_beginning
from slimmer.runs.open_run import mark_latest
from slimmer.runs.trust import check_code, remember
from slimmer.tasks import Task
from slimmer.tasks.classification import NAME as CLASSIFICATION
from slimmer.training.answers import Teacher
from slimmer.training.devices import make_engine
from slimmer.training.evaluate import evaluate
from slimmer.training.learner import Learner, make_learner
from slimmer.training.loop import train_
from slimmer.training.optimizers import check_optimizer
from slimmer.training.steps import check_compiler


def start(
    recipe: Recipe,
    out: Path | None = None,
    observe: Observe = lambda _: None,
    *,
    model: nn.Module | None = None,
    data: Data | None = None,
    task: Any = None,
    latest: bool = True,
    trust_code: bool = False,
) -> tuple[Run, dict[str, Any]]:
    """Start a run in `out` (default: the next free directory in runs/) and carry it through to its
    report.

    Nothing is written before the network, the data and the budgets are known to fit together.
    `model`, `data` and `task` from Python replace the recipe's; the model is trained in place.
    `latest` makes the run the default run of other commands. Code that the recipe names was named
    by the user and is recorded as trusted; code that a checkpoint names (one of slimmer's own files
    can) needs `trust_code`.
    """
    remember(recipe.model.arch, *code_of(recipe))
    tuned = recipe.finetune
    check_optimizer(tuned.optimizer, tuned.optimizer_options, momentum=tuned.momentum)
    check_loggers(recipe.log)
    fabric = make_engine(recipe.device, recipe.finetune.precision)
    if tuned.compile:
        check_compiler(fabric)
    check_processes(recipe, fabric.world_size)
    with ExitStack() as held:
        place = None if out is None else _claim(fabric, held, new_run(out, ""))
        tell = observe if fabric.global_rank == 0 else ignore
        job = prepare(recipe, model, data, task=task, trust_code=trust_code, observe=tell)
        check_method(recipe, job)
        place = _claim(fabric, held, new_run(None, job.identity.arch)) if place is None else place
        run, claim = place
        observe = with_logs(held, run, recipe, job, observe)
        context = make_context(fabric, run, claim, recipe, job, observe)
        measured = _measure_dense(context)
        if fabric.global_rank == 0:
            with all_or_nothing(run):
                save_network(run.dense, job.given, job.identity, None, {})
                measured["dense_sha256"] = digest(run.dense)
                measured = write_beginning(run, recipe, measured)
                if latest:
                    mark_latest(run)
        fabric.barrier()
        stand, _ = _standing(run, context, measured)
        context.tell({"event": "begun", "run": str(run.path)})
        return run, _stages(run, context, measured, stand, None)


def _claim(
    fabric: Fabric, held: ExitStack, place: AbstractContextManager[tuple[Run, Claim]]
) -> tuple[Run, Claim | None]:
    """The run's directory, claimed by the first process until `held` ends; None is the claim of
    other processes.
    """
    if fabric.global_rank != 0:
        return Run(Path(fabric.broadcast(""))), None
    run, claim = held.enter_context(place)
    return Run(Path(fabric.broadcast(str(run.path)))), claim


def resume(
    run: Run, observe: Observe = lambda _: None, *, trust_code: bool = False
) -> dict[str, Any]:
    """Resume a run that was stopped, from the last state that it saved, and return its report; for
    a finished run only return the report.

    The dense network is the run's own copy, so the original checkpoint is no longer needed. Code
    that the run names is run only if the user named it too, or with `trust_code`. Raises TrustError
    for other code.
    """
    if run.measured.exists() or not run.report.is_file():
        run.check_recipe()
    if run.report.is_file():
        if not run.page.exists():  # killed right after the report, or a run of an older slimmer
            write_page(run)
        return run.read_report()
    run.check_dense()
    recipe = run.recipe()
    check_code(str(run.recipe_file), *code_of(recipe), trusted=trust_code)
    check_loggers(recipe.log)
    fabric = make_engine(recipe.device, recipe.finetune.precision)
    with ExitStack() as held:
        claim = held.enter_context(old_run(run)) if fabric.global_rank == 0 else None
        network, identity = load_identified(run.dense, trust_code=trust_code)
        tell = observe if fabric.global_rank == 0 else ignore
        job = prepare(recipe, network, identity=identity, observe=tell)
        observe = with_logs(held, run, recipe, job, observe)
        context = make_context(fabric, run, claim, recipe, job, observe)
        measured = run.read_measured()
        known = measured["accuracy_dense"] is not None or measured.get("trained_by") is not None
        if job.task is None and known:
            found = "its data or task were passed from Python and are not available here"
            raise RunError(str(run.path), found, "start the run again from Python")
        stand, plan = _standing(run, context, measured)
        limits = {budget.cost.name: budget.ratio for budget in job.budgets}
        context.tell({"event": "resumed", "step": stand.step, "limits": limits})
        return _stages(run, context, measured, stand, plan)


def _stages(
    run: Run, context: Context, measured: dict[str, Any], stand: Stand, plan: Plan | None
) -> dict[str, Any]:
    """Train under masks, remove the channels, fine-tune the slim network, and write the report. The
    first two are skipped if there is already a `plan`.
    """
    job, teacher = context.job, dense_teacher(context)
    if plan is not None:
        context = replace(context, job=as_measured(job, plan, measured))
        learner = make_learner(slim_network(context, plan), context.training)
        with fitting(run):
            learner.restore_(stand.tensors, stand.step)
    else:
        plan, learner, found = remove_channels(run, context, teacher, stand)
        measured |= found
        context = replace(context, job=as_measured(job, plan, measured))
        measured |= measured_at("removed", learner.network, job.task, measured)
        if context.fabric.global_rank == 0:
            write_text(run.plan, plan.to_json())
            write_json(run.measured, measured)
        context.saved.write("slim", learner, {}, plan.hash)
        left = remaining(context.job, hard_mask(plan) > 0)
        told_now = told(measured["metrics"].get("removed"))
        context.tell({"event": "removed", "step": learner.step, **told_now, **left})
    if job.task is not None:
        _train(context, learner, teacher, job.task, plan)
    slim = learner.result
    measured |= measured_at("slim", slim, job.task, measured)
    report = make_report(run, context.recipe, context.job, plan, slim, measured)
    if context.fabric.global_rank == 0:
        report = write_results(run, context.recipe, job, plan, slim, report)
        run.state.unlink(missing_ok=True)
        write_page(run)
    context.tell({"event": "done", "report": report})
    context.fabric.barrier()
    return report


def _standing(run: Run, context: Context, measured: Mapping[str, Any]) -> tuple[Stand, Plan | None]:
    """The last state, and the plan by which its network was pruned; None for the plan before that.

    Raises RunError if one of them is damaged, missing or of another run.
    """
    task = context.job.task
    stand = context.saved.load(0 if task is None else context.training.steps(task))
    if stand.stage == "masks":
        return stand, None
    right = f"delete {run.state} and resume; the plan is then computed again"
    plan = read_plan(run.plan, right)
    if plan.hash != stand.plan_hash:
        raise RunError(str(run.plan), "is not the plan of the saved training state", right)
    if "accuracy_removed" not in measured:
        raise RunError(str(run.measured), "was written before the plan was made", right)
    return stand, plan


def _train(context: Context, learner: Learner, teacher: Teacher, task: Task, plan: Plan) -> None:
    """Fine-tune the slim network to the end of the run, and report its metrics after each epoch."""
    total = context.training.steps(task)
    keep = partial(context.saved.maybe, "slim", learner, {}, plan.hash)
    while learner.step < total:
        stop = min(total, context.training.end_of_epoch(learner.step, task))
        train_(
            context.fabric,
            learner,
            teacher.network,
            task,
            context.training,
            stop=stop,
            answers=teacher.answers,
            observe=context.tell,
            save=keep,
        )
        when = {"step": learner.step, "epoch": context.training.epoch(learner.step, task)}
        context.tell({"event": "epoch", **when, **told(evaluate(learner.result, task))})


def _measure_dense(context: Context) -> dict[str, Any]:
    """The costs and the metrics of the dense network. Raises DataError if the accuracy of a
    classifier is near chance.
    """
    task, recipe = context.job.task, context.recipe
    context.tell(stage("measuring the dense network"))
    measured = measured_at("dense", context.job.model, task, {})
    found: dict[str, Any] = {cost.name: cost.dense for cost in context.job.costs}
    limits = {budget.cost.name: budget.ratio for budget in context.job.budgets}
    shown = told(measured["metrics"].get("dense"))
    context.tell({"event": "dense", **shown, **found, "limits": limits})
    expected_to_work = not recipe.data.trust and not recipe.model.scratch
    if task is not None and task.name == CLASSIFICATION and task.data and expected_to_work:
        check_above_chance(task.data, measured["accuracy_dense"])
    return {**found, **measured}
