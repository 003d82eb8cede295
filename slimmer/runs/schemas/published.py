"""The schemas of a run's files as JSON Schema, for programs that are not written in Python."""

import json
from pathlib import Path
from typing import Any

from slimmer.atomic_files import write_text
from slimmer.runs.schemas.base import Filed
from slimmer.runs.schemas.export import ExportFile
from slimmer.runs.schemas.profile import ProfileFile
from slimmer.runs.schemas.report import Measured, ReportFile

DIALECT = "https://json-schema.org/draft/2020-12/schema"
PUBLISHED: dict[str, type[Filed]] = {
    "dense": Measured,
    "export": ExportFile,
    "profile": ProfileFile,
    "report": ReportFile,
}


def json_schema(name: str) -> dict[str, Any]:
    """The JSON Schema of the run file called `name`.json.

    >>> json_schema("dense")["title"]
    'dense.json'
    """
    found = PUBLISHED[name].model_json_schema(by_alias=True)
    return {"$schema": DIALECT, **found, "title": f"{name}.json"}


def write_schemas(folder: Path) -> list[Path]:
    """Write one JSON Schema file for each of them to `folder`, and return the paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name}.json" for name in PUBLISHED]
    for path in paths:
        write_text(path, json.dumps(json_schema(path.stem), indent=2) + "\n")
    return paths
