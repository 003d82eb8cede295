"""The pretrained network of the demo: a small residual network for scikit-learn's digits."""

import sys
from collections.abc import Callable
from pathlib import Path

import torch

from slimmer.data import load
from slimmer.errors import CheckpointError, SlimmerError
from slimmer.models import build
from slimmer.models.checkpoint import read_metadata
from slimmer.pruning.slim_file import Identity, save_network
from slimmer.tasks import classification
from slimmer.tasks.classification import TOP1
from slimmer.training.devices import make_engine
from slimmer.training.evaluate import evaluate
from slimmer.training.learner import make_learner
from slimmer.training.loop import train_
from slimmer.training.schedule import Training

ARCH = "cifar_resnet8"
EPOCHS = 8
SEED = 0
MARK = {"made_by": "slimmer.demo"}  # metadata of the file
USAGE = "usage: python -m slimmer.demo FILE.safetensors"


def pretrain(path: Path, say: Callable[[str], object] = lambda _: None) -> float:
    """Train a digits classifier (1 x 16 x 16 images), write it to `path`, and return its test
    accuracy (0..1).

    The file holds the weights, the architecture and the number of classes. `say` gets one line per
    epoch. Raises CheckpointError if `path` is a file that the demo did not write.
    """
    if (path.exists() or path.is_symlink()) and not _is_own(path):
        raise CheckpointError(str(path), "already exists", "choose a file that does not exist yet")
    torch.manual_seed(SEED)
    data = load("digits", augment="crop")
    model = build(ARCH, num_classes=data.num_classes, in_channels=1)
    training = Training(
        epochs=EPOCHS,
        batch_size=64,
        lr=0.1,
        momentum=0.9,
        weight_decay=5e-4,
        warmup=0.1,
        distill=0.0,
        seed=SEED,
    )
    fabric, task = make_engine("cpu"), classification(data)
    learner = make_learner(model, training)
    top1 = 0.0
    for epoch in range(1, EPOCHS + 1):
        stop = epoch * training.batches(task)
        train_(fabric, learner, model, task, training, stop=stop)
        top1 = (evaluate(model, task) or {})[TOP1.name]
        say(f"{ARCH} on digits: epoch {epoch} of {EPOCHS}, test accuracy {top1:.2%}")
    save_network(path, model, Identity(ARCH, data.num_classes, data.input_size), None, MARK)
    return top1


def _is_own(path: Path) -> bool:
    """Whether the demo wrote the file."""
    try:
        return MARK.items() <= read_metadata(path).items()
    except CheckpointError:
        return False


def main(arguments: list[str]) -> int:
    """Train into the file that the arguments name; return the exit code."""
    if len(arguments) != 1 or Path(arguments[0]).suffix != ".safetensors":
        sys.stderr.write(f"{USAGE}\n")
        return 2
    try:
        pretrain(Path(arguments[0]), say=lambda line: sys.stderr.write(f"{line}\n"))
    except SlimmerError as error:
        sys.stderr.write(f"Error: {error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
