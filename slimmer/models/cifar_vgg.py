"""VGG-16 and VGG-19 with batch norm for 32x32 images, as Network Slimming trains them."""

from collections.abc import Iterator
from functools import partial

from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d

from slimmer.models.architecture import Architecture

WIDTHS = (64, 128, 256, 512, 512)
CONVOLUTIONS = {"cifar_vgg16_bn": (2, 2, 3, 3, 3), "cifar_vgg19_bn": (2, 2, 4, 4, 4)}


class CifarVGG(nn.Module):
    """Five stages of 3x3 convolution, BN and ReLU with max pooling between them, then one linear
    layer.

    The convolutions have no bias: so VGG-19 has 20,035,018 parameters, the 20.04M of the paper
    (with biases 20,040,522, which reads 20.04M as well; the authors' code has none). Source: Liu et
    al., Learning Efficient Convolutional Networks through Network Slimming (2017), table 1, and
    github.com/Eric-mingjie/network-slimming, which averages the last 2x2 map as is done here.
    """

    def __init__(
        self, convolutions: tuple[int, ...], *, num_classes: int, in_channels: int
    ) -> None:
        super().__init__()
        self.features = nn.Sequential(*_features(convolutions, in_channels))
        self.classifier = nn.Linear(WIDTHS[-1], num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W), H and W at least 16 -> logits (N, num_classes)."""
        scores: Tensor = self.classifier(adaptive_avg_pool2d(self.features(x), 1).flatten(1))
        return scores


def _features(convolutions: tuple[int, ...], in_channels: int) -> Iterator[nn.Module]:
    entering = in_channels
    for stage, (width, count) in enumerate(zip(WIDTHS, convolutions, strict=True)):
        if stage:
            yield nn.MaxPool2d(2)
        for _ in range(count):
            convolution = nn.Conv2d(entering, width, 3, padding=1, bias=False)
            nn.init.kaiming_uniform_(convolution.weight, mode="fan_out", nonlinearity="relu")
            yield from (convolution, nn.BatchNorm2d(width), nn.ReLU())
            entering = width


ARCHITECTURES = tuple(
    Architecture(name, partial(CifarVGG, convolutions), input_size=(3, 32, 32), num_classes=10)
    for name, convolutions in CONVOLUTIONS.items()
)
