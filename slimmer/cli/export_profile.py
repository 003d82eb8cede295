"""The commands on a finished run: export and profile."""

# ruff: noqa: PLC0415 - what a command needs is imported inside it, so that --help need not wait for torch

from pathlib import Path
from typing import Any

import click

from slimmer.cli.options import as_json, numbers, place_of, show_result, trust_code, words
from slimmer.runs.events import loading_pytorch


@click.command()
@click.argument("run", required=False, type=click.Path(path_type=Path))
@click.option("--onnx", is_flag=True, help="Write dense.onnx and slim.onnx: done in any case.")
@click.option("--opset", type=int, help="ONNX opset, 18 or newer.  [default: torch.onnx's own]")
@click.option(
    "--batch", type=click.IntRange(min=1), metavar="N", help="Also for batches of exactly N images."
)
@click.option(
    "--dynamic-size", is_flag=True, default=None, help="Also for images of any height and width."
)
@click.option("--fp16", is_flag=True, default=None, help="Also with fp16 weights and compute.")
@click.option(
    "--fp16-io", is_flag=True, default=None, help="Inputs and outputs of that file in fp16 too."
)
@click.option(
    "--int8", is_flag=True, default=None, help="Also in int8, calibrated on training images."
)
@click.option(
    "--int8-images",
    type=click.IntRange(min=1),
    metavar="N",
    help="Images to calibrate on.  [default: 256]",
)
@click.option(
    "--int8-drop",
    type=click.FloatRange(0, 1),
    metavar="SHARE",
    help="Top-1 that int8 may lose.  [default: 0.01]",
)
@click.option(
    "--int8-symmetric",
    is_flag=True,
    default=None,
    help="With zero points of 0, as TensorRT wants them.",
)
@click.option(
    "--data", metavar="DATA", help="Where the run's data are now, if not where they were."
)
@click.option(
    "--torch", is_flag=True, default=None, help="Also as slim.pt2, for torch.export.load."
)
@click.option(
    "--dense",
    is_flag=True,
    default=None,
    help="The dense network in these forms too, to compare with.",
)
@trust_code
@as_json
def export(
    run: Path | None,
    data: str | None,
    onnx: bool,  # noqa: ARG001 - it is done in any case
    trust_code: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Write a run's networks to ONNX and check them.

    RUN is a directory that `slimmer prune` wrote, by default the latest. Its dense and its slim
    network are written in float32 for any batch; the options add files of the slim network. Each
    file is compared with PyTorch, and tested on the run's data.
    """
    from slimmer.cli.progress import watching
    from slimmer.runs.directory import open_run

    chosen = {key: value for key, value in options.items() if value is not None}
    with watching() as observe:
        observe(loading_pytorch())
        from slimmer.pipeline.export_run import export_run

        place = data and place_of(data)
        found = export_run(
            open_run(run), chosen, data=place, observe=observe, trust_code=trust_code
        )
    show_result(found, "show_export", as_json=as_json)


@click.command()
@click.argument(
    "targets", nargs=-1, metavar="[RUN... | FILE.onnx...]", type=click.Path(path_type=Path)
)
@click.option(
    "--batch", "batches", callback=numbers, metavar="N,N", help="Batch sizes.  [default: 1,64]"
)
@click.option(
    "--image-size",
    callback=numbers,
    metavar="H,W",
    help="Where files take any: height and width to time.",
)
@click.option(
    "--provider",
    metavar="NAME",
    help="cpu, cuda, tensorrt, openvino, coreml, directml, or ONNX Runtime's own name.  [default: cpu]",
)
@click.option(
    "--runtime",
    "runtimes",
    callback=words,
    metavar="NAME,NAME",
    help="onnxruntime, torch, torch-compiled, or a package's.  [default: onnxruntime]",
)
@click.option(
    "--threads",
    callback=numbers,
    metavar="N,N",
    help="Threads in an operation.  [default: one per core]",
)
@click.option(
    "--runs",
    type=click.IntRange(min=1),
    help="Runs of each network in a block at least.  [default: 5]",
)
@click.option(
    "--seconds",
    type=click.FloatRange(min=0),
    help="Seconds of each network in a block at least.  [default: 1]",
)
@click.option(
    "--blocks",
    type=click.IntRange(min=1),
    help="Blocks at least; networks take turns in each.  [default: 11]",
)
@click.option(
    "--precision",
    type=click.FloatRange(min=0, min_open=True),
    help="Blocks are added until intervals are within this share of the speed-up; 1: none.  [default: 0.015]",
)
@click.option("--strict/--no-strict", default=None, help="Refuse nodes that fall back to the CPU.")
@click.option("--cuda-graph/--no-cuda-graph", default=None, help="Replay one captured CUDA graph.")
@click.option(
    "--tf32/--no-tf32",
    default=None,
    help="TF32 products on CUDA.  [default: ONNX Runtime's own, on]",
)
@click.option(
    "--conv-search",
    type=click.Choice(["exhaustive", "heuristic", "default"]),
    help="How cuDNN's algorithms are found.  [default: exhaustive]",
)
@click.option(
    "--nhwc/--no-nhwc", "prefer_nhwc", default=None, help="Channels-last convolutions on CUDA."
)
@trust_code
@as_json
def profile(targets: tuple[Path, ...], as_json: bool, **options: Any) -> None:
    """Time networks side by side.

    By default the dense against the slim network of the latest run, in ONNX Runtime, with its fp16
    and int8 files where it has them. Several runs of one network are timed beside one another,
    files against the first of them. p99 needs 1000 runs: --runs 100.
    """
    from slimmer.cli.progress import watching

    with watching() as observe:
        observe(loading_pytorch())
        from slimmer.pipeline.profile_runs import profile_targets

        found = profile_targets(targets, observe=observe, **options)
    show_result(found, "show_profile", as_json=as_json)
