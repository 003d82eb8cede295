"""Images per second of slimmer's folder loader and of torch DataLoader with torchvision v2, paired.

Draws 3,000 JPEGs of about 400x300 with the texture of photographs, and reads them in batches of 64
at 224x224 with random resized crop and flip, both loaders in turns in one process. torchvision must
be installed.

python benchmarks/loader.py --out benchmarks/results/loader.json
"""

import importlib
import json
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from PIL import Image

from slimmer.data import Data, batches, load
from slimmer.data.augment import flipped, normalised
from slimmer.profiling.runtimes.environment import environment

BATCH, SIZE = 64, 224
CORES = 16  # of the machine with a GPU that the extrapolation is for
LIBRARIES: list[Any] = []  # what is defined in a library lives as long as it does


@click.command(help=__doc__)
@click.option("--images", default=3000, help="How many JPEGs to draw.")
@click.option("--pairs", default=7, help="Timed passes of each loader over all images.")
@click.option("--workers", default=2, help="Worker processes of torch DataLoader.")
@click.option("--folder", type=Path, help="Use or keep the images here.")
@click.option("--out", type=Path, required=True)
def main(images: int, pairs: int, workers: int, folder: Path | None, out: Path) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        root = folder or Path(temporary)
        size = draw_all(root, images)
        result = measure(root, pairs, workers)
    result |= {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "images": images,
        "bytes_per_image": size,
        "batch": BATCH,
        "size": SIZE,
        "environment": environment(),
    }
    print(json.dumps(result, indent=2))
    out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def draw_all(root: Path, count: int) -> float:
    """Draw the images into train/<class>/ and a few into test/<class>/, unless they are there; the
    mean bytes of a file.
    """
    rng = np.random.default_rng(0)
    sources = []
    if not root.is_dir() or not any(root.iterdir()):
        sources = [texture(rng, 720, 960) for _ in range(24)]
    for number in range(count if sources else 0):
        height, width = 300 + rng.integers(-30, 31), 400 + rng.integers(-30, 31)
        source = sources[number % len(sources)]
        top = rng.integers(source.shape[0] - height)
        left = rng.integers(source.shape[1] - width)
        image = Image.fromarray(source[top : top + height, left : left + width])
        for part in ("train", "test") if number < 20 else ("train",):
            file = root / part / f"class{number % 10}" / f"{number:05d}.jpg"
            file.parent.mkdir(parents=True, exist_ok=True)
            image.save(file, quality=90)
    sizes = [file.stat().st_size for file in (root / "train").rglob("*.jpg")]
    return statistics.mean(sizes)


def texture(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """An image (H, W, 3), uint8, whose spectrum falls with the frequency as that of photographs
    does, in brightness and less in colour.
    """
    down, across = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None]
    amplitude = 1 / np.maximum(np.hypot(down, across), 1 / width) ** 1.1
    planes = []
    for _ in range(3):
        phases = np.exp(2j * np.pi * rng.random(amplitude.shape))
        plane = np.fft.irfft2(amplitude * phases, s=(height, width))
        planes.append((plane - plane.mean()) / plane.std())
    brightness, warm, cold = planes
    colours = np.stack([brightness + 0.3 * warm, brightness, brightness + 0.3 * cold], -1)
    return np.clip(128 + 50 * colours, 0, 255).astype(np.uint8)


