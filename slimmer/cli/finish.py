"""The command for networks that were fine-tuned outside: finish."""

# ruff: noqa: PLC0415 - what a command needs is imported inside it, so that --help need not wait for torch

from pathlib import Path

import click

from slimmer.cli.options import as_json, place_of, show_result, trust_code
from slimmer.runs.events import loading_pytorch


@click.command()
@click.argument("run", metavar="RUN", type=click.Path(path_type=Path))
@click.argument("weights", metavar="WEIGHTS", type=click.Path(path_type=Path))
@click.option(
    "--data", metavar="DATA", help="Measure accuracy on these data.  [default: the run's]"
)
@click.option("--entry", metavar="NAME", help="Which weights of the checkpoint, such as model_ema.")
@click.option(
    "--out", type=click.Path(path_type=Path), metavar="RUN", help="New run.  [default: runs/ARCH-N]"
)
@trust_code
@as_json
def finish(
    run: Path,
    weights: Path,
    data: str | None,
    entry: str | None,
    out: Path | None,
    trust_code: bool,
    as_json: bool,
) -> None:
    """Make a run of a slim network that was fine-tuned outside slimmer.

    RUN is a finished run, for example of `slimmer prune --epochs 0`. WEIGHTS is a checkpoint of its
    slim network (`slimmer.load` in Python) after training. The new run holds the same plan and the
    trained weights; export, profile and compare take it like any other.
    """
    from slimmer.cli.progress import watching
    from slimmer.runs.directory import open_run

    with watching() as observe:
        observe(loading_pytorch())
        from slimmer.pipeline.finish_run import finish_run

        place = data and place_of(data)
        _, report = finish_run(
            open_run(run),
            weights,
            out,
            data=place,
            entry=entry,
            observe=observe,
            trust_code=trust_code,
        )
    show_result(report, "show_report", as_json=as_json)
