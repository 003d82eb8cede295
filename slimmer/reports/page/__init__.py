"""The HTML page of a run: one file that opens from disk, without a network connection."""

from slimmer.reports.page.render import write_page, write_pages

__all__ = ["write_page", "write_pages"]
