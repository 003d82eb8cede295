"""The commands on many runs: sweep and compare."""

# ruff: noqa: PLC0415 - what a command needs is imported inside it, so that --help need not wait for torch

from pathlib import Path
from typing import Any

import click

from slimmer.cli.exit import remembering
from slimmer.cli.options import as_json, given, show_result

FAILED = 1  # a sweep with rows that failed


@click.command()
@click.argument("file", metavar="NAME|FILE")
@click.argument("checkpoint", required=False)
@click.option("--data", metavar="DATA", help="As for `slimmer prune`, for all rows.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Where the runs go.  [default: runs/sweep-FILE]",
)
@click.option(
    "--jobs", type=click.IntRange(min=1), default=1, help="Rows side by side.  [default: 1]"
)
@click.option(
    "--set", "settings", multiple=True, metavar="KEY=VALUE", help="A setting of all rows."
)
@as_json
def sweep(file: str, out: Path | None, jobs: int, as_json: bool, **options: Any) -> None:
    """Run every row of FILE and compare them.

    FILE names a recipe, and a grid or a list of settings over it; slimmer's own sweeps go by name,
    such as paper/table5. Each row is a run of its own in DIR. The same command again goes on where
    it was stopped; rows that are finished stay. A row that fails is noted and the others go on; the
    exit code is then 1.
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


@click.command()
@click.argument("runs", nargs=-1, required=True, metavar="RUN...", type=click.Path(path_type=Path))
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Also write Markdown, CSV, JSON and a figure.",
)
@as_json
def compare(runs: tuple[Path, ...], out: Path | None, as_json: bool) -> None:
    """Show finished runs in one table.

    RUN is a directory that `slimmer prune` wrote, or one that holds such, as `slimmer sweep` leaves
    it. Runs that differ only by their seed share a row, with mean and standard deviation.
    """
    from slimmer.reports.compare_runs import compare_runs

    found = compare_runs(runs)
    if out is not None:
        from slimmer.reports.comparison_table import write_comparison

        for path in write_comparison(out, [found]):
            click.echo(path, err=True)
    show_result(found, "show_comparison", as_json=as_json)
