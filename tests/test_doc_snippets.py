"""Snippets of the pages that use names of the reader's: they run with such names."""

from contextlib import chdir
from functools import cache

import pytest
import torch
from PIL import Image
from test_docs import BLOCKS
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset
from torchvision_ops import detection

import slimmer
from slimmer.models import build

CLASSES = 4


def snippet(page, part):
    """The only Python block of a page that contains this text."""
    (block,) = [
        block
        for block in BLOCKS
        if (block.page, block.language) == (page, "python") and part in block.text
    ]
    return block.text


def bright(number, channels=1):
    """Noise of four brightnesses, (N, C, 16, 16) in 0..1, and which of them."""
    generator = torch.Generator().manual_seed(number)
    labels = torch.arange(number) % CLASSES
    noise = 0.1 * torch.rand(number, channels, 16, 16, generator=generator)
    return noise + labels.view(-1, 1, 1, 1) / CLASSES, labels


@cache
def trained(channels=1):
    """A network that tells brightnesses apart."""
    torch.manual_seed(0)
    model = build("cifar_resnet8", num_classes=CLASSES, in_channels=channels)
    images, labels = bright(64, channels)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    for _ in range(30):
        optimizer.zero_grad()
        cross_entropy(model(images), labels).backward()
        optimizer.step()
    return model.eval()


def names():
    """What the snippets take as given."""
    from torchmetrics import Accuracy  # not for the folders: it imports torchvision, if installed

    (train, test) = bright(64), bright(32)
    loader = DataLoader(TensorDataset(*train), 16)

    def metrics(outputs, batch):
        return {"top-1": (outputs, batch[1])}

    return {
        "slimmer": slimmer,
        "model": trained(),
        "train_images": train[0],
        "train_labels": train[1],
        "test_images": test[0],
        "test_labels": test[1],
        "train_loader": loader,
        "test_loader": DataLoader(TensorDataset(*test), 16),
        "unlabelled_loader": DataLoader(train[0], 16),
        "example_inputs": train[0][:1],
        "loss": lambda outputs, batch: cross_entropy(outputs, batch[1]),
        "meters": {"top-1": Accuracy(task="multiclass", num_classes=CLASSES)},
        "metrics": metrics,
        "train_as_you_always_do": lambda model: model.train(),
    }


@pytest.mark.parametrize(
    ("page", "part"),
    [
        ("docs/getting-started.md", "train_images"),
        ("docs/tasks.md", "task = slimmer.Task("),
        ("docs/tasks.md", "unlabelled_loader"),
        ("docs/tasks.md", "train_as_you_always_do"),
    ],
)
def test_a_snippet_runs_and_keeps_its_budget(page, part, tmp_path):
    given = names()
    with chdir(tmp_path):
        exec(snippet(page, part), given)
    result = given.get("result") or given["pruned"]
    assert 0 < result.report["flops"]["ratio"] <= 0.5
    assert result.report["flops"]["ratio"] == pytest.approx(ratio(result.model), rel=0.02)


def ratio(slim):
    """FLOPs over those of the dense network, by torch's counter, which leaves out batch norm."""
    from torch.utils.flop_counter import FlopCounterMode

    counts = []
    for model in (slim, trained()):
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            model.eval()(torch.zeros(1, 1, 16, 16))
        counts.append(counter.get_total_flops())
    return counts[0] / counts[1]


@pytest.mark.filterwarnings("ignore:This DataLoader will create 2 worker")  # on one core
def test_the_snippet_on_image_folders_runs(tmp_path):
    detection()  # makes torchvision importable, or skips
    for part in ("train", "val"):
        images, labels = bright(32, 3)
        for number, (image, label) in enumerate(zip(images, labels.tolist(), strict=True)):
            folder = tmp_path / "images" / part / str(label)
            folder.mkdir(parents=True, exist_ok=True)
            pixels = (255 * image.clamp(0, 1)).to(torch.uint8).permute(1, 2, 0)
            Image.fromarray(pixels.numpy()).resize((32, 32)).save(folder / f"{number}.png")
    given = {"model": trained(3)}
    with chdir(tmp_path):
        exec(snippet("docs/data.md", "ImageFolder"), given)
    assert given["pruned"].report["flops"]["ratio"] <= 0.5
