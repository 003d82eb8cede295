"""ModelOpt's FastNAS through its public API, to a FLOP budget, for side-by-side tables."""

import tempfile
import time
from copy import deepcopy
from pathlib import Path
from typing import Any

import click
import torch
from torch import Tensor, nn

from slimmer.costs.flops import count_flops
from slimmer.data import Batch, Data, evaluation_batches
from slimmer.training.evaluate import accuracy

FASTNAS = "fastnas"
INSTALL = "pip install nvidia-modelopt==0.47.0 torchprofile==0.0.4 requests huggingface_hub"
DIVISOR = 1  # widths are multiples of it; ModelOpt's default is 32
CALIBRATION = (50, 32)  # batches for batch norms, before every score; ModelOpt asks for 50
SCORED = 2000  # training images whose top-1 is the score


def check_installed() -> None:
    """Raises UsageError if ModelOpt, or what it counts FLOPs with, can't be imported."""
    try:
        import modelopt.torch.prune  # noqa: F401, PLC0415 - optional, and takes seconds
        from torchprofile.profile import handlers  # noqa: F401, PLC0415 - not in 0.1.0
    except ImportError as error:
        found = f"{FASTNAS} needs ModelOpt, which can't be imported ({error})"
        raise click.UsageError(f"{found}. Install it: {INSTALL}") from error


def prune_by_fastnas(
    model: nn.Module,
    input_size: tuple[int, int, int],
    flops: float,
    data: Data,
    *,
    divisor: int = DIVISOR,
    kept: Path | None = None,
) -> tuple[nn.Module, dict[str, Any]]:
    """A copy of `model` that FastNAS pruned to at most `flops` of its FLOPs by fvcore, and what the
    search took. Scores are kept in the file `kept`; those that are there are not taken again.

    ModelOpt counts FLOPs without batch norms. While fvcore's count is above the budget, it searches
    again by the scores that it has, for less than it reached. Images are the same for every seed.
    """
    check_installed()
    target = flops * count_flops(model, input_size)
    limit = 2 * target  # it counts two per multiply-add
    wall, cpu = time.perf_counter(), time.process_time()
    scored: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        path = kept or Path(folder) / "scores.pth"
        while True:
            slim, reached = _searched(model, input_size, limit, data, divisor, path, scored)
            if count_flops(slim, input_size) <= target:
                break
            limit = reached - 1
    found: dict[str, Any] = {
        "search_seconds": round(time.perf_counter() - wall, 1),
        "search_cpu_seconds": round(time.process_time() - cpu, 1),
        "search_scores": len(scored),
    }
    if scored:
        found["note"] = (
            f"its search scored {len(scored)} networks in {found['search_cpu_seconds']:.0f} s of "
            "CPU time"
        )
    return slim, found


def _searched(
    model: nn.Module,
    input_size: tuple[int, int, int],
    limit: float,
    data: Data,
    divisor: int,
    path: Path,
    scored: list[float],
) -> tuple[nn.Module, float]:
    """What FastNAS makes of a copy at a limit of its own FLOPs, and how many are left by its count;
    its new scores go to `scored`.
    """
    import modelopt.torch.prune as mtp  # noqa: PLC0415

    calibration, judged = _images(data)

    def score(candidate: nn.Module) -> float:
        candidate.eval()  # in which ModelOpt recalibrates the batch norms
        scored.append(accuracy(candidate, judged))
        return scored[-1]

    rules = mtp.fastnas.FastNASConfig()
    rules["nn.Conv2d"]["*"]["channel_divisor"] = divisor
    for kind in ("nn.BatchNorm2d", "nn.Linear"):
        rules[kind]["*"]["feature_divisor"] = divisor
    slim, state = mtp.prune(
        deepcopy(model).eval().to(memory_format=torch.contiguous_format),
        mode=[(FASTNAS, rules)],
        constraints={"flops": limit},
        dummy_input=torch.zeros(1, *input_size),
        config={
            "data_loader": calibration,
            "collect_func": lambda batch: batch[0],
            "score_func": score,
            "checkpoint": str(path),
            "verbose": False,
        },
    )
    return slim, state["best"]["constraints"]["flops"]


def _images(data: Data) -> tuple[list[Batch], list[Batch]]:
    """Training images, not augmented: batches for calibration, and others for the score."""
    number, size = CALIBRATION
    if len(data.train) < number * size + SCORED:
        found = f"{data.name} has {len(data.train)} training images"
        raise click.UsageError(f"{found}; {FASTNAS} takes {number * size + SCORED}")
    order = torch.randperm(len(data.train), generator=torch.Generator().manual_seed(0))
    calibration = _batches(data, order[: number * size], size)
    return calibration, _batches(data, order[number * size :][:SCORED], 250)


def _batches(data: Data, places: Tensor, size: int) -> list[Batch]:
    """The training images at `places`, channels last: faster on CPUs, and ModelOpt refuses only
    networks in this format, not images.
    """
    found = []
    for images, labels in evaluation_batches(data.train, data, size, places=places):
        found.append((images.to(memory_format=torch.channels_last), labels))
    return found
