"""A small CNN for Fashion-MNIST, pruned and fine-tuned as a task of plain torch DataLoaders.

    python benchmarks/fashion_mnist.py FOLDER --out benchmarks/results/fashion_mnist.json

FOLDER holds the four idx files as they are distributed (train-images-idx3-ubyte and so on), plain
or compressed as .gz or .xz. The network is trained from nothing first, in plain PyTorch. Every
budget starts from the same dense network. The training is short, and there is one seed.
"""

import gzip
import json
import lzma
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import click
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics.classification import MulticlassAccuracy

import slimmer
from slimmer.profiling.runtimes.environment import environment

BATCH = 128
OPENERS = {"": open, ".gz": gzip.open, ".xz": lzma.open}
SOURCE = "Fashion-MNIST: Xiao, Rasul and Vollgraf (2017)"


class Fashion:
    """The task: cross entropy and top-1."""

    logits = True

    def __init__(self, folder: Path, images: int) -> None:
        train, test = split(folder, "train", images), split(folder, "t10k", 10_000)
        self.train = DataLoader(train, BATCH, shuffle=True, drop_last=True)
        self.test = DataLoader(test, 500)
        self.meters = {"top-1": MulticlassAccuracy(10, average="micro")}

    def loss(self, outputs: Tensor, batch: tuple[Tensor, Tensor]) -> Tensor:
        """Cross entropy of the batch's labels."""
        return cross_entropy(outputs, batch[1])


def split(folder: Path, name: str, most: int) -> TensorDataset:
    """The first images, normalised float32 (N, 1, 28, 28), and labels."""
    images = read(folder, f"{name}-images-idx3-ubyte", 16).reshape(-1, 1, 28, 28)[:most]
    labels = read(folder, f"{name}-labels-idx1-ubyte", 8)[:most]
    pixels = (torch.from_numpy(images.copy()).float() / 255 - 0.286) / 0.353
    return TensorDataset(pixels, torch.from_numpy(labels.astype(np.int64)))


def read(folder: Path, name: str, head: int) -> np.ndarray:
    for ending, opened in OPENERS.items():
        file = folder / f"{name}{ending}"
        if file.exists():
            with opened(file, "rb") as content:
                return np.frombuffer(content.read(), np.uint8, offset=head)
    raise click.BadParameter(f"{folder} has no {name}, {name}.gz or {name}.xz")


def network() -> nn.Module:
    """Four 3x3 convolutions with batch norm at 28, 14 and 7 pixels, and a linear layer."""
    layers: list[nn.Module] = []
    for given, width, stride in ((1, 32, 1), (32, 64, 2), (64, 64, 1), (64, 128, 2)):
        layers += [nn.Conv2d(given, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width)]
        layers += [nn.ReLU()]
    made = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, 10))
    made.input_size = (1, 28, 28)
    return made


def pretrain(task: Fashion, epochs: int) -> nn.Module:
    """The dense network, trained in plain PyTorch."""
    torch.manual_seed(0)
    model = network()
    total = epochs * len(task.train)
    optimizer = torch.optim.SGD(
        model.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4
    )
    rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=total)
    for epoch in range(epochs):
        for batch in task.train:
            optimizer.zero_grad()
            task.loss(model(batch[0]), batch).backward()
            optimizer.step()
            rate.step()
        print(f"dense: epoch {epoch + 1} of {epochs}", file=sys.stderr, flush=True)
    return model.eval()


def row(task: Fashion, dense: nn.Module, flops: float, epochs: float, folder: Path) -> dict:
    """One pruned network: FLOPs, parameters, top-1, and that of its ONNX file."""
    began = time.process_time()
    run = folder / f"{flops:g}"
    result = slimmer.prune(
        dense, task=task, flops=flops, epochs=epochs, out=run, **{"finetune.batch_size": BATCH}
    )
    files = slimmer.export(run, task=task, model=dense)["networks"]
    report = result.report
    return {
        "flops": report["flops"],
        "params": report["params"],
        "top1": report["accuracy"],
        "top1_onnxruntime": {name: files[name]["accuracy"] for name in ("dense", "slim")},
        "widths": {group["name"]: [group["dense"], group["slim"]] for group in report["groups"]},
        "cpu_seconds": round(time.process_time() - began, 1),
    }


@click.command(help=__doc__)
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--images", default=12_000, help="Training images, from the first on.")
@click.option("--dense-epochs", default=4)
@click.option("--epochs", default=2.0, help="Fine-tuning epochs.")
@click.option("--flops", multiple=True, default=(0.5, 0.3), type=float)
@click.option("--out", type=Path, required=True)
def main(
    folder: Path, images: int, dense_epochs: int, epochs: float, flops: tuple[float], out: Path
) -> None:
    torch.set_num_threads(1)
    task = Fashion(folder, images)
    dense = pretrain(task, dense_epochs)
    with tempfile.TemporaryDirectory() as place:
        rows = {f"{each:g}": row(task, dense, each, epochs, Path(place)) for each in flops}
    result = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "data": f"{SOURCE}; {len(task.train.dataset)} training images, 10,000 test images",
        "training": f"dense {dense_epochs} epochs, slim {epochs:g}; batches of {BATCH}; one seed",
        "rows": rows,
        "environment": environment(),
    }
    out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    for name, found in rows.items():
        print(name, found["flops"]["ratio"], found["top1"], found["top1_onnxruntime"])


if __name__ == "__main__":
    main()
