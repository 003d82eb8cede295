"""The calls on finished runs: load, export, profile and compare."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import nn

from slimmer.api.arguments import accepted, made_data
from slimmer.data import Data
from slimmer.pipeline.export_run import export_run
from slimmer.pipeline.profile_runs import profile_targets
from slimmer.pipeline.surroundings import undisturbed
from slimmer.pruning.slim_file import load_network
from slimmer.reports.compare_runs import compare_runs
from slimmer.reports.comparison_table import write_comparison
from slimmer.runs.directory import Run
from slimmer.runs.events import Observe
from slimmer.runs.open_run import open_run


@undisturbed()
def load(
    run: str | Path | None = None,
    model: nn.Module | None = None,
    *,
    arch: str | None = None,
    trust_code: bool = False,
) -> nn.Module:
    """The network of a run (default: the latest), or of a .safetensors file that slimmer wrote, in
    eval mode.

    It is built from architecture, plan and weights; nothing is unpickled. Where the run was started
    from a module, its dense `model` is needed, and left as it is. To go on training: `model =
    slimmer.load("RUN").train()`, and an optimizer over `model.parameters()`. An architecture that
    is code (FILE.py:FUNC) is built where you named it when the network was pruned, name it here as
    `arch`, or trust what the file names with `trust_code`. Raises RunError, CheckpointError or
    TrustError.
    """
    path = None if run is None else Path(run)
    file = path if path is not None and path.is_file() else open_run(path).slim
    return load_network(file, accepted(model), arch=arch, trust_code=trust_code)


@undisturbed()
def export(
    run: str | Path | None = None,
    data: Data | Sequence[Any] | str | Path | None = None,
    *,
    model: nn.Module | None = None,
    observe: Observe | None = None,
    trust_code: bool = False,
    **settings: Any,
) -> dict[str, Any]:
    """What the export of a run (default: the latest) measured, a file an entry under "networks".

    Args:
        run: the run's directory, in which the files then are: dense.onnx and slim.onnx in float32 for any batch,
            and what `settings` add of the slim network.
        data: the `Data`, or (train, test), of a run that was given them in Python, or where the run's data are now,
            if not where they were.
        model: the dense module of a run that was started from one.
        observe: hears of every file, a dictionary with its kind under "event".
        trust_code: run code that the run names, though you have not named it yourself.
        settings: the keys of a recipe's export section: opset, images; batch=8 and dynamic_size=True for another
            shape of the input; fp16=True (fp16_io=True); int8=True (int8_images, int8_drop, int8_symmetric=True);
            torch=True; dense=True for the dense network in these forms too.

    Raises:
        SlimmerError: RunError, RecipeError, or ExportError where a file computes something else than PyTorch, or
            int8 loses more than `int8_drop`.
    """
    made = str(data) if isinstance(data, str | Path) else None if data is None else made_data(data)
    tell = observe or (lambda _: None)
    return export_run(
        _run(run), settings, model=accepted(model), data=made, observe=tell, trust_code=trust_code
    )


@undisturbed()
def profile(
    *targets: str | Path, model: nn.Module | None = None, trust_code: bool = False, **settings: Any
) -> dict[str, Any]:
    """The latencies of a run's dense and slim network (default: the latest run), of several runs,
    or of ONNX files.

    `settings` are those of a recipe's profile section: batches, provider, runtimes, threads, runs,
    seconds, blocks, precision, image_size, strict, cuda_graph, tf32, conv_search, prefer_nhwc.
    `model` is the dense module of a run that was started from one, where it is not exported yet or
    PyTorch is among the runtimes. `trust_code` runs code that a run names, though you have not
    named it yourself. Raises RunError, ExportError, RecipeError, or RuntimeUnavailableError where a
    provider is not active.
    """
    paths = [Path(target) for target in targets]
    return profile_targets(paths, model=accepted(model), trust_code=trust_code, **settings)


def compare(*runs: str | Path, out: str | Path | None = None) -> dict[str, Any]:
    """The finished runs side by side, under "rows"; a directory of runs stands for all that are
    finished in it.

    Runs that differ only by their seed share a row; every figure has mean, std and n. With `out`,
    compare.md, .csv, .json and .png are written there. Raises RunError for runs of several networks
    or data, or not finished ones.
    """
    found = compare_runs([Path(run) for run in runs])
    if out is not None:
        write_comparison(Path(out), [found])
    return found


def _run(path: str | Path | None) -> Run:
    return open_run(None if path is None else Path(path))
