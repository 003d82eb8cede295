"""The listing of a run's exported files: export.json, and the report that shows it."""

from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from slimmer.atomic_files import write_json, write_text
from slimmer.errors import RunError
from slimmer.exporting.onnx_file import sums_of
from slimmer.exporting.staged import take_places
from slimmer.pipeline.export_job import ExportJob
from slimmer.profiling.results import SCHEMA as PROFILE_SCHEMA
from slimmer.reports.page import write_page
from slimmer.reports.run_report import to_markdown
from slimmer.runs.directory import Run

FORMAT = 2


def take_listed_places(run: Run) -> None:
    """Finish the work of a killed export: move the files that it had listed but not moved to their
    places, and delete what else it left.

    So every file is listed, and every listed file is the one that was checked.
    """
    try:
        listed = run.read_exported()
    except RunError:  # damaged; this export writes it again
        listed = None
    sums = {}
    if listed is not None:
        for entry in listed["networks"].values():
            sums[Path(entry["file"]).name] = entry["sha256"]
    take_places(run.path, sums)


def tell_report(run: Run) -> None:
    """Write report.md and report.html again, with the export and the profile as far as they
    exist.
    """
    write_text(
        run.text,
        to_markdown(run.read_report(), run.read_exported(), run.read_profile(PROFILE_SCHEMA)),
    )
    write_page(run)


def earlier(run: Run, report: Mapping[str, Any]) -> dict[str, Any]:
    """The entries of export.json for the run's present networks, by name, whose files are
    unchanged.
    """
    try:
        listed = run.read_exported()
    except RunError:  # damaged; this export writes it again
        return {}
    wanted = (FORMAT, report["recipe_hash"], report["plan_hash"])
    if listed is None or wanted != tuple(
        listed[key] for key in ("format", "recipe_hash", "plan_hash")
    ):
        return {}
    same = {}
    for name, entry in listed["networks"].items():
        path = run.path / Path(entry["file"]).name  # the run may have been moved
        if path.is_file() and sums_of(path) == entry["sha256"]:
            same[name] = {**entry, "file": str(path), "reused": True}
    return same


def write_listing(job: ExportJob, done: Mapping[str, Any]) -> dict[str, Any]:
    """Write export.json and return it: the files of this export, and those of earlier exports that
    still exist.
    """
    networks = dict(done)
    for name, entry in job.known.items():
        if Path(entry["file"]).is_file():
            networks.setdefault(name, entry)
    found = {
        "format": FORMAT,
        "slimmer": version("slimmer"),
        "run": str(job.run.path),
        "recipe_hash": job.report["recipe_hash"],
        "plan_hash": job.report["plan_hash"],
        "networks": networks,
    }
    write_json(job.run.exported, found)
    return found
