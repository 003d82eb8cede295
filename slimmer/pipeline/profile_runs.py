"""Latency profiles of the networks of finished runs, or of ONNX files."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from slimmer.atomic_files import write_json
from slimmer.errors import ExportError, RunError
from slimmer.exporting.variants import NETWORKS
from slimmer.pipeline.export_listing import earlier, tell_report
from slimmer.pipeline.export_metadata import weights_of
from slimmer.pipeline.export_run import export_run
from slimmer.pipeline.profiled_forms import forms_to_time
from slimmer.pipeline.profiled_sizes import check_batches, input_size
from slimmer.profiling.profile_networks import Conditions, Effort, Network, profile
from slimmer.profiling.runtimes.known import check_runtimes
from slimmer.profiling.runtimes.session_options import Options
from slimmer.pruning.slim_file import load_network
from slimmer.recipe import read_recipe
from slimmer.recipe.sections import ProfileSection
from slimmer.runs.directory import Run
from slimmer.runs.events import Observe
from slimmer.runs.open_run import open_run


def profile_targets(
    paths: Sequence[Path],
    *,
    model: nn.Module | None = None,
    trust_code: bool = False,
    observe: Observe = lambda _: None,
    **settings: Any,
) -> dict[str, Any]:
    """The latencies of one run (by default the latest), of several runs of one network, or of ONNX
    files.

    `settings` are keys of a recipe's profile section; None keeps a setting as it is. Code that a
    run names is run only if the user named it too, or with `trust_code`. Raises RunError for a mix
    of runs and files, and whatever `profile_run`, `profile_runs` and `profile_files` raise.
    """
    for number, path in enumerate(paths):
        if path in paths[:number]:
            raise RunError("profile", f"{path} is given twice", "give each run or file once")
    files = [path for path in paths if path.suffix == ".onnx"]
    if files and len(files) == len(paths):
        return profile_files(paths, observe=observe, **settings)
    if files:
        found = f"{len(files)} of {len(paths)} targets are .onnx files"
        raise RunError("profile", found, "give either runs or ONNX files")
    how: dict[str, Any] = {"model": model, "trust_code": trust_code, "observe": observe}
    if len(paths) > 1:
        return profile_runs([open_run(path) for path in paths], **how, **settings)
    latest_or_given = open_run(paths[0]) if paths else open_run(None)
    return profile_run(latest_or_given, **how, **settings)


def profile_run(
    run: Run,
    *,
    model: nn.Module | None = None,
    trust_code: bool = False,
    observe: Observe = lambda _: None,
    **settings: Any,
) -> dict[str, Any]:
    """The latency of a run's dense and slim networks, which is also written to profile.json in the
    run.

    Settings that are not given come from the run's recipe. A run without ONNX files is exported
    first. Its fp16 and int8 files for any batch are timed too, in ONNX Runtime, unless the settings
    forbid that nodes fall back to another provider. `model` is the dense module of a run that was
    started from Python without the name of an architecture. Raises RecipeError for an invalid
    setting, RuntimeUnavailableError if a provider or a runtime is not available, and whatever
    `export_run` raises.
    """
    section = _section(run.recipe_file, settings)
    _export(run, model, observe, trust_code=trust_code)
    networks = [_network(run, name, name, model, trust_code=trust_code) for name in NETWORKS]
    found = _profile(
        [*networks, *forms_to_time(earlier(run, run.read_report()), section)], section, observe
    )
    write_json(run.profile, found)
    tell_report(run)
    return found


def profile_runs(
    runs: Sequence[Run],
    /,  # positional, because one of the settings is called runs
    *,
    model: nn.Module | None = None,
    trust_code: bool = False,
    observe: Observe = lambda _: None,
    **settings: Any,
) -> dict[str, Any]:
    """The latency of several runs' slim networks, compared with the dense network of the first;
    nothing is written.

    Raises RunError for runs of different networks, and whatever `profile_run` raises.
    """
    section = _section(runs[0].recipe_file, settings)
    kinds = {
        (report["arch"], *report["input_size"], report["flops"]["dense"])
        for report in map(Run.read_report, runs)
    }
    if len(kinds) > 1:
        found = f"runs of different networks: {', '.join(sorted(str(kind[0]) for kind in kinds))}"
        raise RunError("profile", found, "give runs of one network")
    for run in runs:
        _export(run, model, observe, trust_code=trust_code)
    names = [run.path.name for run in runs]
    if len(set(names)) < len(names):
        names = [str(run.path) for run in runs]
    networks = [_network(runs[0], "dense", "dense", model, trust_code=trust_code)]
    networks += [
        _network(run, "slim", f"slim {name}", model, trust_code=trust_code)
        for run, name in zip(runs, names, strict=True)
    ]
    return _profile(networks, section, observe)


def profile_files(
    paths: Sequence[Path], *, observe: Observe = lambda _: None, **settings: Any
) -> dict[str, Any]:
    """The latency of ONNX files, each compared with the first; nothing is written.

    Raises ExportError for a file that is missing or broken, RecipeError for an invalid setting, and
    RuntimeUnavailableError if a provider is unknown or not available, or if PyTorch is requested.
    """
    section = _section(None, settings)
    names = [path.stem for path in paths]
    if len(set(names)) < len(names):
        names = [str(path) for path in paths]
    return _profile(
        [Network(name, path) for name, path in zip(names, paths, strict=True)], section, observe
    )


def _section(recipe: Path | None, settings: dict[str, Any]) -> ProfileSection:
    """The recipe's profile section, overridden by `settings`. Raises RuntimeUnavailableError unless
    its runtimes and its provider are available.
    """
    given = []
    for key, value in settings.items():
        if value is not None:
            plain = list(value) if isinstance(value, tuple) else value
            given.append((f"profile.{key}", plain))
    section = read_recipe(recipe, given).profile
    check_runtimes(section.runtimes, section.provider, _options(section))
    return section


def _export(run: Run, model: nn.Module | None, observe: Observe, *, trust_code: bool) -> None:
    """Export the run unless it has checked ONNX files. Raises ExportError if they can't be
    timed.
    """
    report = run.read_report()
    if not report["input_size"]:
        found = "its network uses example_inputs, and only networks that take one image are timed"
        raise ExportError(str(run.path), found, "time its ONNX files with your own inputs")
    if not earlier(run, report).keys() >= set(NETWORKS):
        text = f"{run.path} has no checked ONNX files yet; exporting first"
        observe({"event": "note", "text": text})
        export_run(run, model=model, observe=observe, trust_code=trust_code)


def _network(
    run: Run, kind: str, name: str, model: nn.Module | None, *, trust_code: bool
) -> Network:
    """The run's "dense" or "slim" network, by the `kind`, under the given name."""
    weights = weights_of(run, kind)
    module: Callable[[], nn.Module] = partial(load_network, weights, model, trust_code=trust_code)
    return Network(name, run.onnx(kind), module)


