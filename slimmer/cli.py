"""The commands: options into a call, the result to stdout, talk and errors to stderr."""

# ruff: noqa: PLC0415 - what a command needs is imported inside it, so that --help need not wait for torch

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from slimmer.errors import SlimmerError

# What the machine refuses and the user can mend; any other OSError is a mistake of slimmer's and keeps its traceback.
REFUSED = {
    errno.EACCES,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EISDIR,
    errno.ENAMETOOLONG,
    errno.ENOSPC,
    errno.ENOTDIR,
    errno.EPERM,
    errno.EROFS,
}
INTERRUPTED = 130
RUN = "slimmer.run"  # the run that a command has begun, in click's meta
SWEEP = "slimmer.sweep"  # whether it is a sweep
FAILED = 1  # a sweep with rows that failed
SHORT = {
    "arch": "model.arch",
    "checkpoint": "model.checkpoint",
    "device": "device",
    "epochs": "finetune.epochs",
    "flops": "budget.flops",
    "keep": "model.keep",
    "only": "model.only",
    "params": "budget.params",
    "rewrite": "model.rewrite",
    "round_to": "budget.round_to",
    "seed": "seed",
}
BUDGET = "What may REMAIN of the {what}: a ratio (0.5), a percentage (50%) or a number ({example})."
REWRITE = "The slim network is its traced program: numbers of channels in the code follow, computed weights are plain."
ARCH = "NAME, torchvision/NAME, timm/NAME or FILE.py:FUNC; by default found from the checkpoint"


class Commands(click.Group):
    """A group whose commands end in one message where the user, the machine or Ctrl-C stops them."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; exit code 2 for what the user can mend, 130 for Ctrl-C."""
        try:
            return super().invoke(ctx)
        except SlimmerError as error:
            _stop(ctx, f"Error: {error}", error.exit_code)
        except OSError as error:
            if error.errno not in REFUSED:
                raise
            place = f"{error.filename}: " if error.filename else ""
            _stop(ctx, f"Error: {place}{error.strerror}{_go_on(ctx)}", SlimmerError.exit_code)
        except KeyboardInterrupt:
            _stop(ctx, f"stopped{_go_on(ctx)}", INTERRUPTED)


def numbers(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[int, ...] | None:
    """Whole numbers above zero with commas between them; a usage error where they are none."""
    parts = [] if value is None else value.split(",")
    if not all(part.strip().isdecimal() and int(part) > 0 for part in parts):
        raise click.BadParameter(f"{value!r} is not whole numbers above zero, with commas between them", ctx, param)
    return None if value is None else tuple(int(part) for part in parts)


def words(_ctx: click.Context, _param: click.Parameter, value: str | None) -> tuple[str, ...] | None:
    """Names with commas between them."""
    return None if value is None else tuple(part.strip() for part in value.split(","))


LAYERS = "a layer, a module that holds some, or a pattern such as 'layer4.*'. May be given again."
keep = click.option("--keep", multiple=True, metavar="LAYERS", help=f"Leave these layers whole: {LAYERS}")
only = click.option("--only", multiple=True, metavar="LAYERS", help="Prune no layers but these, named in the same way.")
as_json = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="slimmer", message="%(prog)s %(version)s")
def main() -> None:
    """Make a pretrained convnet smaller and faster: prune, export, profile."""


@main.command()
@click.argument("checkpoint", required=False)
@click.option("--flops", metavar="AMOUNT", help=BUDGET.format(what="FLOPs", example="1.8G"))
@click.option("--params", metavar="AMOUNT", help=BUDGET.format(what="parameters", example="11M"))
@click.option("--round-to", type=int, metavar="N", help="Widths are multiples of N, which runtimes like.  [default: 1]")
@click.option("--data", metavar="DATA", help="digits, the path of CIFAR-10 or of a folder of images, or FILE.py:FUNC.")
@keep
@only
@click.option("--epochs", type=float, help="Epochs of fine-tuning; 0 prunes in one shot.  [default: 3]")
@click.option("--recipe", type=click.Path(path_type=Path), metavar="FILE", help="A YAML recipe to start from.")
@click.option("--arch", metavar="ARCH", help=f"{ARCH}.")
@click.option("--rewrite", is_flag=True, default=None, help=REWRITE)
@click.option("--out", type=click.Path(path_type=Path), metavar="RUN", help="Run directory.  [default: runs/ARCH-N]")
@click.option("--seed", type=int, help="Seed of all that is random.  [default: 0]")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), help="Where to train.  [default: auto]")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Any setting, as in finetune.lr=0.01.")
@click.option("--resume", type=click.Path(path_type=Path), metavar="RUN", help="Go on with a run that was stopped.")
@as_json
def prune(resume: Path | None, as_json: bool, **options: Any) -> None:
    """Prune CHECKPOINT into a budget and fine-tune it.

    A budget is what may remain, and holds exactly; give --flops, --params or both. FLOPs are multiply-adds as
    fvcore counts them. Everything is a setting of a recipe, and the recipe is written into the run directory.
    """
    if resume is None:
        report = _start(**options)
    elif any(value not in (None, ()) for value in options.values()):
        raise click.UsageError("--resume goes on with the run's own recipe; leave all else out")
    else:
        report = _resume(resume)
    if os.environ.get("RANK", "0") == "0":
        _print(report, "show_report", as_json=as_json)


