"""CIFAR ResNets of depth 6n+2, with both kinds of shortcut, in the layout of akamaster's
checkpoints.
"""

from functools import partial

from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, relu

from slimmer.models.architecture import Architecture
from slimmer.models.channel_pad import ChannelPad

DEPTHS = (8, 14, 20, 32, 44, 56, 110)


class Block(nn.Module):
    """Two 3x3 convolutions and a shortcut around them; ReLU after the sum."""

    def __init__(self, entering: int, width: int, stride: int, *, projection: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(entering, width, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.shortcut = _shortcut(entering, width, stride, projection=projection)

    def forward(self, x: Tensor) -> Tensor:
        """(N, entering, H, W) -> (N, width, H / stride, W / stride)."""
        inner = self.bn2(self.conv2(relu(self.bn1(self.conv1(x)))))
        around = x if self.shortcut is None else self.shortcut(x)
        return relu(inner + around)


def _shortcut(entering: int, width: int, stride: int, *, projection: bool) -> nn.Module | None:
    if stride == 1 and entering == width:
        return None
    if projection:
        return nn.Sequential(
            nn.Conv2d(entering, width, 1, stride, bias=False), nn.BatchNorm2d(width)
        )
    before = (width - entering) // 2
    return ChannelPad(before, width - entering - before, stride)


class CifarResNet(nn.Module):
    """A 3x3 convolution to 16 channels, three stages of n blocks (16, 32, 64 channels), one linear
    layer.

    `projection` False is option A of the paper (ChannelPad), True is option B (1x1 convolution and
    BN). Source: He et al., Deep Residual Learning for Image Recognition (2015), section 4.2; key
    names as in github.com/akamaster/pytorch_resnet_cifar10.
    """

    def __init__(
        self, blocks: int, *, projection: bool, num_classes: int, in_channels: int
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = _stage(16, 16, blocks, stride=1, projection=projection)
        self.layer2 = _stage(16, 32, blocks, stride=2, projection=projection)
        self.layer3 = _stage(32, 64, blocks, stride=2, projection=projection)
        self.linear = nn.Linear(64, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_uniform_(module.weight)  # a normal draw is slow on the meta device

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) -> logits (N, num_classes)."""
        x = relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.linear(adaptive_avg_pool2d(x, 1).flatten(1))  # type: ignore[no-any-return]


def _stage(
    entering: int, width: int, blocks: int, *, stride: int, projection: bool
) -> nn.Sequential:
    first = Block(entering, width, stride, projection=projection)
    stage = nn.Sequential(first)
    for _ in range(blocks - 1):
        stage.append(Block(width, width, 1, projection=projection))
    return stage


def _architecture(depth: int, name: str, *, projection: bool) -> Architecture:
    make = partial(CifarResNet, (depth - 2) // 6, projection=projection)
    return Architecture(name, make, input_size=(3, 32, 32), num_classes=10)


ARCHITECTURES = (
    *(_architecture(depth, f"cifar_resnet{depth}", projection=False) for depth in DEPTHS),
    *(_architecture(depth, f"cifar_resnet{depth}_b", projection=True) for depth in DEPTHS),
)
