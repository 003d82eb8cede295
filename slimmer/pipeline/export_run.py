"""A finished run's networks written for other programs to run, and held against PyTorch."""

from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from torch import nn

from slimmer.atomic_files import write_json, write_text
from slimmer.data import Data
from slimmer.errors import DataError, ExportError, RecipeError, RunError
from slimmer.exporting.fp16 import write_fp16
from slimmer.exporting.int8 import calibration, write_int8
from slimmer.exporting.onnx import export_onnx, read_metadata
from slimmer.exporting.onnx_file import bytes_of, remove, sums_of
from slimmer.exporting.staged import put, staged, take_places
from slimmer.exporting.torch_program import read_program_metadata, write_program
from slimmer.exporting.variants import NETWORKS, Variant, variants
from slimmer.models.checkpoint import read_metadata as read_notes
from slimmer.pipeline.export_metadata import provenance, weights_of
from slimmer.pipeline.job import check_fit, load_data
from slimmer.pipeline.profiled_forms import said_by_profile
from slimmer.pipeline.verify_export import ExportJob, check_asked, judge, measure, program_for
from slimmer.profiling.results import SCHEMA as PROFILE_SCHEMA
from slimmer.pruning.slim_file import Identity, load_network
from slimmer.recipe import Recipe, data_at, read_recipe
from slimmer.recipe.costs import costs_in
from slimmer.recipe.sections import DataSection
from slimmer.reports.run_report import to_markdown
from slimmer.runs.claim import claimed
from slimmer.runs.directory import Run
from slimmer.runs.events import Observe
from slimmer.runs.trust import check_code, is_gone, remember

FORMAT = 2


def export_run(
    run: Run,
    settings: Mapping[str, Any] | None = None,
    *,
    model: nn.Module | None = None,
    data: Data | str | None = None,
    observe: Observe = lambda _: None,
    trust_code: bool = False,
) -> dict[str, Any]:
    """What the export of a finished run measured; dense.onnx, slim.onnx and export.json are then in
    the run.

    `settings` are laid over the recipe's export section, by its keys: what they ask for beside
    those two files (see `variants`) is written too. Each file is compared with PyTorch on random
    images, or on the network's own example, and where the run has data on test images too, on all
    of which its top-1 is taken. A file that is current is not written again; what an earlier export
    wrote stays listed. `model` is the dense module of a run that was started from Python without an
    architecture's name, and `data` are those of one that was given them in Python, or say where the
    run's data are now. Code that the run names is run where the user named it too, or with
    `trust_code`.

    Raises RecipeError for settings that can't be, DataError where `data` can't be read or are not
    for this network, and ExportError where a network can't be exported, computes something else in
    the file, or loses more in int8 than `int8_drop`: such a file is not kept.
    """
    chosen = [(f"export.{key}", value) for key, value in (settings or {}).items()]
    chosen += data_at(data) if isinstance(data, str) else []
    recipe, report = read_recipe(run.recipe_file, chosen), run.read_report()
    if data is None and not is_gone(
        recipe.data.path
    ):  # data that are gone are said to be, and run nothing
        check_code(str(run.recipe_file), recipe.data.name, recipe.data.path, trusted=trust_code)
    elif isinstance(data, str):
        remember(data)
    idle = [key for key in ("int8_images", "int8_drop") if (settings or {}).get(key) is not None]
    if idle and not recipe.export.int8:
        raise RecipeError(
            f"export.{idle[0]}", "is about the int8 file, which is not asked for", "add --int8"
        )
    networks = {
        name: load_network(weights_of(run, name), model, trust_code=trust_code) for name in NETWORKS
    }
    with claimed(run.path, "slimmer"):
        _take_places(run)
        job = ExportJob(
            run, recipe, report, _data(run, recipe, data, observe), networks, earlier(run, report)
        )
        check_asked(job)
        found = _export_all(job, observe)
        asked = [found["networks"][each.name] for each in variants(recipe.export)]
        for text in said_by_profile(run.read_profile(PROFILE_SCHEMA), asked, report["plan_hash"]):
            observe({"event": "note", "text": text})
        return found


def _export_all(job: ExportJob, observe: Observe) -> dict[str, Any]:
    """Each file that the recipe asks for, made and checked apart, then listed, then put in its
    place.
    """
    done: dict[str, Any] = {}
    try:
        with staged(job.run.path) as stage:
            for variant in variants(job.recipe.export):
                observe({"event": "export", "file": variant.file})
                done[variant.name] = _export(job, variant, done, stage)
    except BaseException:
        gone = [each for each in job.known.values() if not Path(each["file"]).is_file()]
        if done or gone:  # what is there is listed, whichever file this ended at
            _list(job, done)
            tell_report(job.run)
        raise
    found = _list(job, done)
    tell_report(job.run)
    return found


def _take_places(run: Run) -> None:
    """Put files in their places that an export listed and was killed before it had moved them; drop
    what else it left.

    So there is never a file that is not listed, nor one listed that is another one.
    """
    try:
        listed = run.read_exported()
    except RunError:  # damaged: this export writes it anew
        listed = None
    entries = listed["networks"].values() if listed is not None else ()
    take_places(run.path, {Path(each["file"]).name: each["sha256"] for each in entries})


