"""The command that writes reports."""

# ruff: noqa: PLC0415 - a command imports what it needs, so that --help does not wait for torch

from pathlib import Path

import click

from slimmer.cli.headings import HeadedCommand
from slimmer.cli.options import as_json, show_result
from slimmer.runs.events import loading_pytorch


@click.command(cls=HeadedCommand)
@click.argument("runs", nargs=-1, metavar="[RUN...]", type=click.Path(path_type=Path))
@as_json
def report(runs: tuple[Path, ...], as_json: bool) -> None:
    """Write the HTML report of finished runs.

    RUN is a run directory of `slimmer prune`, by default the latest, or a directory of runs. The
    report is RUN/report.html: one file that opens in any browser, without a network connection. The
    commands prune, export and profile also write it.
    """
    from slimmer.cli.progress import watching

    with watching() as observe:
        observe(loading_pytorch())
        from slimmer.reports.page import write_pages

        paths = write_pages(runs)
    show_result([str(path) for path in paths], "show_paths", as_json=as_json)
