"""The stages of a run in order: network, channel groups, masks, plan, slim network, report."""

import hashlib
from collections.abc import Mapping
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from lightning_fabric import Fabric
from torch import nn

from slimmer.atomic_files import digest, write_json, write_text
from slimmer.data import Data, steps
from slimmer.errors import DataError, RunError
from slimmer.models.copying import duplicate, set_mode_
from slimmer.pipeline.choose_plan import (
    check_method,
)
from slimmer.pipeline.job import prepare
from slimmer.pipeline.make_report import make_report, write_results
from slimmer.pipeline.remove_channels import remove_channels
from slimmer.pipeline.run_context import (
    Context,
    fitting,
    make_context,
    remaining,
    slim_network,
    test_top1,
)
from slimmer.pipeline.saved_state import Stand
from slimmer.pruning.masks import hard_mask
from slimmer.pruning.plan import Plan, read_plan
from slimmer.pruning.slim_file import load_identified, save_network
from slimmer.recipe import Recipe
from slimmer.runs.claim import Claim
from slimmer.runs.directory import Run, all_or_nothing, mark_latest, new_run, old_run
from slimmer.runs.events import Observe, stage
from slimmer.runs.trust import check_code, remember
from slimmer.training.devices import make_engine
from slimmer.training.loop import Learner, make_learner, train_
from slimmer.training.optimizers import check_optimizer


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
    """Begin a run in `out` (default: the next free directory below runs/) and bring it to its
    report.

    Nothing is written before the network, the data and the budgets are found to fit together.
    `model` and `data` from Python stand in for the recipe's; the model is trained in place.
    `latest` makes the run the one that commands take by default. Code that the recipe names is the
    user's word, and noted as such; code that a checkpoint names (as one of slimmer's own files may)
    needs `trust_code`.
    """
    remember(recipe.model.arch, recipe.data.name, recipe.data.path)
    tuned = recipe.finetune
    check_optimizer(tuned.optimizer, tuned.optimizer_options, momentum=tuned.momentum)
    fabric = make_engine(recipe.device, recipe.finetune.precision)
    with ExitStack() as held:
        place = None if out is None else _claim(fabric, held, new_run(out, ""))
        tell = observe if fabric.global_rank == 0 else _silent
        job = prepare(recipe, model, data, trust_code=trust_code, observe=tell)
        check_method(recipe, job)
        place = _claim(fabric, held, new_run(None, job.identity.arch)) if place is None else place
        run, claim = place
        context = make_context(fabric, run, claim, recipe, job, observe)
        measured = _measure_dense(context)
        if fabric.global_rank == 0:
            with all_or_nothing(run):
                save_network(run.dense, job.given, job.identity, None, {})
                text = recipe.to_yaml()
                measured["recipe_sha256"] = hashlib.sha256(text.encode()).hexdigest()
                measured["dense_sha256"] = digest(run.dense)
                write_json(run.measured, measured)
                write_text(run.recipe_file, text)  # last: with it the directory is a run
                if latest:
                    mark_latest(run)
        fabric.barrier()
        stand, _ = _standing(run, context, measured)
        context.tell({"event": "begun", "run": str(run.path)})
        return run, _stages(run, context, measured, stand, None)


def _silent(_event: dict[str, Any]) -> None:
    """Hear nothing."""


def _claim(
    fabric: Fabric, held: ExitStack, place: AbstractContextManager[tuple[Run, Claim]]
) -> tuple[Run, Claim | None]:
    """The run's directory, claimed by the first process until `held` ends."""
    found = held.enter_context(place) if fabric.global_rank == 0 else None
    path = fabric.broadcast("" if found is None else str(found[0].path))
    return Run(Path(path)), None if found is None else found[1]


