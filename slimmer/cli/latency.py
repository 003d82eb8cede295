"""The commands on latency tables: export and measure."""

# ruff: noqa: PLC0415 - a command imports what it needs, so that --help does not wait for torch

import json
from pathlib import Path
from typing import Any

import click

from slimmer.cli.headings import HeadedCommand, options_under
from slimmer.cli.options import arch, as_json, numbers, output, trust_code
from slimmer.runs.events import loading_pytorch

files = options_under("Files")
runtime = options_under("Runtime")


@click.group()
def latency() -> None:
    """Measure latencies on the machine that counts.

    For `prune --latency-table`. `export` writes networks of different widths as ONNX files, on a
    machine with PyTorch. `measure` times them on the machine that counts, which needs ONNX Runtime
    and no PyTorch.
    """


@latency.command(cls=HeadedCommand)
@click.argument("checkpoint")
@click.argument("folder", type=click.Path(path_type=Path))
@arch
@options_under("Network")(
    "--input-size",
    callback=numbers,
    metavar="C,H,W",
    help="Size of one image.  [default: the architecture's]",
)
@files(
    "--precision",
    type=click.Choice(["fp32", "fp16", "int8"]),
    default="fp32",
    help="Precision of the files.  [default: fp32]",
)
@files(
    "--image-size",
    callback=numbers,
    metavar="H,W",
    help="Image height and width.  [default: those of the network]",
)
@files(
    "--round-to",
    type=click.IntRange(min=1),
    metavar="N",
    help="Measure widths that are multiples of N.  [default: 16]",
)
@trust_code
def export(checkpoint: str, folder: Path, **options: Any) -> None:
    """Write networks of different widths to FOLDER.

    CHECKPOINT is the one that will be pruned. The weights in the files are of no use.
    """
    from slimmer.cli.progress import watching
    from slimmer.recipe.sections import ModelSection

    for name, sizes in (("input_size", 3), ("image_size", 2)):
        if options[name] is not None and len(options[name]) != sizes:
            hint = f"--{name.replace('_', '-')}"
            raise click.BadParameter(f"give {sizes} numbers", param_hint=f"'{hint}'")
    section = ModelSection(
        checkpoint=str(Path(checkpoint).absolute()),
        arch=options.pop("arch"),
        input_size=options.pop("input_size"),
    )
    with watching() as observe:
        observe(loading_pytorch())
        from slimmer.pipeline.latency_files import export_networks

        manifest = export_networks(section, folder, observe=observe, **options)
    click.echo(f"{len(manifest.files)} networks in {folder}")
    click.echo(f"next, on the machine that counts: slimmer latency measure {folder.name}")


@latency.command(cls=HeadedCommand)
@click.argument("folder", type=click.Path(path_type=Path))
@runtime("--latency-on", "provider", default="cpu", metavar="PROVIDER", help="Provider.  [cpu]")
@runtime(
    "--threads",
    type=click.IntRange(min=1),
    metavar="N",
    help="Intra-op threads.  [default: one per core]",
)
@runtime("--batch", type=click.IntRange(min=1), default=1, metavar="N", help="Batch size.  [1]")
@output(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("table.json"),
    metavar="FILE",
    help="The table.  [default: table.json]",
)
@as_json
def measure(folder: Path, out: Path, as_json: bool, **options: Any) -> None:
    """Measure the networks in FOLDER and write the table.

    Needs ONNX Runtime and no PyTorch.
    """
    from slimmer.cli.progress import watching
    from slimmer.latency.carried import measure_folder

    with watching() as observe:

        def tell(done: int, networks: int) -> None:
            observe({"event": "latency_networks", "done": done, "networks": networks})

        table = measure_folder(folder, out, tell=tell, **options)
    if as_json:
        click.echo(json.dumps(table.model_dump(), indent=2))
        return
    least = table.networks[1]
    click.echo(
        f"dense {table.dense_ms:.4g} ms, narrowest {least.ms:.4g} ms ({least.ratio:.1%}); "
        f"{len(table.networks)} networks in {out}"
    )
    click.echo(f"next: slimmer prune CHECKPOINT --latency 0.5 --latency-table {out}")
