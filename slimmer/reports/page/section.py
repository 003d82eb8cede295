"""The type of a section of the page."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from slimmer.reports.page.run_files import RunFiles


@dataclass(frozen=True)
class Section:
    """A section: its name, its title, and what its template shows of a run.

    The template is `templates/NAME.html`, and NAME is the anchor of the section too. `view` returns
    the variables of the template, or None if the run has nothing to show there. On a wide screen,
    two neighbouring sections with `half` stand next to each other.
    """

    name: str
    title: str
    view: Callable[[RunFiles], Mapping[str, Any] | None]
    half: bool = False
