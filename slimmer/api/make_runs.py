"""The calls that make a run: prune and finish."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import Any
from weakref import finalize

from torch import Tensor, nn

from slimmer.api.arguments import (
    accepted,
    module_or_file,
    path_or_none,
    place_or_data,
    recipe_of,
    recipe_settings,
)
from slimmer.api.task_arguments import Asked, data_and_task
from slimmer.data import Data
from slimmer.errors import RunError
from slimmer.models.copying import duplicate
from slimmer.pipeline import stages
from slimmer.pipeline.finish_run import finish_run
from slimmer.pipeline.surroundings import undisturbed
from slimmer.pruning.plan import Plan, read_plan
from slimmer.pruning.slim_file import load_network
from slimmer.recipe import Recipe
from slimmer.recipe.costs import budgets_on
from slimmer.runs.directory import Run
from slimmer.runs.events import Observe
from slimmer.runs.open_run import open_run


@dataclass(frozen=True, eq=False)
class Result:
    """A slim network, in eval mode on the CPU, with its plan, its report and its run directory."""

    model: nn.Module
    plan: Plan
    report: Mapping[str, Any]
    run: Path | None
    files: Path = field(repr=False)  # the run directory; if temporary, deleted with the result
    dense: nn.Module | None = field(repr=False)  # the module given


@undisturbed()
def prune(
    model: nn.Module | str | Path,
    data: Data | str | Path | Sequence[Any] | Tensor | None = None,
    *,
    flops: float | str | None = None,
    params: float | str | None = None,
    latency: float | str | None = None,
    budgets: Mapping[str, float | str] | None = None,
    out: str | Path | None = None,
    recipe: str | Path | None = None,
    task: Any = None,
    loss: Callable[[Any, Any], Tensor] | None = None,
    batches: Iterable[Any] | None = None,
    observe: Observe | None = None,
    trust_code: bool = False,
    **settings: Any,
) -> Result:
    """Prune a module or checkpoint to its budgets, and fine-tune it if there are data or a task.

    Args:
        model: an `nn.Module`, which is not modified, or a weights file.
        data: a `Data`; a name or path, as for `slimmer prune --data`; or (train, test), each a pair
            of images (N, C, H, W), uint8 or float, and int64 labels (N,). Or `example_inputs` of
            one call: a tensor, or with `batches` also a tuple of arguments or arguments by name.
        flops: maximum FLOPs (multiply-adds for one image) after pruning: 0.5, "50%" or "1.8G".
        params: maximum number of parameters after pruning.
        latency: maximum latency of a run in ONNX Runtime: 0.5, "50%" or "8ms". How it is measured
            is set by latency_on, threads, batch, precision, image_size and latency_table.
        budgets: maximum of other costs after pruning, by the names of the costs.
        out: the run directory, new or empty. Without it, files are deleted with the result.
        recipe: a YAML recipe or the name of a built-in recipe; the other arguments override it.
        task: a `slimmer.Task`, any object with its attributes, or the name of a task as for
            `slimmer prune --task`.
        loss: takes (outputs, batch) and returns a scalar, by which the channels are scored. Without
            it they are scored by what they change in the outputs.
        batches: training batches, if you train the slim network yourself: they score the channels
            and recompute batch-norm statistics, and nothing is trained.
        observe: called with every event, a dictionary with its kind under "event".
        trust_code: run Python code that a file names, although you have not named it.
        settings: epochs, seed, arch, input_size, keep, only, round_to, depth, and any other recipe
            key, as in `**{"finetune.lr": 0.01}`. A module without data needs input_size.

    Raises:
        SlimmerError: the network, the data and the budgets don't fit together or can't be read.

    >>> import slimmer
    >>> from slimmer.models import build
    >>> dense = build("cifar_resnet8", in_channels=1)
    >>> result = slimmer.prune(dense, "digits", flops=0.5, epochs=0, **{"data.trust": True})
    >>> result.report["flops"]["ratio"] <= 0.5, result.run
    (True, None)
    """
    named = [("flops", flops), ("params", params), ("latency", latency)]
    given = [*budgets_on([*named, *(budgets or {}).items()]), *recipe_settings(settings)]
    own, named_file = module_or_file(model)
    given += named_file
    made, task, given = data_and_task(own, Asked(data, task, loss, batches), given)
    start = partial(stages.start, data=made, task=task, trust_code=trust_code)
    read = recipe_of(recipe, given)
    return _pruned(read, path_or_none(out), observe, own, start, trust_code=trust_code)


def _pruned(
    recipe: Recipe,
    out: Path | None,
    observe: Observe | None,
    own: nn.Module | None,
    start: Callable[..., tuple[Run, dict[str, Any]]],
    *,
    trust_code: bool,
) -> Result:
    """The result of a new run; without `out`, of a run in a temporary folder."""
    scratch = Path(mkdtemp(prefix="slimmer-")) if out is None else None
    try:
        run, report = start(
            recipe,
            out or Path(str(scratch), "run"),
            observe or (lambda _: None),
            model=duplicate(own) if own is not None else None,
            latest=out is not None,
        )
        slim = load_network(run.slim, own, trust_code=trust_code).cpu()
        plan = read_plan(run.plan)
    except BaseException:
        removed(scratch)
        raise
    kept = run.path if out is not None else None
    report = {**report, "run": kept and str(kept)}
    result = Result(slim, plan, report, kept, run.path, own)
    finalize(result, removed, scratch)
    return result


@undisturbed()
def finish(
    pruned: Result | str | Path,
    trained: nn.Module | str | Path | None = None,
    *,
    out: str | Path | None = None,
    data: Data | str | Path | Sequence[Any] | None = None,
    task: Any = None,
    model: nn.Module | None = None,
    entry: str | None = None,
    observe: Observe | None = None,
    trust_code: bool = False,
) -> Result:
    """Make a run of a slim network that you fine-tuned in a training loop of your own.

    The new run is like any other: `export`, `profile`, `compare` and `load` take it.

    Args:
        pruned: what `prune` returned, or the directory of a finished run.
        trained: the slim network after training, also inside a wrapper, or a checkpoint with its
            weights. Default: the network that `prune` returned, which was trained in place.
        out: the new run's directory, new or empty. Default: the next free one in runs/.
        data: what accuracy is measured on, as for `prune`. Default: the data of the pruned run.
        task: the task, if the pruned run was given it in Python.
        model: the dense module, if `pruned` is a directory and the run was started from a module.
        entry: which set of weights to take, if the checkpoint holds several, such as "model_ema".
        observe: called with every event, a dictionary with its kind under "event".
        trust_code: run code that the run's files name, although you have not named it.

    Raises:
        SlimmerError: the weights are not those of the slim network, or the run is damaged.

    >>> import tempfile, torch, slimmer
    >>> from slimmer.models import build
    >>> dense = build("cifar_resnet8", in_channels=1)
    >>> pruned = slimmer.prune(dense, input_size=(1, 8, 8), flops=0.5)
    >>> optimizer = torch.optim.SGD(pruned.model.train().parameters(), lr=0.1)
    >>> pruned.model(torch.rand(4, 1, 8, 8)).square().mean().backward()
    >>> optimizer.step()
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     slimmer.finish(pruned, out=folder).report["fine_tuned_outside"]
    'a module from Python'
    """
    if isinstance(pruned, Result):
        source, dense = Run(pruned.files), pruned.dense
        trained = pruned.model if trained is None else trained
    else:
        source, dense = open_run(Path(pruned)), accepted(model)
    run, report = finish_run(
        source,
        _network_or_file(trained, source),
        path_or_none(out),
        model=dense,
        data=place_or_data(data),
        task=task,
        entry=entry,
        observe=observe or (lambda _: None),
        trust_code=trust_code,
    )
    slim = load_network(run.slim, dense, trust_code=trust_code)
    return Result(slim, read_plan(run.plan), report, run.path, run.path, dense)


def _network_or_file(trained: nn.Module | str | Path | None, run: Run) -> nn.Module | Path:
    """The trained network, or the file of its weights. Raises RunError if there is neither."""
    if trained is None:
        found, right = "has no trained network", "give the network or its weights"
        raise RunError(str(run.path), found, right)
    return trained if isinstance(trained, nn.Module) else Path(trained)


def removed(folder: Path | None) -> None:
    """Remove a temporary folder, if there is one."""
    if folder is not None:
        rmtree(folder, ignore_errors=True)
