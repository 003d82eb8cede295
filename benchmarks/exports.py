"""Bytes and accuracy of a slim network's exported files: float32, fp16, int8, torch.export.

    python benchmarks/exports.py runs/digits_resnet8.safetensors digits --recipe recipes/digits.yaml
    --out FOLDER python benchmarks/exports.py CHECKPOINT CIFAR_DIR --recipe
    recipes/cifar_resnet20.yaml --epochs 0.1 \
        --test-images 2000 --out FOLDER
    python benchmarks/exports.py --table FOLDER > benchmarks/results/export.md

Each of the first two prunes, exports every file (int8 may lose what it likes here) and writes a
JSON file.
"""

import json
import sys
import tempfile
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import torch

import slimmer
from slimmer.data import InMemory
from slimmer.pipeline.task_of_run import load_data
from slimmer.profiling.runtimes.environment import environment
from slimmer.recipe import read_recipe

HEADS = "file | precision | KB | of fp32 | max abs | max rel | same top-1 | top-1 of the file"


@click.command(help=__doc__)
@click.argument("checkpoint", required=False)
@click.argument("data", required=False)
@click.option("--recipe", type=Path)
@click.option("--epochs", type=float)
@click.option("--test-images", type=int, help="The first so many; all where left out.")
@click.option("--out", type=Path)
@click.option("--table", type=Path)
def main(
    checkpoint: str, data: str, recipe: Path, out: Path, table: Path | None, **options: Any
) -> None:
    if table is not None:
        _print_table(table)
        return
    found = _measure(checkpoint, data, recipe, **options)
    out.mkdir(parents=True, exist_ok=True)
    (out / f"export-{found['arch']}.json").write_text(
        json.dumps(found, indent=2) + "\n", encoding="utf-8"
    )


def _measure(
    checkpoint: str, data: str, recipe: Path, epochs: float | None, test_images: int | None
) -> dict[str, Any]:
    section = read_recipe(recipe, [("data.name", None), ("data.path", data)]).data
    images = load_data(section)
    if images is None:
        raise click.UsageError("name the data")
    if test_images is not None:
        few = torch.arange(min(test_images, len(images.test)))
        images = replace(images, test=InMemory(images.test.load(few), images.test.labels[few]))
    settings = {} if epochs is None else {"epochs": epochs}
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        pruned = slimmer.prune(checkpoint, images, recipe=recipe, out=run, **settings)
        files = slimmer.export(run, images, fp16=True, int8=True, int8_drop=1.0, torch=True)[
            "networks"
        ]
    return {
        "command": " ".join(["python benchmarks/exports.py", *map(_short, sys.argv[1:])]),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "arch": pruned.report["arch"],
        "flops_ratio": pruned.report["flops"]["ratio"],
        "epochs": pruned.report["epochs"],
        "test_images": len(images.test),
        "files": {
            name: {**entry, "file": Path(entry["file"]).name} for name, entry in files.items()
        },
        "environment": environment(),
    }


def _short(argument: str) -> str:
    """An absolute path by its name: where it lies here helps nobody."""
    path = Path(argument)
    return path.name if path.is_absolute() else argument


def _print_table(folder: Path) -> None:
    print("# What the exported files weigh and get right\n")
    print(
        "By `benchmarks/exports.py`, ONNX Runtime on the CPU (slim.pt2: PyTorch); differences "
        "are against PyTorch in"
    )
    print(
        "float32, on test images. ONNX Runtime's CPU computes fp16 files in float32 with the "
        "fp16 weights. The networks"
    )
    print("are trained for minutes at most: what counts is how a file differs from slim.onnx.")
    for path in sorted(folder.glob("export-*.json")):
        found = json.loads(path.read_text())
        left = f"{found['flops_ratio']:.1%} of the FLOPs left, {found['epochs']:g} epochs"
        print(f"\n## {found['arch']}, {left}, {found['test_images']:,} test images\n")
        where = ", ".join(
            f"{key} {found['environment'][key]}" for key in ("torch", "onnxruntime", "cpu")
        )
        print(f"`{found['command']}`, {found['date']}, {where}\n")
        print(f"| {HEADS} |\n|{'---|' * 8}")
        single = found["files"]["slim"]["bytes"]
        for entry in found["files"].values():
            parity = entry["parity"]["test"]
            print(
                f"| {entry['file']} | {entry['precision'].partition(',')[0]} | "
                f"{entry['bytes'] / 1e3:.1f} "
                f"| {entry['bytes'] / single:.2f} | {parity['max_abs']:.1e} | "
                f"{parity['max_rel']:.1e} "
                f"| {parity['top1_agreement']:.2%} | {entry['accuracy']:.2%} |"
            )


if __name__ == "__main__":
    main()
