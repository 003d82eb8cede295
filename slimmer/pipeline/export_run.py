"""The export of a finished run's networks to files that other programs can run."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from slimmer.data import Data
from slimmer.errors import ExportError, RecipeError
from slimmer.exporting.forms import Source
from slimmer.exporting.onnx_file import bytes_of, remove, sums_of
from slimmer.exporting.staged import put, staged
from slimmer.exporting.variants import NETWORKS, Variant, variants
from slimmer.pipeline.export_job import ExportJob, check_asked, program_for
from slimmer.pipeline.export_listing import earlier, take_listed_places, tell_report, write_listing
from slimmer.pipeline.export_metadata import provenance, weights_of
from slimmer.pipeline.export_task import calibration_images, task_for_export
from slimmer.pipeline.profiled_forms import said_by_profile
from slimmer.pipeline.task_of_run import code_of
from slimmer.pipeline.verify_export import judge, measure
from slimmer.profiling.results import SCHEMA as PROFILE_SCHEMA
from slimmer.pruning.slim_file import load_network
from slimmer.recipe import data_at, read_recipe
from slimmer.recipe.costs import costs_in
from slimmer.runs.claim import claimed
from slimmer.runs.directory import Run
from slimmer.runs.events import Observe
from slimmer.runs.trust import check_code, is_gone, remember


def export_run(
    run: Run,
    settings: Mapping[str, Any] | None = None,
    *,
    model: nn.Module | None = None,
    data: Data | str | None = None,
    task: Any = None,
    observe: Observe = lambda _: None,
    trust_code: bool = False,
) -> dict[str, Any]:
    """Export a finished run and return what was measured; dense.onnx, slim.onnx and export.json are
    written to the run.

    `settings` override the recipe's export section, by its keys; further files that they request
    (see `variants`) are written too. Each file is compared with PyTorch on random images, or on the
    network's own example. If the run has data, it is also compared on test images, and its top-1 is
    measured on all of them. A file that is up to date is not written again; files of an earlier
    export stay listed. `model` is the dense module of a run that was started from Python without
    the name of an architecture. `data` are the data of a run that got them from Python, or the path
    where the run's data are now. Code that the run names is run only if the user named it too, or
    with `trust_code`.

    Raises RecipeError for invalid settings, DataError if `data` can't be read or do not fit the
    network, and ExportError if a network can't be exported, if the file computes something else, or
    if it loses more in int8 than `int8_drop`. Such a file is not kept.
    """
    settings = {} if settings is None else settings
    chosen = [(f"export.{key}", value) for key, value in settings.items()]
    if isinstance(data, str):
        chosen += data_at(data)
    recipe, report = read_recipe(run.recipe_file, chosen), run.read_report()
    if isinstance(data, str):
        remember(data)
    elif data is None and task is None:
        # Missing data are reported, and not run.
        code = [name for name in code_of(recipe) if not is_gone(name)]
        check_code(str(run.recipe_file), *code, trusted=trust_code)
    for key in ("int8_images", "int8_drop"):
        if settings.get(key) is not None and not recipe.export.int8:
            unused = "applies to the int8 file, which is not requested"
            raise RecipeError(f"export.{key}", unused, "add --int8")
    networks = {
        name: load_network(weights_of(run, name), model, trust_code=trust_code) for name in NETWORKS
    }
    with claimed(run.path, "slimmer"):
        take_listed_places(run)
        known = earlier(run, report)
        own = task_for_export(run, recipe, data, task, networks, observe)
        job = ExportJob(run, recipe, report, own, networks, known)
        check_asked(job)
        found = _export_all(job, observe)
        asked = [found["networks"][each.name] for each in variants(recipe.export)]
        for text in said_by_profile(run.read_profile(PROFILE_SCHEMA), asked, report["plan_hash"]):
            observe({"event": "note", "text": text})
        return found


def _export_all(job: ExportJob, observe: Observe) -> dict[str, Any]:
    """Write each file that the recipe requests: it is written and checked in a temporary folder,
    then listed, then moved to its place.
    """
    done: dict[str, Any] = {}
    try:
        with staged(job.run.path) as stage:
            for variant in variants(job.recipe.export):
                observe({"event": "export", "file": variant.file})
                done[variant.name] = _export(job, variant, done, stage)
    except BaseException:
        gone = [each for each in job.known.values() if not Path(each["file"]).is_file()]
        if done or gone:  # after an error the list still shows the files that exist
            write_listing(job, done)
            tell_report(job.run)
        raise
    found = write_listing(job, done)
    tell_report(job.run)
    return found


def _export(
    job: ExportJob, variant: Variant, done: Mapping[str, Any], stage: Path
) -> dict[str, Any]:
    """Write one file of the run, compare it with PyTorch, and return its entry in export.json. A
    file that computes something else is deleted.

    A new file is written to the folder `stage`. It is listed before it is moved; if the process is
    killed in between, the next export moves it.
    """
    path = job.run.path / variant.file
    metadata = provenance(job.run, variant, job.report, job.recipe, job.task, job.inputs)
    current = _is_current(job, variant, path, metadata)
    if current and not variant.form.reopened:
        return dict(job.known[variant.name])
    made = path if current else stage / variant.file
    if not current:
        variant.form.write(_source(job, variant, made, metadata), made)
    try:
        measured = measure(job, variant, made)
        notes = judge(job, variant, measured, done, made)
    except ExportError:
        # Neither a wrong file nor an outdated one of the same name is kept.
        remove(path)
        raise
    entry = {
        "file": str(path),
        "bytes": bytes_of(made),
        "sha256": sums_of(made),
        "reused": current,
        "precision": metadata["precision"],
        "precision_io": metadata["precision_io"],
        "batch": metadata["batch"],
        "image_size": metadata["image_size"],
        **{kind.name: int(metadata[kind.name]) for kind in costs_in(job.report)},
        **measured,
        "notes": notes,
    }
    if not current:
        write_listing(job, {**done, variant.name: entry})
        put(made, job.run.path)
    return entry


def _source(job: ExportJob, variant: Variant, path: Path, metadata: Mapping[str, str]) -> Source:
    """What a file is made from; `path` is where errors point to."""
    return Source(
        network=job.networks[variant.network],
        inputs=job.inputs,
        shape=variant.shape,
        float32=job.run.path / Variant(variant.network, shape=variant.shape).file,
        program=partial(program_for, job, variant, path),
        section=job.recipe.export,
        calibration=partial(calibration_images, job, variant),
        metadata=metadata,
    )


def _is_current(job: ExportJob, variant: Variant, path: Path, metadata: Mapping[str, str]) -> bool:
    """Whether `path` is already the file that would be written; its metadata may hold more if the
    data are missing now.
    """
    if variant.name not in job.known:  # absent, of another plan, or changed since it was checked
        return False
    try:
        return metadata.items() <= variant.form.read_metadata(path).items()
    except ExportError:
        return False
