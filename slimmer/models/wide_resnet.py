"""Wide ResNets of depth 6n+4 for 32x32 images, in the layout of xternalz's checkpoints."""

from functools import partial
from itertools import starmap

from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, relu

from slimmer.models.architecture import Architecture

SIZES = ((10, 1), (16, 4), (28, 10), (40, 2))


class Block(nn.Module):
    """Two 3x3 convolutions with BN and ReLU in front of each, and a shortcut; nothing after the
    sum.

    Where the shape changes, the shortcut is a 1x1 convolution that reads what the first BN and ReLU
    give.
    """

    def __init__(self, entering: int, width: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(entering)
        self.conv1 = nn.Conv2d(entering, width, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        changes = stride > 1 or entering != width
        self.convShortcut = nn.Conv2d(entering, width, 1, stride, bias=False) if changes else None

    def forward(self, x: Tensor) -> Tensor:
        """(N, entering, H, W) -> (N, width, H / stride, W / stride)."""
        active = relu(self.bn1(x))
        inner = self.conv2(relu(self.bn2(self.conv1(active))))
        around = x if self.convShortcut is None else self.convShortcut(active)
        return inner + around  # type: ignore[no-any-return]


class Stage(nn.Module):
    """A sequence of blocks, under the name `layer` as in the checkpoints."""

    def __init__(self, entering: int, width: int, blocks: int, stride: int) -> None:
        super().__init__()
        rest = (Block(width, width, 1) for _ in range(blocks - 1))
        self.layer = nn.Sequential(Block(entering, width, stride), *rest)

    def forward(self, x: Tensor) -> Tensor:
        """(N, entering, H, W) -> (N, width, H / stride, W / stride)."""
        return self.layer(x)  # type: ignore[no-any-return]


class WideResNet(nn.Module):
    """A 3x3 convolution to 16 channels, three stages of n blocks (16, 32, 64 times `factor`), one
    linear layer.

    Without dropout. Source: Zagoruyko and Komodakis, Wide Residual Networks (2016), table 1; key
    names as in github.com/xternalz/WideResNet-pytorch.
    """

    def __init__(self, blocks: int, factor: int, *, num_classes: int, in_channels: int) -> None:
        super().__init__()
        widths = (16 * factor, 32 * factor, 64 * factor)
        self.conv1 = nn.Conv2d(in_channels, 16, 3, padding=1, bias=False)
        self.block1 = Stage(16, widths[0], blocks, stride=1)
        self.block2 = Stage(widths[0], widths[1], blocks, stride=2)
        self.block3 = Stage(widths[1], widths[2], blocks, stride=2)
        self.bn1 = nn.BatchNorm2d(widths[2])
        self.fc = nn.Linear(widths[2], num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_uniform_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) -> logits (N, num_classes)."""
        x = self.block3(self.block2(self.block1(self.conv1(x))))
        scores: Tensor = self.fc(adaptive_avg_pool2d(relu(self.bn1(x)), 1).flatten(1))
        return scores


def _architecture(depth: int, factor: int) -> Architecture:
    make = partial(WideResNet, (depth - 4) // 6, factor)
    name = f"cifar_wrn{depth}_{factor}"
    return Architecture(name, make, input_size=(3, 32, 32), num_classes=10)


ARCHITECTURES = tuple(starmap(_architecture, SIZES))
