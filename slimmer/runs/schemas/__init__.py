"""The files of a run, a schema each: what is read back from disk is held against it."""

from pydantic import BaseModel

from slimmer.recipe.sections import BudgetSection
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

_BESIDE_COSTS: tuple[type[BaseModel], ...] = (Measured, ReportFile, ExportedFile, BudgetSection, *KINDS.values())
TAKEN = frozenset(key for each in _BESIDE_COSTS for key in each.model_fields) - Left.model_fields.keys()
"""Keys that stand beside those of costs in a run's files, so that no cost can have such a name."""
