"""The calls that make a run: prune and finish."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import Any
from weakref import finalize

from torch import nn

from slimmer.api.arguments import accepted, made_data
from slimmer.data import Data
from slimmer.errors import RunError
from slimmer.models.copying import duplicate
from slimmer.pipeline import stages
from slimmer.pipeline.finish_run import finish_run
from slimmer.pipeline.surroundings import undisturbed
from slimmer.pruning.plan import Plan, read_plan
from slimmer.pruning.slim_file import load_network
from slimmer.recipe import SHORT, data_at, find_recipe, read_recipe
from slimmer.recipe.costs import budgets_on
from slimmer.runs.directory import Run
from slimmer.runs.events import Observe
from slimmer.runs.open_run import open_run


@dataclass(frozen=True, eq=False)
class Result:
    """A slim network in eval mode on the CPU, the plan that made it, all that was measured, and its
    run if kept.
    """

    model: nn.Module
    plan: Plan
    report: Mapping[str, Any]
    run: Path | None
    files: Path = field(repr=False)  # the run's directory; without a run it goes with the result
    dense: nn.Module | None = field(repr=False)  # the module that was given


@undisturbed()
def prune(
    model: nn.Module | str | Path,
    data: Data | str | Path | Sequence[Any] | None = None,
    *,
    flops: float | str | None = None,
    params: float | str | None = None,
    budgets: Mapping[str, float | str] | None = None,
    out: str | Path | None = None,
    recipe: str | Path | None = None,
    observe: Observe | None = None,
    trust_code: bool = False,
    **settings: Any,
) -> Result:
    """The slim network of a dense module or checkpoint, exactly inside the budgets.

    Args:
        model: an `nn.Module`, which is left as it is, or a file of weights.
        data: a `Data`; a name or path as for `slimmer prune --data`; or (train, test), each a pair of images
            (N, C, H, W), uint8 or float, and int64 labels (N,). Without data nothing is trained.
        flops: what may remain of the FLOPs (1 per multiply-add): 0.5, "50%" or "1.8G".
        params: what may remain of the parameters.
        budgets: what may remain of other costs, by the names that packages registered them under.
        out: the run directory, new or empty; without it nothing stays on disk after the result.
        recipe: a YAML recipe, or the name of one of slimmer's, that everything else is laid over.
        observe: hears every event of the run, a dictionary with its kind under "event".
        trust_code: take an architecture that is code and named by a file of slimmer's, not by you.
        settings: epochs, seed, device, arch, input_size, keep, only, trace, rewrite, round_to; and any other setting by
            its name in a recipe, as in `**{"finetune.lr": 0.01}`. A module without data needs input_size.

    Raises:
        SlimmerError: the network, the data and the budgets do not fit together, or can't be read.

    >>> import slimmer
    >>> from slimmer.models import build
    >>> dense = build("cifar_resnet8", in_channels=1)
    >>> result = slimmer.prune(dense, "digits", flops=0.5, epochs=0, **{"data.trust": True})
    >>> result.report["flops"]["ratio"] <= 0.5
    True
    >>> type(result.model).__name__, result.run
    ('CifarResNet', None)
    """
    given = budgets_on([("flops", flops), ("params", params), *(budgets or {}).items()])
    given += [
        (SHORT.get(key, key), _plain(value)) for key, value in settings.items() if value is not None
    ]
    own = None if isinstance(model, str | Path) else accepted(model)
    if own is None:
        given.append(("model.checkpoint", str(model)))
    made = None
    if isinstance(data, str | Path):
        given += data_at(str(data))
    elif data is not None:
        made = made_data(data)
    resolved = read_recipe(None if recipe is None else find_recipe(str(recipe), "recipe"), given)
    scratch = Path(mkdtemp(prefix="slimmer-")) if out is None else None
    place = Path(str(out)) if scratch is None else scratch / "run"
    try:
        run, report = stages.start(
            resolved,
            place,
            observe or (lambda _: None),
            model=None if own is None else duplicate(own),
            data=made,
            latest=out is not None,
            trust_code=trust_code,
        )
        slim = load_network(run.slim, own, trust_code=trust_code).cpu()
        plan = read_plan(run.plan)
    except BaseException:
        _clear(scratch)
        raise
    kept = None if out is None else run.path
    report = {**report, "run": kept and str(kept)}
    result = Result(slim, plan, report, kept, run.path, own)
    finalize(result, _clear, scratch)
    return result


@undisturbed()
def finish(
    pruned: Result | str | Path,
    trained: nn.Module | str | Path | None = None,
    *,
    out: str | Path | None = None,
    data: Data | str | Path | Sequence[Any] | None = None,
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
    ...     finished = slimmer.finish(pruned, out=folder)
    >>> finished.report["fine_tuned_outside"]
    'a module from Python'
    """
    if isinstance(pruned, Result):
        source, dense = Run(pruned.files), pruned.dense
        trained = pruned.model if trained is None else trained
    else:
        source, dense = open_run(Path(pruned)), accepted(model)
    if trained is None:
        raise RunError(
            str(source.path), "has no trained network", "give the network or its weights"
        )
    run, report = finish_run(
        source,
        trained if isinstance(trained, nn.Module) else Path(trained),
        None if out is None else Path(out),
        model=dense,
        data=str(data)
        if isinstance(data, str | Path)
        else None
        if data is None
        else made_data(data),
        entry=entry,
        observe=observe or (lambda _: None),
        trust_code=trust_code,
    )
    slim = load_network(run.slim, dense, trust_code=trust_code)
    return Result(slim, read_plan(run.plan), report, run.path, run.path, dense)


def _clear(folder: Path | None) -> None:
    """Remove a temporary folder, if there is one."""
    if folder is not None:
        rmtree(folder, ignore_errors=True)


def _plain(value: Any) -> Any:
    """Paths as the text that a recipe holds."""
    return str(value) if isinstance(value, Path) else value
