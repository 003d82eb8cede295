"""Table 6 of the MaskConvNet paper on a GPU: VGG-19 and WideResNet-28-10 at 0, 50, 60 and 70 %
fewer FLOPs.

    python benchmarks/latency_gpu.py --out benchmarks/results/latency_gpu

One call: for every network and provider, dense and slim ones are timed in turns in ONNX Runtime; a
JSON file each and OUT/latency_gpu.md. What is there is passed over. Weights are random: latency
does not depend on them, but widths do depend on the method; these are every group cut alike, in
multiples of --round-to. A provider that is not active is said in the table and makes the exit code
1. Clocks are read, never set. `--provider cpu --nets cifar_resnet8` tries it out without a GPU.
"""

import sys
import tempfile
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from latency import export_all, integers, pruned, say, told

from slimmer.atomic_files import read_json, write_json, write_text
from slimmer.errors import SlimmerError
from slimmer.models import find
from slimmer.profiling.profile_networks import Conditions, Effort, Network, profile
from slimmer.profiling.runtimes.session_options import Options

NETS = "cifar_vgg19_bn,cifar_wrn28_10"
GONE = (0.5, 0.6, 0.7)


@click.command(help=__doc__)
@click.option("--out", type=Path, required=True)
@click.option("--nets", default=NETS, show_default=True)
@click.option(
    "--provider", "providers", multiple=True, default=("cuda", "tensorrt"), show_default=True
)
@click.option("--batches", default="1,128", show_default=True)
@click.option("--round-to", default=8, show_default=True)
@click.option(
    "--runs", default=100, show_default=True, help="runs of each network in a block at least"
)
@click.option("--seconds", default=0.5, show_default=True)
@click.option("--blocks", default=11, show_default=True)
@click.option("--cuda-graph/--no-cuda-graph", default=False)
@click.option("--tf32/--no-tf32", default=None, help="of the CUDA provider; TensorRT has its own")
def main(
    out: Path, nets: str, providers: tuple[str, ...], batches: str, round_to: int, **settings: Any
) -> None:
    results = []
    for net in nets.split(","):
        size = find(net).input_size
        files = {provider: out / f"{net}-{provider}.json" for provider in providers}
        if not all(map(is_done, files.values())):
            with tempfile.TemporaryDirectory(prefix="slimmer-latency-") as folder:
                networks = make(net, round_to, Path(folder), size)
                for provider, file in files.items():
                    if not is_done(file):
                        asked = conditions(size, integers(batches), provider, **settings)
                        write_json(
                            file, {"net": net, "provider": provider, **timed(net, networks, asked)}
                        )
        results += [read_json(file) for file in files.values()]
    write_text(out / "latency_gpu.md", "\n".join(to_table(results)) + "\n")
    print(out / "latency_gpu.md")
    sys.exit(any("error" in result for result in results))


def is_done(file: Path) -> bool:
    """Whether this is measured; what failed is tried again."""
    return file.is_file() and "error" not in read_json(file)


def make(net: str, round_to: int, folder: Path, size: tuple[int, int, int]) -> list[Network]:
    """The dense network and those with the FLOPs gone, as ONNX files."""
    models = [("dense", *next(pruned(net, 1.0, (), size, peer=False))[1:])]
    for gone in GONE:
        _, (_, slim, flops) = pruned(net, 1 - gone, (round_to,), size, peer=False)
        models.append((f"{gone:.0%} fewer FLOPs", slim, flops))
    return list(export_all(iter(models), folder, size))


def conditions(
    size: tuple[int, int, int],
    batches: tuple[int, ...],
    provider: str,
    *,
    runs: int,
    seconds: float,
    blocks: int,
    cuda_graph: bool,
    tf32: bool | None,
) -> Conditions:
    """What is asked of a provider; options that only CUDA has are asked of CUDA only."""
    options = Options(
        cuda_graph=cuda_graph and provider != "cpu", tf32=tf32 if provider == "cuda" else None
    )
    return Conditions(
        size, Effort(seconds, runs, blocks), batches=batches, provider=provider, options=options
    )


def timed(net: str, networks: Sequence[Network], asked: Conditions) -> dict[str, Any]:
    """The profile, or why there is none."""
    try:
        found = profile(
            networks, asked, lambda done, steps, text: say(f"{net}: {text}", done, steps)
        )
    except SlimmerError as error:  # the other networks and providers go on
        return {"error": str(error)}
    return {
        "command": " ".join(["python", *sys.argv]),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "weights": "random, seed 0",
        "profile": found.to_dict(),
    }


def to_table(results: Sequence[Mapping[str, Any]]) -> list[str]:
    """The results as Markdown: a table a network and provider."""
    lines = ["# Latency on a GPU, ONNX Runtime", ""]
    for result in results:
        lines += [f"## {result['net']}, {result['provider']}", ""]
        if "error" in result:
            lines += [f"Not measured: {' '.join(result['error'].split())}", ""]
            continue
        profiled = result["profile"]
        gains = {(one["model"], one["batch"]): one for one in profiled["comparisons"]}
        lines += [
            (
                "| network | batch | median ms | images/s | speed-up (95 % interval), share of "
                "promise |"
            )
        ]
        lines += ["|---|---|---|---|---|"]
        for row in profiled["timings"]:
            figures = f"{row['median_ms']:.3f} | {row['images_per_s']:.0f}"
            gain = told(gains.get((row["model"], row["batch"])))
            lines.append(f"| {row['model']} | {row['batch']} | {figures} | {gain} |")
        machine = profiled["environment"]
        lines += [
            "",
            f"{result['date']}, {machine['gpu'] or machine['cpu']}, `{result['command']}`",
        ]
        lines += [*(f"- {note}" for note in profiled["notes"]), ""]
    return lines


if __name__ == "__main__":
    main()
