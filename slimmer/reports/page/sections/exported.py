"""Exported files, and how they compare with PyTorch."""

from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from slimmer.reports.page.run_files import RunFiles
from slimmer.reports.page.section import Section
from slimmer.reports.run_report import EXPORT_HEADS, export_rows


def view(files: RunFiles) -> Mapping[str, Any] | None:
    """A row for each file and kind of images; None before an export."""
    if files.exported is None:
        return None
    rows, notes = [], []
    for entry in files.exported["networks"].values():
        name = PurePath(entry["file"]).name
        rows += [(name, *cells) for cells in export_rows(entry)]
        notes += [f"{name}: {note}" for note in entry["notes"]]
    return {"heads": ("file", *EXPORT_HEADS), "rows": rows, "notes": notes}


SECTION = Section("exported", "Exported files", view)
