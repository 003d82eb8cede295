"""The commands on one network: prune and inspect."""

# ruff: noqa: PLC0415 - a command imports what it needs, so that --help does not wait for torch

import os
from pathlib import Path
from typing import Any

import click

from slimmer.cli.exit import RUN, remembering
from slimmer.cli.headings import HeadedCommand, options_under
from slimmer.cli.options import (
    BUDGET,
    LATENCY,
    REWRITE,
    arch,
    as_json,
    budgets,
    equal_splits,
    given,
    keep,
    network,
    numbers,
    only,
    output,
    section_of,
    show_result,
    timing,
    trace,
    trust_code,
)
from slimmer.runs.events import loading_pytorch

budget = options_under("Budget")
training = options_under("Data and training")
running = options_under("Run")


@click.command(cls=HeadedCommand)
@click.argument("checkpoint", required=False)
@budget("--flops", metavar="AMOUNT", help=BUDGET.format(what="FLOPs", example="1.8G"))
@budget("--params", metavar="AMOUNT", help=BUDGET.format(what="parameters", example="11M"))
@budget("--latency", metavar="AMOUNT", help=BUDGET.format(what="latency", example="8ms"))
@budget(
    "--speedup",
    type=click.FloatRange(1, min_open=True),
    metavar="FACTOR",
    help="The latency as a factor: --speedup 2 is --latency 0.5.",
)
@budget(
    "--budget",
    multiple=True,
    callback=budgets,
    metavar="NAME=AMOUNT",
    help="The same for any other cost, such as one that an installed package adds. Repeatable.",
)
@budget(
    "--round-to",
    type=int,
    metavar="N",
    help="Make channel counts multiples of N.  [default: 8 in groups of 64 channels or more]",
)
@budget(
    "--depth/--no-depth",
    default=None,
    help="Also remove whole residual branches, where that changes the outputs less than narrower "
    "layers do. Needs data.  [default: with --latency]",
)
@timing
@arch
@keep
@only
@trace
@equal_splits
@network("--rewrite", is_flag=True, default=None, help=REWRITE)
@training(
    "--data",
    metavar="DATA",
    help="A data set by name (digits), the path of CIFAR-10 or of an image folder, or "
    "FILE.py:FUNC.",
)
@training(
    "--task",
    metavar="TASK",
    help="What to train for: classification, multilabel, regression or segmentation of the data, "
    "or FILE.py:FUNC with loaders, a loss and metrics of your own.  [default: classification]",
)
@training("--epochs", type=float, help="Fine-tuning epochs; 0 prunes in one shot.  [default: 3]")
@training(
    "--device", type=click.Choice(["auto", "cpu", "cuda"]), help="Training device.  [default: auto]"
)
@training("--seed", type=int, help="Random seed.  [default: 0]")
@running(
    "--recipe", metavar="NAME|FILE", help="Start from a recipe: a YAML file or a built-in recipe."
)
@running(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="Set any key of the recipe, such as finetune.lr=0.01. Repeatable.",
)
@running(
    "--log",
    multiple=True,
    metavar="NAME",
    help="Log training to RUN/logs: tensorboard, csv or wandb. Repeatable.",
)
@running(
    "--resume",
    type=click.Path(path_type=Path),
    metavar="RUN",
    help="Resume an interrupted run; takes no other settings.",
)
@trust_code
@output(
    "--out",
    type=click.Path(path_type=Path),
    metavar="RUN",
    help="Run directory.  [default: runs/ARCH-N]",
)
@as_json
def prune(resume: Path | None, trust_code: bool, as_json: bool, **options: Any) -> None:
    """Prune CHECKPOINT to a budget and fine-tune it.

    CHECKPOINT is a weights file, a Hugging Face model directory, or a run directory, whose slim
    network is then pruned further. A budget limits what remains, and the result never exceeds it;
    give --flops, --params, --latency or several. FLOPs are multiply-adds (MACs), counted as fvcore
    counts them; latency is measured in ONNX Runtime.
    Each option sets a key of a recipe; the complete recipe is saved in the run directory.
    """
    if resume is None:
        report = _start(trust_code=trust_code, **options)
    elif any(value not in (None, ()) for value in options.values()):
        raise click.UsageError(
            "--resume continues with the run's own recipe; leave out all other settings"
        )
    else:
        report = _resume(resume, trust_code=trust_code)
    if os.environ.get("RANK", "0") == "0":
        show_result(report, "show_report", as_json=as_json)


@click.command(cls=HeadedCommand)
@click.argument("checkpoint")
@arch
@network("--entry", metavar="NAME", help="Set of weights to read, such as model_ema.")
@network(
    "--input-size",
    callback=numbers,
    metavar="C,H,W",
    help="Size of one image.  [default: the architecture's]",
)
@keep
@only
@trace
@equal_splits
@network(
    "--rewrite", is_flag=True, help="Inspect the network as `slimmer prune --rewrite` sees it."
)
@options_under(LATENCY)(
    "--latency", is_flag=True, help="Measure the time of every layer, and the lowest budget."
)
@timing
@trust_code
@as_json
def inspect(checkpoint: str, input_size: Any, as_json: bool, **options: Any) -> None:
    """Show a network's costs, channel groups and unprunable layers.

    Lists the FLOPs and parameters, the lowest budget that each can reach, the channel groups, and
    the reason for each layer that can't be pruned.
    """
    from slimmer.pipeline.inspect_model import inspect as inspect_network

    if input_size is not None and len(input_size) != 3:
        raise click.BadParameter(
            "give channels, height and width, such as 3,224,224", param_hint="'--input-size'"
        )
    setting = section_of(options)
    if setting is None:
        found = inspect_network(checkpoint, input_size=input_size, **options)
    else:
        from slimmer.cli.progress import watching

        with watching() as observe:
            measured = {"timing": setting, "observe": observe}
            found = inspect_network(checkpoint, input_size=input_size, **options, **measured)
    show_result(found, "show_inspection", as_json=as_json)
    if not as_json:
        from slimmer.cli.next_command import after_inspect

        given_here = {**options, "input_size": input_size}
        show_result(after_inspect(checkpoint, found, given_here), "show_next", as_json=False)


def _start(recipe: str | None, out: Path | None, trust_code: bool, **options: Any) -> Any:
    """The report of a new run: the command line overrides the recipe file."""
    from slimmer.recipe import find_recipe, read_recipe

    speedup = options.pop("speedup")
    names = ("flops", "params", "latency")
    options["budget"] += tuple((name, options.pop(name)) for name in names)
    if speedup is not None:
        options["budget"] += (("latency", 1 / speedup),)
    file = find_recipe(recipe) if recipe is not None else None
    resolved = read_recipe(file, given(**options))
    from slimmer.cli.progress import watching

    with watching() as observe:
        observe(loading_pytorch())
        from slimmer.pipeline import stages

        _, report = stages.start(resolved, out, remembering(observe), trust_code=trust_code)
    return report


def _resume(path: Path, *, trust_code: bool) -> Any:
    """The report of a resumed run, or of one that is already finished."""
    from slimmer.cli.progress import watching
    from slimmer.runs.open_run import open_run

    run = open_run(path, finished=False)
    if run.report.is_file():
        click.echo(f"{path} is already finished; this is its report", err=True)
    click.get_current_context().meta[RUN] = str(path)
    with watching() as observe:
        observe(loading_pytorch())
        from slimmer.pipeline import stages

        return stages.resume(run, observe, trust_code=trust_code)
