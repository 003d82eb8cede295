"""The commands on a finished run: export and profile."""

# ruff: noqa: PLC0415 - a command imports what it needs, so that --help does not wait for torch

from pathlib import Path
from typing import Any

import click

from slimmer.cli.headings import HeadedCommand, options_under
from slimmer.cli.options import as_json, numbers, place_of, show_result, trust_code, words
from slimmer.runs.events import loading_pytorch

formats = options_under("Additional files of the slim network")
quantization = options_under("int8 quantization")
onnx_files = options_under("ONNX")
workload = options_under("Workload")
runtime = options_under("Runtime")
measurement = options_under("Measurement")
cuda = options_under("CUDA")


@click.command(cls=HeadedCommand)
@click.argument("run", required=False, type=click.Path(path_type=Path))
@formats(
    "--batch", type=click.IntRange(min=1), metavar="N", help="Export with a fixed batch size of N."
)
@formats(
    "--dynamic-size", is_flag=True, default=None, help="Export with dynamic image height and width."
)
@formats("--fp16", is_flag=True, default=None, help="Export with fp16 weights and compute.")
@formats(
    "--fp16-io", is_flag=True, default=None, help="Make inputs and outputs of the fp16 file fp16."
)
@formats(
    "--int8", is_flag=True, default=None, help="Export in int8, calibrated on training images."
)
@formats("--torch", is_flag=True, default=None, help="Export slim.pt2, for torch.export.load.")
@formats(
    "--dense", is_flag=True, default=None, help="Export the dense network in these forms as well."
)
@quantization(
    "--int8-images",
    type=click.IntRange(min=1),
    metavar="N",
    help="Number of calibration images.  [default: 256]",
)
@quantization(
    "--int8-drop",
    type=click.FloatRange(0, 1),
    metavar="SHARE",
    help="Largest accepted loss of the main metric, such as top-1.  [default: 0.01]",
)
@quantization(
    "--int8-symmetric",
    is_flag=True,
    default=None,
    help="Make all zero points 0, as TensorRT needs them.",
)
@onnx_files("--opset", type=int, help="ONNX opset, 18 or newer.  [default: chosen by torch.onnx]")
@onnx_files("--onnx", is_flag=True, help="No effect: ONNX files are always written.")
@options_under("Data")(
    "--data", metavar="DATA", help="Where the run's data are now, if they have been moved."
)
@trust_code
@as_json
def export(
    run: Path | None,
    data: str | None,
    onnx: bool,  # noqa: ARG001 - ONNX files are always written
    trust_code: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Export a run's networks to ONNX and verify the files.

    RUN is a run directory of `slimmer prune`, by default the latest. The dense and the slim network
    are written in float32 with a dynamic batch size; the options below add files of the slim
    network. Each file is compared with PyTorch and tested on the run's data.
    """
    from slimmer.cli.progress import watching
    from slimmer.runs.open_run import open_run

    chosen = {key: value for key, value in options.items() if value is not None}
    with watching() as observe:
        observe(loading_pytorch())
        from slimmer.pipeline.export_run import export_run

        place = place_of(data) if data else data
        found = export_run(
            open_run(run), chosen, data=place, observe=observe, trust_code=trust_code
        )
    show_result(found, "show_export", as_json=as_json)


@click.command(cls=HeadedCommand)
@click.argument(
    "targets", nargs=-1, metavar="[RUN... | FILE.onnx...]", type=click.Path(path_type=Path)
)
@workload(
    "--batch", "batches", callback=numbers, metavar="N,N", help="Batch sizes.  [default: 1,64]"
)
@workload(
    "--image-size",
    callback=numbers,
    metavar="H,W",
    help="Image height and width, for files with dynamic sizes.",
)
@runtime(
    "--runtime",
    "runtimes",
    callback=words,
    metavar="NAME,NAME",
    help="onnxruntime, torch, torch-compiled, or one that an installed package adds.  "
    "[default: onnxruntime]",
)
@runtime(
    "--provider",
    metavar="NAME",
    help="Execution provider: cpu, cuda, tensorrt, openvino, coreml, directml, or ONNX Runtime's "
    "name for it.  [default: cpu]",
)
@runtime(
    "--threads",
    callback=numbers,
    metavar="N,N",
    help="Intra-op threads.  [default: one per core]",
)
@runtime("--strict/--no-strict", default=None, help="Fail if nodes fall back to the CPU provider.")
@measurement(
    "--runs",
    type=click.IntRange(min=1),
    metavar="N",
    help="Minimum runs of each network per block.  [default: 5]",
)
@measurement(
    "--seconds",
    type=click.FloatRange(min=0),
    metavar="S",
    help="Minimum seconds of each network per block.  [default: 1]",
)
@measurement(
    "--blocks",
    type=click.IntRange(min=1),
    metavar="N",
    help="Minimum number of blocks; in each block the networks take turns.  [default: 11]",
)
@measurement(
    "--precision",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SHARE",
    help="Measure until the 95 % interval of the speedup is within +/- this fraction of it; "
    "1 turns this off.  [default: 0.015]",
)
@cuda("--cuda-graph/--no-cuda-graph", default=None, help="Capture a CUDA graph and replay it.")
@cuda(
    "--tf32/--no-tf32",
    default=None,
    help="Allow TF32 matrix products.  [default: ONNX Runtime's, on]",
)
@cuda(
    "--conv-search",
    type=click.Choice(["exhaustive", "heuristic", "default"]),
    help="How cuDNN chooses convolution algorithms.  [default: exhaustive]",
)
@cuda("--nhwc/--no-nhwc", "prefer_nhwc", default=None, help="Use channels-last convolutions.")
@trust_code
@as_json
def profile(targets: tuple[Path, ...], as_json: bool, **options: Any) -> None:
    """Measure latency and speedup in ONNX Runtime.

    By default, compares the dense and the slim network of the latest run, including their fp16 and
    int8 files. Given several runs of one network, compares them with each other; given files,
    compares each with the first. To report p99, which takes 1,000 runs, use --runs 100.
    """
    from slimmer.cli.progress import watching

    with watching() as observe:
        observe(loading_pytorch())
        from slimmer.pipeline.profile_runs import profile_targets

        found = profile_targets(targets, observe=observe, **options)
    show_result(found, "show_profile", as_json=as_json)
    if not as_json:
        show_result(_after_profile(targets), "show_next", as_json=False)


def _after_profile(targets: tuple[Path, ...]) -> str:
    """Where the figures are; they are saved only for a single run."""
    from slimmer.cli.next_command import typed
    from slimmer.runs.open_run import open_run

    if len(targets) > 1 or any(path.suffix == ".onnx" for path in targets):
        return "repeat it with --json > FILE to keep these figures, which are not saved"
    run = open_run(*targets) if targets else open_run(None)
    return f"open {typed(str(run.page))} in a browser"
