"""A slim network that was fine-tuned outside slimmer, as a run like any other."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from slimmer.data import Data
from slimmer.errors import CheckpointError, RunError
from slimmer.models.accept_model import accept
from slimmer.models.checkpoint.weights import check_finite, read_entry
from slimmer.models.copying import set_mode_
from slimmer.models.identify import by_own_names
from slimmer.models.match import compare
from slimmer.pipeline.job import PruningJob, prepare
from slimmer.pipeline.make_report import make_report, write_results
from slimmer.pipeline.measured import measured_at
from slimmer.pipeline.sources import skipped_note
from slimmer.pipeline.task_of_run import code_of
from slimmer.pruning.plan import read_plan
from slimmer.pruning.slim_file import load_identified
from slimmer.recipe import Recipe, data_at, make_recipe
from slimmer.reports.page import write_page
from slimmer.runs.directory import Run
from slimmer.runs.events import Observe, stage
from slimmer.runs.new_run import all_or_nothing, new_run, write_beginning
from slimmer.runs.open_run import mark_latest
from slimmer.runs.trust import check_code, remember

MODULE = "a module from Python"


def finish_run(
    run: Run,
    trained: nn.Module | Path,
    out: Path | None = None,
    *,
    model: nn.Module | None = None,
    data: Data | str | None = None,
    task: Any = None,
    entry: str | None = None,
    observe: Observe = lambda _: None,
    trust_code: bool = False,
) -> tuple[Run, dict[str, Any]]:
    """Make a new run from a finished `run` and the weights that its slim network was trained to.

    Args:
        run: the plan, the dense network and the recipe come from it. It is not changed.
        trained: the slim network after training, or a checkpoint with its weights.
        out: a new or empty directory; by default the next free one in runs/.
        model: the dense module, if the run was started from one.
        data: what accuracy is measured on: a `Data`, or a name or path. Default: the run's data.
        task: the task, if the run got it from Python.
        entry: which set of weights to take, if the checkpoint holds several.
        observe: called with every event.
        trust_code: run code that the run's files name.

    Returns:
        The new run, and its report.

    Raises:
        SlimmerError: the run is damaged or not finished, its data are not here, or the weights are
            not those of its slim network. Nothing is written then.
    """
    run.check_recipe()
    run.check_dense()
    recipe = _with_data(run.recipe(), data, run, trust_code=trust_code)
    dense, identity = load_identified(run.dense, model, trust_code=trust_code)
    images = data if isinstance(data, Data) else None
    given = {"task": task, "trust_code": trust_code, "observe": observe}
    job = prepare(recipe, dense, images, identity, **given)
    plan = read_plan(run.plan, "prune the network again")
    method = run.read_report()["method"]  # of this plan; without its data, "auto" may be another
    slim = set_mode_(job.cut(job.model, plan), training=False)
    where = MODULE if isinstance(trained, nn.Module) else str(trained)
    weights, notes = _weights(trained, slim, where, entry)
    for note in notes:
        observe({"event": "note", "text": note})
    measured = _measured(run, job, model, trust_code=trust_code)
    slim.load_state_dict(dict(weights), strict=False)
    observe(stage("measuring the fine-tuned network"))
    measured |= measured_at("slim", slim, job.task, measured)
    report = make_report(run, recipe, job, plan, slim, measured)
    with new_run(out, identity.arch) as (made, _), all_or_nothing(made):
        report |= {"run": str(made.path), "fine_tuned_outside": where, "method": method}
        _copy(run, made)
        written = write_results(made, recipe, job, plan, slim, report)
        del measured["accuracy_slim"]
        measured["metrics"].pop("slim", None)
        write_beginning(made, recipe, measured)
        write_page(made)
        mark_latest(made)
    return made, written


def _copy(run: Run, made: Run) -> None:
    """Copy the files that the new run shares with `run`."""
    for file in (run.dense, run.plan, run.events):
        if file.exists():
            shutil.copyfile(file, made.path / file.name)


def _with_data(recipe: Recipe, data: Data | str | None, run: Run, *, trust_code: bool) -> Recipe:
    """The run's recipe, with the data that the user names instead of its own.

    Raises TrustError if the run's own data are code that the user has not named.
    """
    if not isinstance(data, str):
        check_code(str(run.recipe_file), *code_of(recipe), trusted=trust_code)
        return recipe
    remember(data)
    resolved = recipe.model_dump(mode="json")
    for key, value in data_at(data):
        section, _, name = key.partition(".")
        resolved[section][name] = value
    return make_recipe(resolved, str(run.recipe_file))


def _weights(
    trained: nn.Module | Path, slim: nn.Module, where: str, entry: str | None
) -> tuple[Mapping[str, Tensor], Sequence[str]]:
    """The trained weights by the slim network's names, from whatever they were wrapped in; and
    notes on what was skipped.

    Raises CheckpointError if they are not those of the slim network, or not finite.
    """
    if isinstance(trained, nn.Module):
        state: Mapping[str, Tensor] = accept(trained).state_dict()
        check_finite(where, state)
        skipped: Sequence[str] = ()
        place = ""
    else:
        held = read_entry(trained, entry)
        state, skipped, place = held.weights, held.passed, held.entry
    named = by_own_names(slim, state, where, sized=True)
    difference = compare(slim.state_dict(), named.weights)
    if difference:
        found = f"does not have the weights of the slim network:\n{difference}"
        right = "train the network that slimmer.load(RUN) returns, and give its weights"
        raise CheckpointError(where, found, right)
    return named.weights, _notes(trained, place, [*named.passed, *skipped])


def _notes(trained: nn.Module | Path, place: str, passed: Sequence[str]) -> list[str]:
    """The note on the parts of a checkpoint that were skipped; none for a module."""
    if isinstance(trained, nn.Module):
        return []
    option = ("--set model.entry=", "--entry ")
    return [note.replace(*option) for note in skipped_note(trained, place, passed)]


def _measured(
    run: Run, job: PruningJob, model: nn.Module | None, *, trust_code: bool
) -> dict[str, Any]:
    """What is known of the dense network and of the one after removal, measured if it is not.

    Raises RunError if the run had data from Python and none are given now.
    """
    measured = run.read_measured()
    if job.task is None and measured["accuracy_dense"] is not None:
        raise RunError(str(run.path), "its data or task were passed from Python", "give them")
    if measured["accuracy_dense"] is None:
        removed, _ = load_identified(run.slim, model, trust_code=trust_code)
        measured |= measured_at("dense", job.model, job.task, measured)
        measured |= measured_at("removed", removed, job.task, measured)
    return measured