def resume(
    run: Run, observe: Observe = lambda _: None, *, trust_code: bool = False
) -> dict[str, Any]:
    """Go on with a run that was stopped, from the last state it saved; a finished run gives its
    report again.

    The network is the run's own copy, so that nothing changes where the checkpoint has gone since.
    Code that the run names is run where the user has named it too, or with `trust_code`. Raises
    TrustError for other code.
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
        job = prepare(recipe, network, identity=identity, observe=tell)
        context = make_context(fabric, run, claim, recipe, job, observe)
        measured = run.read_measured()
        if job.data is None and measured["accuracy_dense"] is not None:
            raise RunError(
                str(run.path),
                "its data came from Python and are not here",
                "start it anew from Python",
            )
        stand, plan = _standing(run, context, measured)
        context.tell({"event": "resumed", "limits": {b.cost.name: b.ratio for b in job.budgets}})
        return _stages(run, context, measured, stand, plan)


def _stages(
    run: Run, context: Context, measured: dict[str, Any], stand: Stand, plan: Plan | None
) -> dict[str, Any]:
    """Masks, removal, training of the slim network, report; masks are skipped where there is a
    `plan` already.
    """
    job = context.job
    teacher = set_mode_(duplicate(job.model), training=False).requires_grad_(requires_grad=False)
    if plan is not None:
        learner = make_learner(slim_network(context, plan), context.training)
        with fitting(run):
            learner.restore_(stand.tensors, stand.step)
    else:
        plan, learner, measured["before_projection"] = remove_channels(run, context, teacher, stand)
        measured["accuracy_removed"] = test_top1(learner.network, job.data)
        if context.fabric.global_rank == 0:
            write_text(run.plan, plan.to_json())
            write_json(run.measured, measured)
        context.saved.write("slim", learner, {}, plan.hash)
        left = remaining(job, hard_mask(plan) > 0)
        context.tell(
            {
                "event": "removed",
                "step": learner.step,
                "accuracy": measured["accuracy_removed"],
                **left,
            }
        )
    if job.data is not None:
        _train(context, learner, teacher, job.data, plan)
    measured["accuracy_slim"] = test_top1(learner.network, job.data)
    report = make_report(run, context.recipe, context.job, plan, learner.network, measured)
    if context.fabric.global_rank == 0:
        report = write_results(run, context.recipe, job, plan, learner.network, report)
        run.state.unlink(missing_ok=True)
    context.tell({"event": "done", "report": report})
    context.fabric.barrier()
    return report


def _standing(run: Run, context: Context, measured: Mapping[str, Any]) -> tuple[Stand, Plan | None]:
    """The last state, and the plan that its network was cut by; None before that.

    Raises RunError where one of them is damaged, gone or of another run.
    """
    stand = context.saved.load(
        0 if context.job.data is None else context.training.steps(context.job.data)
    )
    if stand.stage == "masks":
        return stand, None
    right = f"delete {run.state} and resume: the plan is made anew"
    plan = read_plan(run.plan, right)
    if plan.hash != stand.plan_hash:
        raise RunError(str(run.plan), "is not the plan that the state was trained under", right)
    if "accuracy_removed" not in measured:
        raise RunError(str(run.measured), "does not know of the plan that there is", right)
    return stand, plan


def _train(context: Context, learner: Learner, teacher: nn.Module, data: Data, plan: Plan) -> None:
    """Train the slim network to the end of the run, with its accuracy told after every epoch."""
    total, per_epoch = context.training.steps(data), steps(data.train, context.training.batch_size)
    keep = partial(context.saved.maybe, "slim", learner, {}, plan.hash)
    while learner.step < total:
        stop = min(total, (learner.step // per_epoch + 1) * per_epoch)
        train_(
            context.fabric,
            learner,
            teacher,
            data,
            context.training,
            stop=stop,
            observe=context.tell,
            save=keep,
        )
        top1 = test_top1(learner.network, data)
        context.tell(
            {
                "event": "epoch",
                "step": learner.step,
                "epoch": learner.step / per_epoch,
                "accuracy": top1,
            }
        )


def _measure_dense(context: Context) -> dict[str, Any]:
    """What is known of the dense network. Raises DataError where it is near chance on the data."""
    data = context.job.data
    context.tell(stage("measuring the dense network"))
    top1 = test_top1(context.job.model, data)
    found: dict[str, Any] = {cost.name: cost.dense for cost in context.job.costs}
    context.tell(
        {
            "event": "dense",
            "accuracy": top1,
            **found,
            "limits": {b.cost.name: b.ratio for b in context.job.budgets},
        }
    )
    if (
        data is not None
        and top1 is not None
        and not (context.recipe.data.trust or context.recipe.model.scratch)
    ):
        chance = 1 / data.num_classes
        if top1 <= chance + 0.1 * (1 - chance):
            raise DataError(
                data.name,
                f"the dense network's accuracy is {top1:.1%}, chance is {chance:.1%}",
                "usual causes: data.mean and data.std are not those it was trained with, data.classes is in another "
                "order, the architecture is another; to go on all the same: --set data.trust=true",
            )
    return {**found, "accuracy_dense": top1}