@main.command()
@click.argument("run", required=False, type=click.Path(path_type=Path))
@click.option("--onnx", is_flag=True, help="Write dense.onnx and slim.onnx: done in any case.")
@click.option("--opset", type=int, help="ONNX opset, 18 or newer.  [default: torch.onnx's own]")
@click.option("--batch", type=click.IntRange(min=1), metavar="N", help="Also for batches of exactly N images.")
@click.option("--dynamic-size", is_flag=True, default=None, help="Also for images of any height and width.")
@click.option("--fp16", is_flag=True, default=None, help="Also with fp16 weights and compute.")
@click.option("--fp16-io", is_flag=True, default=None, help="Inputs and outputs of that file in fp16 too.")
@click.option("--int8", is_flag=True, default=None, help="Also in int8, calibrated on training images.")
@click.option("--int8-images", type=click.IntRange(min=1), metavar="N", help="Images to calibrate on.  [default: 256]")
@click.option(
    "--int8-drop", type=click.FloatRange(0, 1), metavar="SHARE", help="Top-1 that int8 may lose.  [default: 0.01]"
)
@click.option("--torch", is_flag=True, default=None, help="Also as slim.pt2, for torch.export.load.")
@as_json
def export(run: Path | None, onnx: bool, as_json: bool, **options: Any) -> None:  # noqa: ARG001
    """Write a run's networks to ONNX and check them.

    RUN is a directory that `slimmer prune` wrote, by default the latest. Its dense and its slim network are written
    in float32 for any batch; the options add files of the slim network. Each file is compared with PyTorch, and
    tested on the run's data.
    """
    from slimmer import console, run_export
    from slimmer.run import open_run

    chosen = {key: value for key, value in options.items() if value is not None}
    with console.watching() as observe:
        found = run_export.export_run(open_run(run), chosen, observe=observe)
    _print(found, "show_export", as_json=as_json)


@main.command()
@click.argument("targets", nargs=-1, metavar="[RUN... | FILE.onnx...]", type=click.Path(path_type=Path))
@click.option("--batch", "batches", callback=numbers, metavar="N,N", help="Batch sizes.  [default: 1,64]")
@click.option("--provider", metavar="NAME", help="cpu, cuda, tensorrt, or ONNX Runtime's own name.  [default: cpu]")
@click.option(
    "--runtime",
    "runtimes",
    callback=words,
    metavar="NAME,NAME",
    help="onnxruntime, torch, torch-compiled.  [default: onnxruntime]",
)
@click.option("--threads", callback=numbers, metavar="N,N", help="Threads in an operation.  [default: one per core]")
@click.option("--runs", type=click.IntRange(min=1), help="Runs of a block at least.  [default: 5]")
@click.option("--seconds", type=click.FloatRange(min=0), help="Seconds of a block at least.  [default: 0.1]")
@click.option("--blocks", type=click.IntRange(min=1), help="Blocks of each network, in turns.  [default: 11]")
@click.option("--strict/--no-strict", default=None, help="Refuse nodes that fall back to the CPU.")
@click.option("--cuda-graph/--no-cuda-graph", default=None, help="Replay one captured CUDA graph.")
@click.option("--tf32/--no-tf32", default=None, help="TF32 products on CUDA.  [default: ONNX Runtime's own, on]")
@click.option(
    "--conv-search",
    type=click.Choice(["exhaustive", "heuristic", "default"]),
    help="How cuDNN's algorithms are found.  [default: exhaustive]",
)
@click.option("--nhwc/--no-nhwc", "prefer_nhwc", default=None, help="Channels-last convolutions on CUDA.")
@as_json
def profile(targets: tuple[Path, ...], as_json: bool, **options: Any) -> None:
    """Time networks side by side.

    By default the dense against the slim network of the latest run, in ONNX Runtime. Several runs of one network
    are timed beside one another, files against the first of them. p99 needs 1000 runs: --runs 100.
    """
    from slimmer import console, run_profile

    with console.watching() as observe:
        found = run_profile.profile_targets(targets, observe=observe, **options)
    _print(found, "show_profile", as_json=as_json)


@main.command()
@click.argument("checkpoint")
@click.option("--arch", metavar="ARCH", help=f"{ARCH}.")
@click.option(
    "--input-size", callback=numbers, metavar="C,H,W", help="Size of one image.  [default: the architecture's]"
)
@keep
@only
@click.option("--rewrite", is_flag=True, help="As `slimmer prune --rewrite` would prune it.")
@as_json
def inspect(checkpoint: str, input_size: Any, as_json: bool, **options: Any) -> None:
    """Show what a checkpoint is made of.

    That is its costs, how far they can be cut, its channel groups, and what can't be pruned and why.
    """
    from slimmer import inspection

    if input_size is not None and len(input_size) != 3:
        raise click.BadParameter("give channels, height and width, such as 3,224,224", param_hint="'--input-size'")
    found = inspection.inspect(checkpoint, input_size=input_size, **options)
    _print(found, "show_inspection", as_json=as_json)


