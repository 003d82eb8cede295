"""What one choice of fine-tuning is worth: many short runs of one pruned network, paired.

    slimmer prune resnet20-12fca82f.th --recipe recipes/cifar_resnet20.yaml --data CIFAR_DIR \
        --epochs 0 --out start
    python benchmarks/short_training.py start CIFAR_DIR --out short_training.jsonl --lr 0.01

All runs of a seed see the same images in the same order and views (padded crops and flips). The
dense network's answers to them are computed once and kept in `--cache`, so a run takes two thirds
of the time. A line of OUT has the choices, the top-1 before and after training on all 10,000 test
images, the cross entropy, and the divergence from the dense network's answers, which tells runs
apart that top-1 does not. `--start tp-magnitude` is Torch-Pruning's network at the same FLOPs,
recalibrated. `--start patches` fits the weights of each second convolution of a block to the dense
outputs over whole receptive fields (He et al. 2017); slimmer's compensation is by position.
"""

import copy
import json
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import click
import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from peers import prune_by_peer
from short_training_loop import Moved, train_
from torch import Tensor, nn

import slimmer
from slimmer import data as slimmer_data
from slimmer.atomic_files import digest
from slimmer.profiling.runtimes.environment import environment
from slimmer.pruning.apply import prune
from slimmer.pruning.batch_norms import recalibrate_
from slimmer.pruning.plan import Plan, read_plan

MEAN = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1) * 255
STD = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1) * 255
CPU = torch.device("cpu")
VIEWED = 77  # the seed of the views that statistics are taken from
Views = tuple[Tensor, Tensor, Tensor, Tensor]
Split = tuple[Tensor, Tensor]


@click.command(help=__doc__)
@click.argument("run", type=Path)
@click.argument("data_path", type=Path)
@click.option("--out", type=Path, required=True)
@click.option("--cache", type=Path, default=Path("short_training_cache"), show_default=True)
@click.option("--tag", default="", help="a name for the line")
@click.option("--device", default="cpu", show_default=True)
@click.option("--start", default="slim", help="slim, patches or tp-magnitude", show_default=True)
@click.option("--seed", default=0, show_default=True)
@click.option("--epochs", default=1.0, show_default=True)
@click.option("--batch", default=128, show_default=True)
@click.option("--lr", default=0.02, show_default=True)
@click.option("--optimizer", default="sgd", help="sgd, adamw or muon", show_default=True)
@click.option("--muon-step", default=0.004, help="of a weight's norm", show_default=True)
@click.option("--weight-decay", default=1e-4, show_default=True)
@click.option("--distill", default=0.9, show_default=True)
@click.option("--temperature", default=0.0, help="0: none, squared difference", show_default=True)
@click.option("--features", default=0.0, help="weight of the blocks' outputs", show_default=True)
@click.option("--frozen", default=0.0, help="last share with frozen norms", show_default=True)
def main(run: Path, data_path: Path, out: Path, cache: Path, device: str, **asked: Any) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(asked["seed"])
    cache = cache / digest(run / "dense.safetensors")[:12]
    cache.mkdir(parents=True, exist_ok=True)
    train, test = splits(data_path)
    dense = slimmer.load(run / "dense.safetensors").requires_grad_(requires_grad=False)
    dense = dense.to(memory_format=torch.channels_last)
    slim = started(asked["start"], run, dense, train)
    slim = slim.to(device, memory_format=torch.channels_last)
    dense, asked["device"] = dense.to(device), device
    train, test = ((images.to(device), labels.to(device)) for images, labels in (train, test))
    slim.requires_grad_(requires_grad=True)
    epoch = partial(batches_of, dense, train, cache, asked)
    epoch(0)
    answers = answered(dense, test)
    row: dict[str, Any] = {"run": run.name, **asked, "before": judged(slim, answers, test)["top1"]}
    began = time.perf_counter()
    train_(slim, dense, epoch, asked)
    row["seconds"] = round(time.perf_counter() - began)
    row |= judged(slim, answers, test)
    row["date"], row["environment"] = datetime.now(UTC).isoformat(timespec="seconds"), environment()
    with out.open("a", encoding="utf-8") as lines:
        lines.write(json.dumps(row) + "\n")
    print({key: row[key] for key in ("tag", "before", "top1", "divergence", "seconds")})


def splits(path: Path, device: str = "cpu") -> tuple[Split, Split]:
    """Images (N, 3, 32, 32), uint8, and labels of both splits, on a device."""
    data = slimmer_data.load("cifar10", path=path)
    parts = []
    for split in (data.train, data.test):
        every = torch.arange(len(split))
        parts.append((split.load(every).to(device), split.labels.to(device)))
    return parts[0], parts[1]


def views_of(seed: int, epoch: int, number: int, device: torch.device = CPU) -> Views:
    """Top and left edge of each image's crop, whether it is flipped, and the order of images."""
    draw = torch.Generator().manual_seed(1000003 * seed + epoch)
    top, left = (torch.randint(0, 9, (number,), generator=draw) for _ in range(2))
    flips = torch.rand(number, generator=draw) < 0.5
    order = torch.randperm(number, generator=draw)
    return top.to(device), left.to(device), flips.to(device), order.to(device)


def view(images: Tensor, views: Views, chosen: Tensor) -> Tensor:
    """The chosen images, cropped, flipped and normalized, in channels_last."""
    padded = F.pad(images[chosen], (4,) * 4)
    top, left, flip = (each[chosen] for each in views[:3])
    line = torch.arange(32, device=images.device)
    rows = (top[:, None] + line)[:, :, None]
    columns = line.expand(len(chosen), 32)
    columns = torch.where(flip[:, None], 31 - columns, columns) + left[:, None]
    each = torch.arange(len(chosen), device=images.device)[:, None, None]
    cropped = padded[each, :, rows, columns[:, None, :]]
    return normalized(cropped.permute(0, 3, 1, 2))


