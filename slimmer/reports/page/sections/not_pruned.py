"""Layers that are not pruned, and why."""

from collections.abc import Mapping
from typing import Any

from slimmer.reports.page.run_files import RunFiles
from slimmer.reports.page.section import Section


def view(files: RunFiles) -> Mapping[str, Any] | None:
    """The rows of the report; None if every layer can be pruned."""
    rows = files.report["fixed"]
    return {"rows": rows} if rows else None


SECTION = Section("not-pruned", "Not pruned", view)
