"""The calls on finished runs: load, export, profile, report and compare."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import nn

from slimmer.api.arguments import accepted, path_or_none, place_or_data
from slimmer.data import Data
from slimmer.pipeline.export_run import export_run
from slimmer.pipeline.profile_runs import profile_targets
from slimmer.pipeline.surroundings import undisturbed
from slimmer.pruning.slim_file import load_network
from slimmer.reports.compare_runs import compare_runs
from slimmer.reports.comparison_table import write_comparison
from slimmer.reports.page import write_compare_page, write_pages
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
    """The slim network of a run (default: the latest) or of a .safetensors file of slimmer.

    The network is in eval mode. It is rebuilt from architecture, plan and weights; nothing is
    unpickled. To train it further, call `.train()` and make an optimizer over its parameters.

    Args:
        run: a run directory or a .safetensors file.
        model: the dense module, which is not modified, if the run was started from a module.
        arch: the architecture, if it is code (FILE.py:FUNC) that you did not name when you pruned.
        trust_code: build the architecture that the file names.

    Raises:
        SlimmerError: RunError, CheckpointError or TrustError.
    """
    path = path_or_none(run)
    if path is None or not path.is_file():
        path = open_run(path).slim
    return load_network(path, accepted(model), arch=arch, trust_code=trust_code)


@undisturbed()
def export(
    run: str | Path | None = None,
    data: Data | Sequence[Any] | str | Path | None = None,
    *,
    task: Any = None,
    model: nn.Module | None = None,
    observe: Observe | None = None,
    trust_code: bool = False,
    **settings: Any,
) -> dict[str, Any]:
    """Export a run (default: the latest) to ONNX and return what was measured.

    Args:
        run: the run directory. The files are written there: dense.onnx and slim.onnx in float32
            with a dynamic batch size, and the additional files that `settings` ask for.
        data: the `Data` or (train, test), if the run was given its data in Python; or the location
            of the data, if they have been moved.
        task: the task, if the run was given it in Python.
        model: the dense module, if the run was started from a module.
        observe: called with an event for every file, a dictionary with its kind under "event".
        trust_code: run Python code that the run names, although you have not named it.
        settings: the keys of a recipe's export section: opset, images, batch, dynamic_size, fp16,
            fp16_io, int8, int8_images, int8_drop, int8_symmetric, torch, dense.

    Returns:
        A dictionary with an entry per file under "networks".

    Raises:
        SlimmerError: RunError, RecipeError, or ExportError if the outputs of a file differ from
            PyTorch's or int8 loses more accuracy than `int8_drop`.
    """
    return export_run(
        open_run(path_or_none(run)),
        settings,
        model=accepted(model),
        data=place_or_data(data),
        task=task,
        observe=observe or (lambda _: None),
        trust_code=trust_code,
    )


@undisturbed()
def profile(
    *targets: str | Path, model: nn.Module | None = None, trust_code: bool = False, **settings: Any
) -> dict[str, Any]:
    """Measure the latency of a run's dense and slim network (default: the latest run).

    Args:
        targets: a run, several runs of one network, or ONNX files to compare with the first.
        model: the dense module, if the run was started from a module and is not exported yet, or
            if PyTorch is among the runtimes.
        trust_code: run Python code that a run names, although you have not named it.
        settings: the keys of a recipe's profile section: batches, provider, runtimes, threads,
            runs, seconds, blocks, precision, image_size, strict, cuda_graph, tf32, conv_search,
            prefer_nhwc.

    Raises:
        SlimmerError: RunError, ExportError, RecipeError, or RuntimeUnavailableError if a provider
            is not active.
    """
    paths = [Path(target) for target in targets]
    return profile_targets(paths, model=accepted(model), trust_code=trust_code, **settings)


def report(*runs: str | Path) -> list[Path]:
    """Write the HTML report of runs (default: the latest), and return the paths of the files.

    A directory stands for all finished runs in it. `prune`, `export` and `profile` write this file,
    RUN/report.html, too.

    Raises RunError if a path is not a run, or if a run is not finished or damaged.
    """
    return write_pages([Path(run) for run in runs])


def compare(
    *runs: str | Path, out: str | Path | None = None, html: str | Path | None = None
) -> dict[str, Any]:
    """Compare finished runs of one network and data set; returns one entry per row under "rows".

    A directory stands for all finished runs in it. Runs that differ only in their seed share a row,
    with mean, std and n. With `out`, writes compare.md, .csv, .json and .png there; with `html`, an
    HTML page to that file.

    Raises RunError if a run is not finished, or if the runs have several networks or data sets.
    """
    found = compare_runs([Path(run) for run in runs])
    if out is not None:
        write_comparison(Path(out), [found])
    if html is not None:
        write_compare_page(Path(html), found)
    return found
