"""What people read in a terminal: progress while a command works, and its result as a table."""

from slimmer.console.tables import show_comparison, show_export, show_inspection, show_profile, show_report, show_sweep
from slimmer.console.watch import watching

__all__ = ["show_comparison", "show_export", "show_inspection", "show_profile", "show_report", "show_sweep", "watching"]
