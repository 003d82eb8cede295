"""A finished run's networks, or ONNX files, timed side by side."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import nn

from slimmer.errors import ExportError, RunError, RuntimeUnavailableError
from slimmer.export.onnx import read_input_size
from slimmer.export.variants import NETWORKS
from slimmer.files import write_json
from slimmer.profiling import profile
from slimmer.registry import hint
from slimmer.run import Run, open_run
from slimmer.run_export import Observe, export_run, tell_report
from slimmer.runtimes.onnxruntime import PROVIDERS


def profile_targets(
    paths: Sequence[Path],
    *,
    batches: Sequence[int] | None = None,
    provider: str | None = None,
    threads: int | None = None,
    model: nn.Module | None = None,
    observe: Observe = lambda _: None,
) -> dict[str, Any]:
    """The latencies of what is named: one run, by default the latest, or ONNX files.

    Raises RunError where they are neither, and what `profile_run` and `profile_files` raise.
    """
    if paths and all(path.suffix == ".onnx" for path in paths):
        return profile_files(paths, batches=batches, provider=provider, threads=threads, observe=observe)
    if len(paths) > 1:
        raise RunError("profile", f"{len(paths)} targets that are not all .onnx files", "name one run, or ONNX files")
    run = open_run(paths[0] if paths else None)
    return profile_run(run, batches=batches, provider=provider, threads=threads, model=model, observe=observe)


def profile_run(
    run: Run,
    *,
    batches: Sequence[int] | None = None,
    provider: str | None = None,
    threads: int | None = None,
    model: nn.Module | None = None,
    observe: Observe = lambda _: None,
) -> dict[str, Any]:
    """The latency of a run's dense network against its slim one; profile.json is then in the run.

    What is not given comes from the run's recipe. A run without ONNX files is exported first.
    Raises RuntimeUnavailableError where `provider` is unknown or not active, and what `export_run` raises.
    """
    section = run.recipe().profile
    provider = check_provider(provider or section.provider)
    if not all(run.onnx(name).is_file() for name in NETWORKS):
        observe({"event": "note", "text": f"{run.path} has no ONNX files yet; exporting first"})
        export_run(run, model=model, observe=observe)
    found = _profile(
        [(name, run.onnx(name)) for name in NETWORKS],
        batches or section.batches,
        provider,
        threads or section.threads,
        observe,
    )
    write_json(run.profile, found)
    tell_report(run)
    return found


def profile_files(
    paths: Sequence[Path],
    *,
    batches: Sequence[int] | None = None,
    provider: str | None = None,
    threads: int | None = None,
    observe: Observe = lambda _: None,
) -> dict[str, Any]:
    """The latency of ONNX files, each compared with the first; nothing is written.

    Raises ExportError for a file that is missing or broken, and RuntimeUnavailableError where `provider` is
    unknown or not active.
    """
    stems = [path.stem for path in paths]
    names = stems if len(set(stems)) == len(stems) else [str(path) for path in paths]
    models = list(zip(names, paths, strict=True))
    return _profile(models, batches or (1, 64), check_provider(provider or "cpu"), threads, observe)


def check_provider(provider: str) -> str:
    """The provider. Raises RuntimeUnavailableError where no provider has that name, before anything is exported."""
    if provider not in PROVIDERS:
        raise RuntimeUnavailableError("provider", f"{provider!r} is not known", hint(provider, PROVIDERS))
    return provider


def _profile(
    models: Sequence[tuple[str, Path]],
    batches: Sequence[int],
    provider: str,
    threads: int | None,
    observe: Observe,
) -> dict[str, Any]:
    sizes = {path: read_input_size(path) for _, path in models}
    if len(set(sizes.values())) > 1:
        listed = ", ".join(f"{path} {size}" for path, size in sizes.items())
        raise ExportError("profile", f"the networks take images of different sizes: {listed}", "files of one size")

    def tell(done: int, steps: int, text: str) -> None:
        observe({"event": "profile", "done": done, "steps": steps, "next": text})

    size = next(iter(sizes.values()))
    timed = profile(
        models, input_size=size, batches=tuple(batches), provider=provider, threads=threads, on_progress=tell
    )
    return timed.to_dict()
