"""One schema for each file of a run: what is read back from disk is validated against it."""

from pydantic import BaseModel

from slimmer.recipe.budget import BudgetSection
from slimmer.runs.schemas.base import check, read_checked
from slimmer.runs.schemas.events import KINDS, is_event
from slimmer.runs.schemas.export import ExportedFile, ExportFile
from slimmer.runs.schemas.notes import NetworkNotes, StateNotes
from slimmer.runs.schemas.plan import PlanFile, PlanGroup
from slimmer.runs.schemas.profile import AnyProfile, ProfileFile
from slimmer.runs.schemas.report import Left, Measured, ReportFile

__all__ = [
    "TAKEN",
    "AnyProfile",
    "ExportFile",
    "Measured",
    "NetworkNotes",
    "PlanFile",
    "PlanGroup",
    "ProfileFile",
    "ReportFile",
    "StateNotes",
    "check",
    "is_event",
    "read_checked",
]

# Keys next to those of costs in data without a schema: the metadata of exported files, the result
# of an inspection, the rows of a comparison.
_METADATA = (
    *(
        "slimmer",
        "torch",
        "network",
        "weights_sha256",
        "opset",
        "int8_images",
        "seed",
        "data_sha256",
    ),
    *("input_layout", "input_range", "input_mean", "input_std", "classes"),
)
_INSPECTION = ("notes", "held", "layers")
_ROW = ("settings", "runs", "seeds", "masks_left", "profiled")
_BESIDE_COSTS: tuple[type[BaseModel], ...] = (
    *(Measured, ReportFile, ExportedFile, BudgetSection),
    *KINDS.values(),
)
_FIELDS = frozenset[str]().union(*(each.model_fields for each in _BESIDE_COSTS))
TAKEN = (_FIELDS - Left.model_fields.keys()).union(_METADATA, _INSPECTION, _ROW)
"""Keys that are used next to those of costs in a run's files and results; no cost may have such a
name.
"""
