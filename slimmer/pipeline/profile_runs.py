"""Finished runs' networks, or ONNX files, timed side by side."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from slimmer.atomic_files import read_json, write_json
from slimmer.errors import ExportError, RunError
from slimmer.exporting.onnx import read_batch, read_input_size
from slimmer.exporting.variants import NETWORKS
from slimmer.pipeline.export_run import earlier, export_run, tell_report
from slimmer.pipeline.profiled_forms import forms_to_time
from slimmer.profiling.profile_networks import Conditions, Effort, Network, profile
from slimmer.profiling.runtimes.known import check_runtimes
from slimmer.profiling.runtimes.session_options import Options
from slimmer.pruning.slim_file import load_network
from slimmer.recipe import read_recipe
from slimmer.recipe.sections import ProfileSection
from slimmer.runs.directory import Run, open_run
from slimmer.runs.events import Observe


def profile_targets(
    paths: Sequence[Path],
    *,
    model: nn.Module | None = None,
    trust_code: bool = False,
    observe: Observe = lambda _: None,
    **settings: Any,
) -> dict[str, Any]:
    """The latencies of what is named: one run, by default the latest, several runs of one network,
    or ONNX files.

    `settings` are keys of a recipe's profile section; None leaves one as it is. Code that a run
    names is run where the user named it too, or with `trust_code`. Raises RunError where they are
    neither, and what `profile_run`, `profile_runs` and `profile_files` raise.
    """
    twice = [path for number, path in enumerate(paths) if path in paths[:number]]
    if twice:
        raise RunError("profile", f"{twice[0]} is named twice", "name each run or file once")
    files = [path for path in paths if path.suffix == ".onnx"]
    if files and len(files) == len(paths):
        return profile_files(paths, observe=observe, **settings)
    if files:
        raise RunError(
            "profile",
            f"{len(paths)} targets that are not all .onnx files",
            "name runs, or ONNX files",
        )
    if len(paths) > 1:
        return profile_runs(
            [open_run(path) for path in paths],
            model=model,
            trust_code=trust_code,
            observe=observe,
            **settings,
        )
    return profile_run(
        open_run(paths[0] if paths else None),
        model=model,
        trust_code=trust_code,
        observe=observe,
        **settings,
    )


def profile_run(
    run: Run,
    *,
    model: nn.Module | None = None,
    trust_code: bool = False,
    observe: Observe = lambda _: None,
    **settings: Any,
) -> dict[str, Any]:
    """The latency of a run's dense network against its slim one; profile.json is then in the run.

    What is not given comes from the run's recipe. A run without ONNX files is exported first. Files
    in fp16 and int8 that it has for any batch are timed too, in ONNX Runtime and where nodes may
    run where they do. `model` is the dense module of a run that was started from Python without an
    architecture's name. Raises RecipeError for a setting that makes no sense,
    RuntimeUnavailableError where a provider or a runtime is not active, and what `export_run`
    raises.
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
    /,  # a setting is called runs too
    *,
    model: nn.Module | None = None,
    trust_code: bool = False,
    observe: Observe = lambda _: None,
    **settings: Any,
) -> dict[str, Any]:
    """The latency of several runs' slim networks against the first one's dense network; nothing is
    written.

    Raises RunError for runs of several networks, and what `profile_run` raises.
    """
    section = _section(runs[0].recipe_file, settings)
    kinds = {
        (report["arch"], *report["input_size"], report["flops"]["dense"])
        for report in map(Run.read_report, runs)
    }
    if len(kinds) > 1:
        found = f"runs of several networks: {', '.join(sorted(str(kind[0]) for kind in kinds))}"
        raise RunError("profile", found, "name runs of one network")
    for run in runs:
        _export(run, model, observe, trust_code=trust_code)
    short = [run.path.name for run in runs]
    names = short if len(set(short)) == len(short) else [str(run.path) for run in runs]
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

    Raises ExportError for a file that is missing or broken, RecipeError for a setting that makes no
    sense, and RuntimeUnavailableError where a provider is unknown or not active, or PyTorch is
    asked for.
    """
    section = _section(None, settings)
    stems = [path.stem for path in paths]
    names = stems if len(set(stems)) == len(stems) else [str(path) for path in paths]
    return _profile(
        [Network(name, path) for name, path in zip(names, paths, strict=True)], section, observe
    )


def _section(recipe: Path | None, settings: dict[str, Any]) -> ProfileSection:
    """The recipe's profile section with `settings` laid over it; its runtimes and provider are
    there.
    """
    given = [
        (f"profile.{key}", list(value) if isinstance(value, tuple) else value)
        for key, value in settings.items()
    ]
    section = read_recipe(
        recipe, [(key, value) for key, value in given if value is not None]
    ).profile
    check_runtimes(section.runtimes, section.provider, _options(section))
    return section


def _export(run: Run, model: nn.Module | None, observe: Observe, *, trust_code: bool) -> None:
    """See to it that the run has its ONNX files, checked. Raises ExportError where they can't be
    timed.
    """
    report = run.read_report()
    if not report["input_size"]:
        found = "its network has inputs of its own, and only networks of one image are timed"
        raise ExportError(str(run.path), found, "time its ONNX files with your own inputs")
    if not earlier(run, report).keys() >= set(NETWORKS):
        observe(
            {"event": "note", "text": f"{run.path} has no checked ONNX files yet; exporting first"}
        )
        export_run(run, model=model, observe=observe, trust_code=trust_code)


def _network(
    run: Run, kind: str, name: str, model: nn.Module | None, *, trust_code: bool
) -> Network:
    """The run's dense or slim network under a name of its own."""
    weights = run.dense if kind == "dense" else run.slim
    module: Callable[[], nn.Module] = partial(load_network, weights, model, trust_code=trust_code)
    return Network(name, run.onnx(kind), module)


