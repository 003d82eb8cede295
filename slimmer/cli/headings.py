"""Help texts whose options stand under headings.

cloup and rich-click do this too, but cost more at start-up than all of `slimmer --help`.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])
OTHER = "Other options"
WIDEST = 30  # characters of an option before its help text starts on a line of its own


class HeadedOption(click.Option):
    """An option that knows its heading."""

    def __init__(self, *args: Any, heading: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.heading = heading


class HeadedCommand(click.Command):
    """A command whose help lists its options under their headings, in the order of definition."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options to `formatter`, aligned across headings."""
        sections: dict[str, list[tuple[str, str]]] = {}
        width = 0
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record is None or not isinstance(param, click.Option):
                continue
            sections.setdefault(getattr(param, "heading", OTHER), []).append(record)
            width = max(width, len(record[0]))
        sections[OTHER] = sections.pop(OTHER)  # at the end; --help is always there
        width = min(width, WIDEST)
        for heading, records in sections.items():
            with formatter.section(heading):
                formatter.write_dl([(name.ljust(width), text) for name, text in records])


def options_under(heading: str) -> Callable[..., Callable[[F], F]]:
    """A decorator like `click.option`, for an option under `heading`."""
    return partial(click.option, cls=HeadedOption, heading=heading)
