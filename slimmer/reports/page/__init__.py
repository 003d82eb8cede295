"""HTML pages of a run and of a comparison: files that open from disk, without a network."""

from slimmer.reports.page.compare_page import write_compare_page
from slimmer.reports.page.render import write_page, write_pages

__all__ = ["write_compare_page", "write_page", "write_pages"]
