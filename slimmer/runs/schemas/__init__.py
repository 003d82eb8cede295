"""The files of a run, a schema each: what is read back from disk is held against it."""

from slimmer.runs.schemas.base import check, read_checked
from slimmer.runs.schemas.events import is_event
from slimmer.runs.schemas.export import ExportFile
from slimmer.runs.schemas.notes import NetworkNotes, StateNotes
from slimmer.runs.schemas.plan import PlanFile, PlanGroup
from slimmer.runs.schemas.profile import AnyProfile, ProfileFile
from slimmer.runs.schemas.report import Measured, ReportFile

__all__ = [
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
