"""The commands on many runs: sweep and compare."""

# ruff: noqa: PLC0415 - a command imports what it needs, so that --help does not wait for torch

from pathlib import Path
from typing import Any

import click

from slimmer.cli.exit import remembering
from slimmer.cli.headings import HeadedCommand, options_under
from slimmer.cli.options import as_json, given, output, show_result

FAILED = 1  # exit code of a sweep in which runs failed


settings_of_all = options_under("Settings of all runs")


@click.command(cls=HeadedCommand)
@click.argument("file", metavar="NAME|FILE")
@click.argument("checkpoint", required=False)
@settings_of_all("--data", metavar="DATA", help="Data, as for `slimmer prune`.")
@settings_of_all(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="Set a key of every recipe. Repeatable.",
)
@options_under("Run")(
    "--jobs",
    type=click.IntRange(min=1),
    metavar="N",
    default=1,
    help="Parallel runs.  [default: 1]",
)
@output(
    "--out",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Directory of the runs.  [default: runs/sweep-FILE]",
)
@as_json
def sweep(file: str, out: Path | None, jobs: int, as_json: bool, **options: Any) -> None:
    """Run every combination of settings in FILE and compare them.

    FILE specifies a recipe and a grid or a list of settings to vary. Built-in sweeps have names,
    such as paper/table5. Each combination is a run in DIR. To resume a stopped sweep, repeat the
    command: finished runs are kept. If a run fails, the others continue, and the exit code is 1.
    """
    settings = given(**options)
    from slimmer.cli.progress import watching
    from slimmer.pipeline.sweep import sweep as run_sweep
    from slimmer.recipe import find_recipe

    ctx = click.get_current_context()
    with watching() as observe:
        found = run_sweep(
            find_recipe(file, "FILE"), out, settings, jobs=jobs, observe=remembering(observe)
        )
    show_result(found, "show_sweep", as_json=as_json)
    if found["failed"]:
        ctx.exit(FAILED)


@click.command(cls=HeadedCommand)
@click.argument("runs", nargs=-1, required=True, metavar="RUN...", type=click.Path(path_type=Path))
@output(
    "--out",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Also write the table as Markdown, CSV and JSON, and a figure.",
)
@output(
    "--html",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Also write the comparison as an HTML page, with links to the reports of the runs.",
)
@as_json
def compare(runs: tuple[Path, ...], out: Path | None, html: Path | None, as_json: bool) -> None:
    """Compare finished runs in one table.

    RUN is a run directory of `slimmer prune`, or a directory of runs, such as that of a sweep. Runs
    that differ only in their seed share a row, with mean and standard deviation.
    """
    from slimmer.reports.compare_runs import compare_runs

    found = compare_runs(runs)
    if out is not None:
        from slimmer.reports.comparison_table import write_comparison

        for path in write_comparison(out, [found]):
            click.echo(path, err=True)
    if html is not None:
        from slimmer.reports.page import write_compare_page

        click.echo(write_compare_page(html, found), err=True)
    show_result(found, "show_comparison", as_json=as_json)
