"""Train one of the networks of small_networks.py on CIFAR-10 from random weights.

    python benchmarks/train_small.py vgg16_quarter CIFAR_DIR --out vgg16_quarter.safetensors
    python benchmarks/train_small.py mobilenet_v2_half CIFAR_DIR --epochs 24 --lr 0.05 \
        --out mobilenet_v2_half.safetensors

SGD with Nesterov's momentum and a cosine, batches of 128, padded crops and flips, weight decay
5e-4. The views and the loop are those of short_training.py. To prune one, with ImageNet's mean and
deviation, which it was trained with:

    slimmer prune vgg16_quarter.safetensors --recipe recipes/cifar_resnet20.yaml \
        --arch benchmarks/small_networks.py:vgg16_quarter --data CIFAR_DIR
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import click
import small_networks
import torch
from safetensors.torch import save_file
from short_training import Split, answered, full_batches, splits, views_of
from short_training_loop import Moved, train_

BATCH = 128
NETWORKS = ("vgg16_quarter", "mobilenet_v2_half")
ASKED = {
    "features": 0.0,
    "frozen": 0.0,
    "optimizer": "sgd",
    "weight_decay": 5e-4,
    "distill": 0.0,
    "temperature": 0.0,
}
"""What train_ is asked for besides epochs and learning rate: labels only, no teacher."""


@click.command(help=__doc__)
@click.argument("network", type=click.Choice(NETWORKS))
@click.argument("data_path", type=Path)
@click.option("--out", type=Path, required=True)
@click.option("--epochs", default=30.0, show_default=True)
@click.option("--lr", default=0.08, show_default=True)
@click.option("--seed", default=0, show_default=True)
@click.option("--threads", default=1, show_default=True)
@click.option("--device", default="cpu", show_default=True)
def main(
    network: str,
    data_path: Path,
    out: Path,
    epochs: float,
    lr: float,
    seed: int,
    threads: int,
    device: str,
) -> None:
    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    train, test = splits(data_path, device)
    model = getattr(small_networks, network)().to(device, memory_format=torch.channels_last)
    epoch = partial(_epoch, train, seed)
    train_(model, model, epoch, {**ASKED, "epochs": epochs, "lr": lr})
    right = (answered(model.eval(), test).argmax(1) == test[1]).float().mean()
    print(f"{network}: {float(right):.2%} of the test images")
    save_file({name: each.cpu().contiguous() for name, each in model.state_dict().items()}, out)


def _epoch(train: Split, seed: int, epoch: int) -> list[Callable[[], Moved]]:
    """The batches of an epoch, each made when it is called; there are no answers of a teacher."""
    images = train[0]
    views = views_of(seed, epoch, len(images), images.device)
    nothing = torch.zeros(len(images), 10, device=images.device)
    return full_batches(train, views, nothing, BATCH)


if __name__ == "__main__":
    main()