def _profile(
    networks: Sequence[Network], section: ProfileSection, observe: Observe
) -> dict[str, Any]:
    sizes = {
        network.path: input_size(network.path, section.image_size, observe) for network in networks
    }
    if len(set(sizes.values())) > 1:
        listed = ", ".join(f"{path} {size}" for path, size in sizes.items())
        found = f"the networks take images of different sizes: {listed}"
        raise ExportError("profile", found, "give files for images of one size")

    for network in networks:
        check_batches(network.path, section.batches)

    def tell(done: int, steps: int, text: str) -> None:
        observe({"event": "profile", "done": done, "steps": steps, "next": text})

    conditions = Conditions(
        input_size=next(iter(sizes.values())),
        effort=Effort(section.seconds, section.runs, section.blocks, section.precision),
        batches=section.batches,
        provider=section.provider,
        runtimes=section.runtimes,
        threads=section.thread_counts(),
        options=_options(section),
    )
    return profile(networks, conditions, tell).to_dict()


def _options(section: ProfileSection) -> Options:
    """The session options of a profile section."""
    return Options(
        strict=section.strict,
        cuda_graph=section.cuda_graph,
        tf32=section.tf32,
        conv_search=section.conv_search,
        prefer_nhwc=section.prefer_nhwc,
    )
