"""The commands on one network: prune and inspect."""

# ruff: noqa: PLC0415 - what a command needs is imported inside it, so that --help need not wait for torch

import os
from pathlib import Path
from typing import Any

import click

from slimmer.cli.exit import RUN, remembering
from slimmer.cli.options import (
    ARCH,
    BUDGET,
    REWRITE,
    as_json,
    budgets,
    equal_splits,
    given,
    keep,
    numbers,
    only,
    show_result,
    trace,
    trust_code,
)
from slimmer.runs.events import loading_pytorch


@click.command()
@click.argument("checkpoint", required=False)
@click.option("--flops", metavar="AMOUNT", help=BUDGET.format(what="FLOPs", example="1.8G"))
@click.option("--params", metavar="AMOUNT", help=BUDGET.format(what="parameters", example="11M"))
@click.option(
    "--budget",
    multiple=True,
    callback=budgets,
    metavar="NAME=AMOUNT",
    help="The same for any cost, also one that an installed package adds. May be given again.",
)
@click.option(
    "--round-to",
    type=int,
    metavar="N",
    help="Widths are multiples of N.  [default: 8 in groups of 64 or more]",
)
@click.option(
    "--data",
    metavar="DATA",
    help="digits, the path of CIFAR-10 or of a folder of images, or FILE.py:FUNC.",
)
@keep
@only
@trace
@click.option(
    "--epochs", type=float, help="Epochs of fine-tuning; 0 prunes in one shot.  [default: 3]"
)
@click.option(
    "--recipe",
    metavar="NAME|FILE",
    help="A recipe to start from: a YAML file, or one of slimmer's by name.",
)
@click.option("--arch", metavar="ARCH", help=f"{ARCH}.")
@equal_splits
@click.option("--rewrite", is_flag=True, default=None, help=REWRITE)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="RUN",
    help="Run directory.  [default: runs/ARCH-N]",
)
@click.option("--seed", type=int, help="Seed of all that is random.  [default: 0]")
@click.option(
    "--device", type=click.Choice(["auto", "cpu", "cuda"]), help="Where to train.  [default: auto]"
)
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="Any setting, as in finetune.lr=0.01.",
)
@click.option(
    "--resume",
    type=click.Path(path_type=Path),
    metavar="RUN",
    help="Go on with a run that was stopped.",
)
@trust_code
@as_json
def prune(resume: Path | None, trust_code: bool, as_json: bool, **options: Any) -> None:
    """Prune CHECKPOINT into a budget and fine-tune it.

    CHECKPOINT is a file of weights, a directory of the Hugging Face hub, or a run, whose slim
    network is pruned on. A budget is what may remain, and holds exactly; give --flops, --params or
    both. FLOPs are multiply-adds as fvcore counts them. Everything is a setting of a recipe, and
    the recipe is written into the run directory.
    """
    if resume is None:
        report = _start(trust_code=trust_code, **options)
    elif any(value not in (None, ()) for value in options.values()):
        raise click.UsageError("--resume goes on with the run's own recipe; leave all else out")
    else:
        report = _resume(resume, trust_code=trust_code)
    if os.environ.get("RANK", "0") == "0":
        show_result(report, "show_report", as_json=as_json)


@click.command()
@click.argument("checkpoint")
@click.option("--arch", metavar="ARCH", help=f"{ARCH}.")
@click.option(
    "--entry", metavar="NAME", help="Which of several sets of weights, such as model_ema."
)
@click.option(
    "--input-size",
    callback=numbers,
    metavar="C,H,W",
    help="Size of one image.  [default: the architecture's]",
)
@keep
@only
@trace
@equal_splits
@click.option("--rewrite", is_flag=True, help="As `slimmer prune --rewrite` would prune it.")
@trust_code
@as_json
def inspect(checkpoint: str, input_size: Any, as_json: bool, **options: Any) -> None:
    """Show what a checkpoint is made of.

    That is its costs, how far they can be cut, its channel groups, and what can't be pruned and
    why.
    """
    from slimmer.pipeline.inspect_model import inspect as inspect_network

    if input_size is not None and len(input_size) != 3:
        raise click.BadParameter(
            "give channels, height and width, such as 3,224,224", param_hint="'--input-size'"
        )
    found = inspect_network(checkpoint, input_size=input_size, **options)
    show_result(found, "show_inspection", as_json=as_json)


def _start(recipe: str | None, out: Path | None, trust_code: bool, **options: Any) -> Any:
    """The report of a new run, whose recipe is the file's with the command line laid over it."""
    from slimmer.recipe import find_recipe, read_recipe

    options["budget"] += tuple((name, options.pop(name)) for name in ("flops", "params"))
    resolved = read_recipe(None if recipe is None else find_recipe(recipe), given(**options))
    from slimmer.cli.progress import watching

    with watching() as observe:
        observe(loading_pytorch())
        from slimmer.pipeline import stages

        _, report = stages.start(resolved, out, remembering(observe), trust_code=trust_code)
    return report


def _resume(path: Path, *, trust_code: bool) -> Any:
    """The report of a run that was stopped, or that was finished already."""
    from slimmer.cli.progress import watching
    from slimmer.runs.directory import open_run

    run = open_run(path, finished=False)
    if run.report.is_file():
        click.echo(f"{path} is finished already; this is its report", err=True)
    click.get_current_context().meta[RUN] = str(path)
    with watching() as observe:
        observe(loading_pytorch())
        from slimmer.pipeline import stages

        return stages.resume(run, observe, trust_code=trust_code)