def measure(root: Path, pairs: int, workers: int) -> dict[str, Any]:
    """Images per second of both loaders in turns, and the CPU time of an image."""
    data = load("folder", path=root, size=SIZE)
    ours, theirs = slimmer_passes(data), torchvision_passes(root / "train", workers, data)
    for passes in (ours, theirs):
        next(passes)
    rates: dict[str, list[float]] = {"slimmer": [], "torchvision": []}
    cpu: dict[str, list[float]] = {"slimmer": [], "torchvision": []}
    seen = len(data.train) // BATCH * BATCH
    for pair in range(pairs):
        for name in sorted(rates, reverse=bool(pair % 2)):
            before = cpu_seconds()
            rates[name].append(next(ours if name == "slimmer" else theirs))
            cpu[name].append((cpu_seconds() - before) / seen)
    each = statistics.median(cpu["slimmer"])
    ratios = [a / b for a, b in zip(rates["slimmer"], rates["torchvision"], strict=True)]
    return {
        "images_per_s": {name: summary(values) for name, values in rates.items()},
        "ratio": summary(ratios),
        "ratios": ratios,
        "torch_workers": workers,
        "slimmer_threads": len(os.sched_getaffinity(0)),
        "cpu_ms_per_image": {
            name: summary([1e3 * value for value in values]) for name, values in cpu.items()
        },
        "of_which_flip_and_normalise_ms": 1e3 * finishing(data),
        "extrapolated": {
            "images_per_s_by_cores": {str(cores): cores / each for cores in (1, 2, 4, 8, CORES)},
            "note": "cores divided by the CPU time of an image here; only two cores were measured",
        },
    }


def cpu_seconds() -> float:
    """The CPU time of this process and of its worker processes that are alive, from Linux's
    /proc.
    """
    seconds = time.process_time()
    for child in multiprocessing.active_children():
        fields = (
            Path(f"/proc/{child.pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        )
        seconds += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return seconds


def finishing(data: Data) -> float:
    """Seconds per image of flipping and normalising a batch in one thread: the part that the
    threads that decode don't share.
    """
    images = data.train.load(torch.arange(BATCH))
    flips = torch.linspace(0, 1, BATCH)
    best = float("inf")
    for _ in range(10):
        start = time.process_time()
        normalised(flipped(images, flips), data.mean, data.std)
        best = min(best, time.process_time() - start)
    return best / BATCH


def summary(values: list[float]) -> dict[str, float]:
    """The median, and the smallest and largest of the values."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def timed(epoch: Callable[[int], Iterator[Any]], number: int) -> float:
    """Images per second of one pass over all batches."""
    seen, start = 0, time.perf_counter()
    for images, _ in epoch(number):
        seen += len(images)
    return seen / (time.perf_counter() - start)


def slimmer_passes(data: Data) -> Iterator[float]:
    """Images per second of slimmer's batches, one epoch after the other."""

    def epoch(number: int) -> Iterator[Any]:
        return batches(
            data.train, data, batch_size=BATCH, epoch=number, seed=0, augment=data.augment
        )

    number = 0
    while True:
        yield timed(epoch, number)
        number += 1


def torchvision_passes(root: Path, workers: int, data: Data) -> Iterator[float]:
    """Images per second of torch DataLoader over torchvision's ImageFolder with transforms v2."""
    folder, v2 = torchvision_parts()
    transforms = v2.Compose(
        [
            v2.RandomResizedCrop(SIZE, antialias=True),
            v2.RandomHorizontalFlip(),
            v2.PILToTensor(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(data.mean, data.std),
        ]
    )
    loader = torch.utils.data.DataLoader(
        folder(root, transforms),
        batch_size=BATCH,
        shuffle=True,
        drop_last=True,
        num_workers=workers,
        persistent_workers=workers > 0,
    )
    while True:
        yield timed(lambda _: iter(loader), 0)


def torchvision_parts() -> tuple[Any, Any]:
    """ImageFolder and transforms.v2 of torchvision, also if its operators are of another torch."""
    library = torch.library.Library("torchvision", "FRAGMENT")
    for operator in ("nms", "qnms"):
        try:
            library.define(f"{operator}(Tensor a, Tensor b, float c) -> Tensor")
        except RuntimeError:  # already defined
            continue
    LIBRARIES.append(library)
    folder = importlib.import_module("torchvision.datasets").ImageFolder
    return folder, importlib.import_module("torchvision.transforms.v2")


if __name__ == "__main__":
    main()