@main.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.argument("checkpoint", required=False)
@click.option("--data", metavar="DATA", help="As for `slimmer prune`, for all rows.")
@click.option(
    "--out", type=click.Path(path_type=Path), metavar="DIR", help="Where the runs go.  [default: runs/sweep-FILE]"
)
@click.option("--jobs", type=click.IntRange(min=1), default=1, help="Rows side by side.  [default: 1]")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="A setting of all rows.")
@as_json
def sweep(file: Path, out: Path | None, jobs: int, as_json: bool, **options: Any) -> None:
    """Run every row of FILE and compare them.

    FILE names a recipe, and a grid or a list of settings over it. Each row is a run of its own in DIR. The same
    command again goes on where it was stopped; rows that are finished stay. A row that fails is noted and the
    others go on; the exit code is then 1.
    """
    given = _given(**options)
    from slimmer import console
    from slimmer.sweep import sweep as run_sweep

    ctx = click.get_current_context()
    with console.watching() as observe:
        found = run_sweep(file, out, given, jobs=jobs, observe=_remembering(observe))
    _print(found, "show_sweep", as_json=as_json)
    if found["failed"]:
        ctx.exit(FAILED)


@main.command()
@click.argument("runs", nargs=-1, required=True, metavar="RUN...", type=click.Path(path_type=Path))
@click.option(
    "--out", type=click.Path(path_type=Path), metavar="DIR", help="Also write Markdown, CSV, JSON and a figure."
)
@as_json
def compare(runs: tuple[Path, ...], out: Path | None, as_json: bool) -> None:
    """Show finished runs in one table.

    RUN is a directory that `slimmer prune` wrote, or one that holds such, as `slimmer sweep` leaves it. Runs that
    differ only by their seed share a row, with mean and standard deviation.
    """
    from slimmer.compare import compare_runs

    found = compare_runs(runs)
    if out is not None:
        from slimmer.tabulate import write_comparison

        for path in write_comparison(out, [found]):
            click.echo(path, err=True)
    _print(found, "show_comparison", as_json=as_json)


def _start(recipe: Path | None, out: Path | None, **options: Any) -> Any:
    """The report of a new run, whose recipe is the file's with the command line laid over it."""
    from slimmer.recipe import read_recipe

    resolved = read_recipe(recipe, _given(**options))
    from slimmer import console, pipeline

    with console.watching() as observe:
        _, report = pipeline.start(resolved, out, _remembering(observe))
    return report


def _given(data: str | None, settings: tuple[str, ...], **short: Any) -> list[tuple[str, Any]]:
    """What the command line sets, by its names in a recipe."""
    from slimmer.recipe import parse_setting

    given = [(SHORT[key], _absolute(value) if key == "checkpoint" else value) for key, value in short.items()]
    given = [
        (key, list(value) if isinstance(value, tuple) else value) for key, value in given if value not in (None, ())
    ]
    if data is not None:
        given += [("data.name", None), ("data.path", data if data == "digits" else _absolute(data))]
    return [*given, *map(parse_setting, settings)]


def _resume(path: Path) -> Any:
    """The report of a run that was stopped, or that was finished already."""
    from slimmer import console, pipeline
    from slimmer.run import open_run

    run = open_run(path, finished=False)
    if run.report.is_file():
        click.echo(f"{path} is finished already; this is its report", err=True)
    click.get_current_context().meta[RUN] = str(path)
    with console.watching() as observe:
        return pipeline.resume(run, observe)


def _remembering(observe: Callable[[dict[str, Any]], None]) -> Callable[[dict[str, Any]], None]:
    """`observe`, which also notes the run, so that a message can name it."""
    meta = click.get_current_context().meta

    def see(event: dict[str, Any]) -> None:
        if event["event"] == "begun":
            meta[RUN] = event["run"]
        elif event["event"] == "sweep":
            meta[SWEEP] = True
        observe(event)

    return see


def _absolute(path: str | None) -> str | None:
    """A path that means the same from everywhere, since a run's recipe keeps it."""
    return path and str(Path(path).absolute())


def _print(found: Any, show: str, *, as_json: bool) -> None:
    """The result on stdout, as JSON or by the console's function of that name."""
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    from slimmer import console

    getattr(console, show)(found)


def _go_on(ctx: click.Context) -> str:
    """How to go on, where a run or a sweep was begun."""
    if SWEEP in ctx.meta:
        return "; go on with the same command: what is finished stays, and what was begun goes on"
    return f"; go on with `slimmer prune --resume {ctx.meta[RUN]}`" if RUN in ctx.meta else ""


def _stop(ctx: click.Context, message: str, code: int) -> None:
    click.echo(message, err=True)
    ctx.exit(code)