def tell_report(run: Run) -> None:
    """Write report.md anew, with all that is known of the run by now."""
    write_text(
        run.text,
        to_markdown(run.read_report(), run.read_exported(), run.read_profile(PROFILE_SCHEMA)),
    )


def earlier(run: Run, report: Mapping[str, Any]) -> dict[str, Any]:
    """What export.json lists of these very networks, by name, as far as the files are still the
    same.
    """
    try:
        listed = run.read_exported()
    except RunError:  # damaged: this export writes it anew
        return {}
    wanted = {"format": FORMAT, **{key: report[key] for key in ("recipe_hash", "plan_hash")}}
    if listed is None or any(listed[key] != value for key, value in wanted.items()):
        return {}
    files = {
        name: run.path / Path(entry["file"]).name for name, entry in listed["networks"].items()
    }  # moved, maybe
    same = [
        name
        for name, path in files.items()
        if path.is_file() and sums_of(path) == listed["networks"][name]["sha256"]
    ]
    return {
        name: {**listed["networks"][name], "file": str(files[name]), "reused": True}
        for name in same
    }


def _list(job: ExportJob, done: Mapping[str, Any]) -> dict[str, Any]:
    """What export.json then holds: what was done now, and what earlier exports wrote and is still
    there.
    """
    kept = {
        name: each
        for name, each in job.known.items()
        if name not in done and Path(each["file"]).is_file()
    }
    found = {
        "format": FORMAT,
        "slimmer": version("slimmer"),
        "run": str(job.run.path),
        "recipe_hash": job.report["recipe_hash"],
        "plan_hash": job.report["plan_hash"],
        "networks": {**done, **kept},
    }
    write_json(job.run.exported, found)
    return found


def _export(
    job: ExportJob, variant: Variant, done: Mapping[str, Any], stage: Path
) -> dict[str, Any]:
    """One file of the run, and how it stands to PyTorch; a file that computes something else goes.

    A new one is made in the folder `stage`. It is listed before it is moved, which the next export
    would go on with.
    """
    path = job.run.path / variant.file
    metadata = provenance(job.run, variant, job.report, job.recipe, job.data, job.inputs)
    current = _is_current(job, variant, path, metadata)
    if (
        current and variant.form == "torch"
    ):  # reading it may unpickle, so only one that was just written is read
        return dict(job.known[variant.name])
    made = path if current else stage / variant.file
    if not current:
        _write(job, variant, made, metadata)
    try:
        measured = measure(job, variant, made)
        notes = judge(job, variant, measured, done, made)
    except ExportError:
        remove(
            path
        )  # what is not right does not stay, nor one of the same name that was made of something else
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
        _list(job, {**done, variant.name: entry})
        put(made, job.run.path)
    return entry


def _write(job: ExportJob, variant: Variant, path: Path, metadata: Mapping[str, str]) -> None:
    section, shape = job.recipe.export, variant.shape
    network = job.networks[variant.network]
    source = job.run.path / Variant(variant.network, "fp32", shape).file
    match variant.form:
        case "fp32":
            program = program_for(job, variant, path)
            opset = section.opset
            export_onnx(
                network,
                path,
                job.inputs,
                metadata=metadata,
                opset=opset,
                shape=shape,
                program=program,
            )
        case "torch":
            program = program_for(job, variant, path)
            write_program(
                network, path, job.inputs, metadata=metadata, shape=shape, program=program
            )
        case "fp16":
            write_fp16(source, path, half_io=section.fp16_io, metadata=metadata)
        case "int8" if job.data is not None:
            images = calibration(
                job.data, section.int8_images, seed=job.recipe.seed, batch=shape.batch
            )
            write_int8(source, path, images, metadata=metadata, symmetric=section.int8_symmetric)


def _is_current(job: ExportJob, variant: Variant, path: Path, metadata: Mapping[str, str]) -> bool:
    """Whether `path` is the file that would be written again; it may know more, where the data are
    gone.
    """
    if (
        variant.name not in job.known
    ):  # none, one of another plan, or not as it was when it was checked
        return False
    read = read_program_metadata if variant.form == "torch" else read_metadata
    try:
        return metadata.items() <= read(path).items()
    except ExportError:
        return False


def _data(run: Run, recipe: Recipe, given: Data | str | None, observe: Observe) -> Data | None:
    """The run's data, or None where it has none or they are no longer there; that is said, unless
    they were `given`.
    """
    if isinstance(given, str) and read_recipe(run.recipe_file).data == DataSection():
        found = "the run was pruned without data, so how its images are normalised is not known"
        raise RecipeError(
            "--data",
            found,
            "in Python, slimmer.export(RUN, data) takes slimmer.data.Data, which say it",
        )
    if given is not None:
        data = load_data(recipe.data) if isinstance(given, str) else given
        identity = Identity.from_metadata(read_notes(run.slim), str(run.slim))
        if data is not None and identity.input_size:
            check_fit(identity, data)
        return data
    try:
        return load_data(recipe.data)
    except DataError as error:
        right = "say where the data are now (slimmer export --data)"
        observe(
            {
                "event": "note",
                "text": f"no accuracy is measured: {error.where}: {error.found}; {right}",
            }
        )
        return None
