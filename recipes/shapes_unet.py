"""Semantic segmentation of drawn shapes: the images, a small U-Net, its pretraining and the task.

The file is written as a user would write it, with PyTorch and torchmetrics alone; slimmer takes the
network from `unet` and the task from `make`. Nothing is downloaded.

    python recipes/shapes_unet.py runs/shapes_unet.pth      # pretrains the U-Net
    slimmer prune runs/shapes_unet.pth --arch recipes/shapes_unet.py:unet \
        --task recipes/shapes_unet.py:make --recipe recipes/shapes_unet.yaml
"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics import JaccardIndex

if TYPE_CHECKING:
    from numpy.typing import NDArray

SIZE = 40  # pixels
CORNERS = {1: 0, 2: 4, 3: 3}  # the classes: discs, squares and triangles; 0 is background
CLASSES = 1 + len(CORNERS)
TRAINING, TEST = 1024, 256  # images
EPOCHS = 12


def draw(number: int, seed: int) -> tuple[Tensor, Tensor]:
    """Images (N, 3, 40, 40), float32 in -1..1, and the class of each pixel (N, 40, 40), int64.

    Each image has two to four shapes on a texture. Colours and textures are random and say nothing
    about the class.
    """
    random = np.random.default_rng(seed)
    images = np.empty((number, SIZE, SIZE, 3), dtype=np.float32)
    masks = np.zeros((number, SIZE, SIZE), dtype=np.int64)
    for image, mask in zip(images, masks, strict=True):
        image[:] = texture(random)
        for kind in random.choice(list(CORNERS), size=random.integers(2, 5)):
            inside = shape(random, CORNERS[int(kind)])
            image[inside] = texture(random)[inside]
            mask[inside] = kind
        image[:] += random.normal(0, 0.03, image.shape)
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()
    return pixels.clamp(0, 1) * 2 - 1, torch.from_numpy(masks)


def texture(random: np.random.Generator) -> "NDArray[Any]":
    """Waves in one direction between two colours, (40, 40, 3) in 0..1."""
    colours = random.uniform(0, 1, (2, 3))
    angle, length, phase = random.uniform((0, 4, 0), (np.pi, 16, 2 * np.pi))
    rows, columns = np.mgrid[:SIZE, :SIZE]
    along = rows * np.sin(angle) + columns * np.cos(angle)
    wave = 0.5 + 0.5 * np.sin(2 * np.pi * along / length + phase)
    mixed: NDArray[Any] = colours[0] + 0.6 * wave[..., None] * (colours[1] - colours[0])
    return mixed


def shape(random: np.random.Generator, corners: int) -> "NDArray[np.bool_]":
    """The pixels of a regular polygon, or of a disc without `corners`, (40, 40)."""
    drawn = Image.new("1", (SIZE, SIZE))
    x, y, radius = random.uniform((8, 8, 6), (SIZE - 8, SIZE - 8, 11))
    if corners:
        turn = random.uniform(0, 360)
        ImageDraw.Draw(drawn).regular_polygon((x, y, radius), corners, rotation=turn, fill=1)
    else:
        ImageDraw.Draw(drawn).ellipse((x - radius, y - radius, x + radius, y + radius), fill=1)
    return np.asarray(drawn)


class UNet(nn.Module):
    """Three levels of two convolutions each, with connections from the way down to the way up."""

    input_size = (3, SIZE, SIZE)

    def __init__(self, widths: tuple[int, int, int] = (16, 32, 64)) -> None:
        super().__init__()
        fine, middle, coarse = widths
        self.down1, self.down2 = two_convolutions(3, fine), two_convolutions(fine, middle)
        self.bottom = two_convolutions(middle, coarse)
        self.widen2 = nn.ConvTranspose2d(coarse, middle, 2, stride=2)
        self.up2 = two_convolutions(2 * middle, middle)
        self.widen1 = nn.ConvTranspose2d(middle, fine, 2, stride=2)
        self.up1 = two_convolutions(2 * fine, fine)
        self.pool = nn.MaxPool2d(2)
        self.classes = nn.Conv2d(fine, CLASSES, 1)

    def forward(self, image: Tensor) -> Tensor:
        """Class scores (N, 4, 40, 40)."""
        fine = self.down1(image)
        middle = self.down2(self.pool(fine))
        coarse = self.bottom(self.pool(middle))
        middle = self.up2(torch.cat([middle, self.widen2(coarse)], 1))
        fine = self.up1(torch.cat([fine, self.widen1(middle)], 1))
        scores: Tensor = self.classes(fine)
        return scores


def two_convolutions(given: int, width: int) -> nn.Sequential:
    """Two 3x3 convolutions with batch norm and ReLU."""
    layers: list[nn.Module] = []
    for channels in (given, width):
        layers += [nn.Conv2d(channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)]
        layers += [nn.ReLU()]
    return nn.Sequential(*layers)


def unet() -> UNet:
    """The network, for `--arch`."""
    return UNet()


class Shapes:
    """The task, for `--task`: cross entropy of every pixel, measured by mIoU."""

    name = "shapes"
    logits = True

    def __init__(self, training: int = TRAINING, test: int = TEST) -> None:
        drawn = TensorDataset(*draw(training, seed=0))
        self.train = DataLoader(drawn, batch_size=32, shuffle=True, drop_last=True)
        self.test = DataLoader(TensorDataset(*draw(test, seed=1)), batch_size=64)
        self.meters = {"mIoU": JaccardIndex(task="multiclass", num_classes=CLASSES)}

    def loss(self, outputs: Tensor, batch: tuple[Tensor, Tensor]) -> Tensor:
        """Cross entropy, averaged over all pixels."""
        return cross_entropy(outputs, batch[1])

    def metrics(self, outputs: Tensor, batch: tuple[Tensor, Tensor]) -> dict[str, Any]:
        """What the meter's `update` takes: classes found and true classes."""
        return {"mIoU": (outputs.argmax(1), batch[1])}


def make() -> Shapes:
    """The task."""
    return Shapes()


def pretrain(file: Path, task: Shapes, epochs: int = EPOCHS) -> float:
    """Train the U-Net by the task's loss, write its weights and return its mIoU on the test
    images.
    """
    torch.manual_seed(0)
    network = unet().to(memory_format=torch.channels_last)  # faster on CPUs
    optimizer = torch.optim.AdamW(network.parameters())
    total = epochs * len(task.train)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.01, total_steps=total)
    found = 0.0
    for epoch in range(1, epochs + 1):
        for batch in task.train:
            optimizer.zero_grad()
            task.loss(network(batch[0]), batch).backward()
            optimizer.step()
            rate.step()
        found = miou(network, task)
        network.train()
        sys.stderr.write(f"U-Net on shapes: epoch {epoch} of {epochs}, mIoU {found:.2%}\n")
    file.parent.mkdir(parents=True, exist_ok=True)
    torch.save(network.state_dict(), file)
    return found


def miou(network: nn.Module, task: Shapes) -> float:
    """The mean intersection over union on the test images."""
    network.eval()
    meter = task.meters["mIoU"]
    meter.reset()
    with torch.no_grad():
        for batch in task.test:
            meter.update(network(batch[0]).argmax(1), batch[1])
    return float(meter.compute())


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python recipes/shapes_unet.py FILE.pth")
    pretrain(Path(sys.argv[1]), make())