def _profile(
    networks: Sequence[Network], section: ProfileSection, observe: Observe
) -> dict[str, Any]:
    sizes = {
        network.path: _input_size(network.path, section.image_size, observe) for network in networks
    }
    if len(set(sizes.values())) > 1:
        listed = ", ".join(f"{path} {size}" for path, size in sizes.items())
        raise ExportError(
            "profile", f"the networks take images of different sizes: {listed}", "files of one size"
        )

    for network in networks:
        _check_batches(network.path, section.batches)

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
    """The section's options of a session."""
    return Options(
        strict=section.strict,
        cuda_graph=section.cuda_graph,
        tf32=section.tf32,
        conv_search=section.conv_search,
        prefer_nhwc=section.prefer_nhwc,
    )


def _input_size(
    path: Path, wanted: tuple[int, int] | None, observe: Observe
) -> tuple[int, int, int]:
    """What one image of the file's is: its own size, or where it takes any the one `wanted`
    (height, width).

    Without either it is the size that the file's run was made for, where the run lists the file.
    """
    channels, *own = read_input_size(path)
    height, width = wanted or own
    known = _size_in_its_run(path) if height is None or width is None else None
    if known is not None and known[0] == channels:
        height, width = height or known[1], width or known[2]
        said = (
            f"{path} takes images of {_sides(own)}; timed at {height}x{width}, the size of its run"
        )
        observe({"event": "note", "text": f"{said} (another one: --image-size)"})
    if height is None or width is None:
        found = f"takes images of {_sides(own)}, and no size is named"
        raise ExportError(
            str(path), found, "name the height and width to time: --image-size 224,224, say"
        )
    if any(fixed not in (None, size) for fixed, size in zip(own, (height, width), strict=True)):
        found = f"takes images of {_sides(own)}, where {height}x{width} are asked for"
        raise ExportError(
            str(path), found, "time files for any size: `slimmer export --dynamic-size --dense`"
        )
    return channels, height, width


def _size_in_its_run(path: Path) -> tuple[int, int, int] | None:
    """The (channels, height, width) that the export.json beside a file knows, if it lists the file;
    else None.
    """
    try:
        networks = read_json(path.with_name(Run(path.parent).exported.name))["networks"].values()
        if path.name not in [Path(each["file"]).name for each in networks]:
            return None
        told = [str(each["image_size"]).split("x") for each in networks]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):  # none, or a damaged one
        return None
    sizes = {
        tuple(map(int, sides))
        for sides in told
        if len(sides) == 3 and all(map(str.isdecimal, sides))
    }
    match list(sizes):
        case [(channels, height, width)]:
            return channels, height, width
    return None


def _check_batches(path: Path, batches: Sequence[int]) -> None:
    """Raise ExportError for a batch size that the file at `path`, made for one of its own, does not
    take.
    """
    fixed = read_batch(path)
    wrong = [batch for batch in batches if batch != fixed]
    if fixed is not None and wrong:
        found = f"takes batches of {fixed} and no others, where {_listed(batches)} are asked for"
        right = f"time it with --batch {fixed}, or time files for any batch, which `slimmer export` writes"
        raise ExportError(str(path), found, right)


def _listed(numbers: Sequence[int]) -> str:
    return " and ".join(map(str, numbers))


def _sides(sides: Sequence[int | None]) -> str:
    return "x".join("any" if side is None else str(side) for side in sides)
