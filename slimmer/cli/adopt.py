"""The command for networks that were fine-tuned outside slimmer: adopt."""

# ruff: noqa: PLC0415 - a command imports what it needs, so that --help does not wait for torch

from pathlib import Path

import click

from slimmer.cli.headings import HeadedCommand, options_under
from slimmer.cli.options import as_json, network, output, place_of, show_result, trust_code
from slimmer.runs.events import loading_pytorch


@click.command(cls=HeadedCommand)
@click.argument("run", metavar="RUN", type=click.Path(path_type=Path))
@click.argument("weights", metavar="WEIGHTS", type=click.Path(path_type=Path))
@network("--entry", metavar="NAME", help="Set of weights to read, such as model_ema.")
@options_under("Data")(
    "--data", metavar="DATA", help="Data to measure accuracy on.  [default: the run's]"
)
@output(
    "--out",
    type=click.Path(path_type=Path),
    metavar="RUN",
    help="New run directory.  [default: runs/ARCH-N]",
)
@trust_code
@as_json
def adopt(
    run: Path,
    weights: Path,
    data: str | None,
    entry: str | None,
    out: Path | None,
    trust_code: bool,
    as_json: bool,
) -> None:
    """Make a run from a network that was fine-tuned elsewhere.

    RUN is a finished run, for example of `slimmer prune --epochs 0`. WEIGHTS is a checkpoint of its
    slim network (`slimmer.load` in Python) after training. The new run has the same plan and
    the trained weights; export, profile and compare accept it like any other.
    """
    from slimmer.cli.progress import watching
    from slimmer.runs.open_run import open_run

    with watching() as observe:
        observe(loading_pytorch())
        from slimmer.pipeline.finish_run import finish_run

        place = place_of(data) if data else data
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
