"""ResNet-18, -34 and -50 for ImageNet in torchvision's layout, so that its checkpoints load as they
are.
"""

from functools import partial

from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, max_pool2d, relu

from slimmer.models.architecture import Architecture


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut around them; ReLU after the sum."""

    expansion = 1

    def __init__(self, entering: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(entering, width, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = _downsample(entering, width, stride)

    def forward(self, x: Tensor) -> Tensor:
        """(N, entering, H, W) -> (N, width, H / stride, W / stride)."""
        inner = self.bn2(self.conv2(relu(self.bn1(self.conv1(x)))))
        around = x if self.downsample is None else self.downsample(x)
        return relu(inner + around)


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions and a shortcut; the 3x3 one has the stride, as in torchvision
    (v1.5).
    """

    expansion = 4

    def __init__(self, entering: int, width: int, stride: int) -> None:
        super().__init__()
        leaving = width * self.expansion
        self.conv1 = nn.Conv2d(entering, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, leaving, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(leaving)
        self.downsample = _downsample(entering, leaving, stride)

    def forward(self, x: Tensor) -> Tensor:
        """(N, entering, H, W) -> (N, 4 width, H / stride, W / stride)."""
        inner = relu(self.bn1(self.conv1(x)))
        inner = self.bn3(self.conv3(relu(self.bn2(self.conv2(inner)))))
        around = x if self.downsample is None else self.downsample(x)
        return relu(inner + around)


def _downsample(entering: int, leaving: int, stride: int) -> nn.Sequential | None:
    if stride == 1 and entering == leaving:
        return None
    return nn.Sequential(
        nn.Conv2d(entering, leaving, 1, stride, bias=False), nn.BatchNorm2d(leaving)
    )


class ResNet(nn.Module):
    """A 7x7 convolution and a max pooling, four stages of blocks, one linear layer.

    Source: He et al., Deep Residual Learning for Image Recognition (2015), table 1; key names as in
    torchvision.models.resnet.
    """

    def __init__(
        self,
        block: type[BasicBlock | Bottleneck],
        blocks: tuple[int, int, int, int],
        *,
        num_classes: int,
        in_channels: int,
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, 64, 7, 2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.layer1 = _stage(block, 64, 64, blocks[0], stride=1)
        self.layer2 = _stage(block, 64 * block.expansion, 128, blocks[1], stride=2)
        self.layer3 = _stage(block, 128 * block.expansion, 256, blocks[2], stride=2)
        self.layer4 = _stage(block, 256 * block.expansion, 512, blocks[3], stride=2)
        self.fc = nn.Linear(512 * block.expansion, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_uniform_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) -> logits (N, num_classes)."""
        x = max_pool2d(relu(self.bn1(self.conv1(x))), 3, 2, padding=1)
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(adaptive_avg_pool2d(x, 1).flatten(1))  # type: ignore[no-any-return]


def _stage(
    block: type[BasicBlock | Bottleneck], entering: int, width: int, blocks: int, *, stride: int
) -> nn.Sequential:
    stage = nn.Sequential(block(entering, width, stride))
    for _ in range(blocks - 1):
        stage.append(block(width * block.expansion, width, 1))
    return stage


def _architecture(
    name: str, block: type[BasicBlock | Bottleneck], blocks: tuple[int, int, int, int]
) -> Architecture:
    make = partial(ResNet, block, blocks)
    return Architecture(name, make, input_size=(3, 224, 224), num_classes=1000)


ARCHITECTURES = (
    _architecture("resnet18", BasicBlock, (2, 2, 2, 2)),
    _architecture("resnet34", BasicBlock, (3, 4, 6, 3)),
    _architecture("resnet50", Bottleneck, (3, 4, 6, 3)),
)