def plain(images: Tensor) -> Tensor:
    """The images, normalized, in channels_last."""
    return normalized(images).contiguous(memory_format=torch.channels_last)


def normalized(images: Tensor) -> Tensor:
    """The images as float32, with the mean and deviation that the networks were trained with."""
    mean, spread = (each.to(images.device) for each in (MEAN, STD))
    return images.float().sub_(mean).div_(spread)


def batches_of(
    dense: nn.Module, train: Split, cache: Path, asked: dict[str, Any], epoch: int
) -> list[Callable[[], Moved]]:
    """The batches of an epoch. The dense network's answers to its views are computed once."""
    images = train[0]
    views = views_of(asked["seed"], epoch, len(images), images.device)
    file = cache / f"{images.device.type}-{asked['seed']}-{epoch}.pt"
    if not file.exists():
        some = torch.arange(len(images), device=images.device).split(500)
        with torch.no_grad():
            torch.save(torch.cat([dense(view(images, views, each)) for each in some]), file)
    answers = torch.load(file, weights_only=True, map_location=images.device)
    return full_batches(train, views, answers, asked["batch"])


def full_batches(
    split: Split, views: Views, answers: Tensor, size: int
) -> list[Callable[[], Moved]]:
    """The batches of `size` images in the order of the views, each made when it is called."""
    images, labels = split

    def batch(chosen: Tensor) -> Moved:
        return view(images, views, chosen), labels[chosen], answers[chosen]

    full = len(images) // size * size
    return [partial(batch, chosen) for chosen in views[3][:full].split(size)]


def statistics_batches(train: Split, number: int) -> Iterator[Split]:
    """Batches of 128 views for statistics."""
    views = views_of(VIEWED, 0, len(train[0]))
    for some in views[3][: number * 128].split(128):
        yield view(train[0], views, some), train[1][some]


def started(kind: str, run: Path, dense: nn.Module, train: Split) -> nn.Module:
    """The network that the training starts from."""
    if kind == "slim":
        return slimmer.load(run / "slim.safetensors")
    if kind == "patches":
        slim = fitted(dense, read_plan(run / "plan.json"), train)
    else:
        share = json.loads((run / "report.json").read_text())["flops"]["limit_ratio"]
        labelled = statistics_batches(train, 64)
        slim = prune_by_peer(kind, dense, (3, 32, 32), share, labelled, global_pruning=True)
    recalibrate_(slim, ((images,) for images, _ in statistics_batches(train, 40)))
    return slim


@torch.no_grad()
def fitted(dense: nn.Module, plan: Plan, train: Split) -> nn.Module:
    """The slim network whose second convolutions in blocks are least-squares fits of the dense
    ones, over whole receptive fields.
    """
    model = copy.deepcopy(dense)
    moments: dict[str, Tensor] = {}

    def watch(name: str, conv: nn.Conv2d, given: tuple[Tensor]) -> None:
        stride = conv.stride[0] * 2
        patches = F.unfold(given[0], conv.kernel_size, padding=conv.padding, stride=stride)
        rows = patches.movedim(1, 0).flatten(1).double()
        rows = torch.cat([rows, rows.new_ones(1, rows.shape[1])])
        moments[name] = moments.get(name, 0) + rows @ rows.T

    named = {name: each for name, each in dense.named_modules() if name.endswith(".conv2")}
    hooks = [each.register_forward_pre_hook(partial(watch, name)) for name, each in named.items()]
    for images, _ in statistics_batches(train, 24):
        dense(images)
    for hook in hooks:
        hook.remove()
    kept = {group.name: units for group, units in zip(plan.groups, plan.keep, strict=True)}
    for name, moment in moments.items():
        weight = model.get_submodule(name).weight
        mean = moment[-1, :-1] / moment[-1, -1]
        spread = moment[:-1, :-1] / moment[-1, -1] - torch.outer(mean, mean)
        known = torch.zeros(weight.shape[1], 9, dtype=torch.bool)
        known[list(kept[name.replace("conv2", "conv1")])] = True
        known = known.flatten()
        ridge = 1e-3 * spread.diagonal().mean() * torch.eye(len(spread), dtype=spread.dtype)
        wanted = spread[known] @ weight.flatten(1).double().T
        found = torch.linalg.solve((spread + ridge)[known][:, known], wanted)
        weight.flatten(1)[:, known] = found.T.float()
    return prune(model, plan)


@torch.no_grad()
def answered(network: nn.Module, test: Split) -> Tensor:
    """The outputs for the test images, (N, classes)."""
    return torch.cat([network(plain(some)) for some in test[0].split(500)])


def judged(slim: nn.Module, dense: Tensor, test: Split) -> dict[str, float]:
    """Top-1 in percent, cross entropy, and divergence from the dense answers, on test images."""
    answers, right = answered(slim.eval(), test), dense.log_softmax(1)
    apart = F.kl_div(answers.log_softmax(1), right, log_target=True, reduction="batchmean")
    hits = (answers.argmax(1) == test[1]).float().mean()
    return {
        "top1": round(float(hits) * 100, 2),
        "cross_entropy": round(float(F.cross_entropy(answers, test[1])), 4),
        "divergence": round(float(apart), 4),
    }


if __name__ == "__main__":
    main()
