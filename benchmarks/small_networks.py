"""Two more networks for CIFAR-10, which train_small.py trains from scratch: VGG-16 with batch norm,
a quarter as wide (Simonyan and Zisserman 2015), and MobileNetV2, half as wide in multiples of 8 and
with stride 1 in its first convolution and second stage, as is usual for 32 x 32 pixels (Sandler et
al. 2018).
"""

from collections.abc import Iterator

from torch import Tensor, nn

VGG_WIDTHS = (16, 16, 0, 32, 32, 0, 64, 64, 64, 0, 128, 128, 128, 0, 128, 128, 128)
"""Channels of each convolution; 0 is a pooling that halves the height and width."""

INVERTED = (
    (1, 8, 1, 1),
    (6, 16, 2, 1),
    (6, 16, 3, 2),
    (6, 32, 4, 2),
    (6, 48, 3, 1),
    (6, 80, 3, 2),
    (6, 160, 1, 1),
)
"""Expansion, channels, blocks and stride of each stage of MobileNetV2 at half of its widths."""


def vgg16_quarter() -> nn.Sequential:
    """20 million multiplications an image of 3 x 32 x 32; logits of 10 classes."""
    layers: list[nn.Module] = []
    entering = 3
    for width in VGG_WIDTHS:
        if width == 0:
            layers.append(nn.MaxPool2d(2))
            continue
        layers += convolution(entering, width, 3)
        entering = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(entering, 10))


def mobilenet_v2_half() -> nn.Sequential:
    """26 million multiplications an image of 3 x 32 x 32; logits of 10 classes."""
    layers = [*convolution(3, 16, 3), *_stages(), *convolution(160, 640, 1)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(640, 10))


def _stages() -> Iterator[nn.Module]:
    entering = 16
    for expansion, width, blocks, stride in INVERTED:
        for block in range(blocks):
            yield InvertedResidual(entering, width, stride if block == 0 else 1, expansion)
            entering = width


class InvertedResidual(nn.Module):
    """A wide depthwise convolution between two 1 x 1 convolutions; a shortcut where the shapes are
    equal.
    """

    def __init__(self, entering: int, width: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = entering * expansion
        widened = convolution(entering, inner, 1) if expansion > 1 else []
        depthwise = convolution(inner, inner, 3, stride=stride, groups=inner)
        narrowed = convolution(inner, width, 1)[:2]
        self.inner = nn.Sequential(*widened, *depthwise, *narrowed)
        self.around = stride == 1 and entering == width

    def forward(self, x: Tensor) -> Tensor:
        """(N, entering, H, W) -> (N, width, H / stride, W / stride)."""
        inner: Tensor = self.inner(x)
        return x + inner if self.around else inner


def convolution(
    entering: int, width: int, size: int, *, stride: int = 1, groups: int = 1
) -> list[nn.Module]:
    """A convolution, its batch norm and a ReLU."""
    conv = nn.Conv2d(entering, width, size, stride, size // 2, groups=groups, bias=False)
    return [conv, nn.BatchNorm2d(width), nn.ReLU()]
