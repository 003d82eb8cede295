"""CIFAR ResNets of depth 9n+2 with pre-activation bottlenecks, ResNet-164 among them."""

from functools import partial

from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, relu

from slimmer.models.architecture import Architecture

DEPTHS = (11, 20, 29, 56, 110, 164)
EXPANSION = 4


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions with BN and ReLU in front of each, and a shortcut; nothing
    after the sum.

    Where the shape changes, the shortcut is a 1x1 convolution that reads what the first BN and ReLU
    give.
    """

    def __init__(self, entering: int, width: int, stride: int) -> None:
        super().__init__()
        leaving = width * EXPANSION
        self.bn1 = nn.BatchNorm2d(entering)
        self.conv1 = nn.Conv2d(entering, width, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, leaving, 1, bias=False)
        changes = stride > 1 or entering != leaving
        self.shortcut = nn.Conv2d(entering, leaving, 1, stride, bias=False) if changes else None

    def forward(self, x: Tensor) -> Tensor:
        """(N, entering, H, W) -> (N, 4 width, H / stride, W / stride)."""
        active = relu(self.bn1(x))
        inner = self.conv2(relu(self.bn2(self.conv1(active))))
        inner = self.conv3(relu(self.bn3(inner)))
        around = x if self.shortcut is None else self.shortcut(active)
        return inner + around  # type: ignore[no-any-return]


class CifarPreResNet(nn.Module):
    """A 3x3 convolution to 16 channels, three stages of n bottlenecks (64, 128, 256 channels), BN,
    ReLU, linear.

    Source: He et al., Identity Mappings in Deep Residual Networks (2016), and its appendix for the
    shared activation in front of a shape change. The 3x3 convolution has the stride, as in the code
    of Network Slimming (github.com/Eric-mingjie/network-slimming); the authors' own
    (github.com/KaimingHe/resnet-1k-layers) gives it to the first 1x1, which saves 1.3 % of
    ResNet-164's multiply-adds.
    """

    def __init__(self, blocks: int, *, num_classes: int, in_channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, 16, 3, padding=1, bias=False)
        self.layer1 = _stage(16, 16, blocks, stride=1)
        self.layer2 = _stage(16 * EXPANSION, 32, blocks, stride=2)
        self.layer3 = _stage(32 * EXPANSION, 64, blocks, stride=2)
        self.bn = nn.BatchNorm2d(64 * EXPANSION)
        self.linear = nn.Linear(64 * EXPANSION, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_uniform_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) -> logits (N, num_classes)."""
        x = self.layer3(self.layer2(self.layer1(self.conv1(x))))
        scores: Tensor = self.linear(adaptive_avg_pool2d(relu(self.bn(x)), 1).flatten(1))
        return scores


def _stage(entering: int, width: int, blocks: int, *, stride: int) -> nn.Sequential:
    stage = nn.Sequential(Bottleneck(entering, width, stride))
    for _ in range(blocks - 1):
        stage.append(Bottleneck(width * EXPANSION, width, 1))
    return stage


def _architecture(depth: int) -> Architecture:
    make = partial(CifarPreResNet, (depth - 2) // 9)
    name = f"cifar_preresnet{depth}"
    return Architecture(name, make, input_size=(3, 32, 32), num_classes=10)


ARCHITECTURES = tuple(map(_architecture, DEPTHS))
