"""The files of a run, a schema each: what is read back from disk is held against it."""

from slimmer.run_files.base import check, read_checked
from slimmer.run_files.events import is_event
from slimmer.run_files.export import ExportFile
from slimmer.run_files.notes import NetworkNotes, StateNotes
from slimmer.run_files.plan import PlanFile, PlanGroup
from slimmer.run_files.profile import AnyProfile, ProfileFile
from slimmer.run_files.report import Measured, ReportFile

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
