"""A VGG of a size that a CPU trains in minutes: eight 3x3 convolutions with batch norm, 16 to 128
channels.
"""

from torch import Tensor, nn

WIDTHS = ((16,), (32,), (64, 64), (128, 128), (128, 128))


class NarrowVGG(nn.Module):
    """VGG-11's layout (Simonyan and Zisserman 2014, column A) with a quarter of its widths and one
    linear layer.
    """

    input_size = (3, 32, 32)

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        entering = 3
        for stage, widths in enumerate(WIDTHS):
            layers += [nn.MaxPool2d(2)] * (stage > 0)
            for width in widths:
                convolution = nn.Conv2d(entering, width, 3, padding=1, bias=False)
                nn.init.kaiming_uniform_(convolution.weight, mode="fan_out", nonlinearity="relu")
                layers += [convolution, nn.BatchNorm2d(width), nn.ReLU()]
                entering = width
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Linear(entering, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, 32, 32) -> logits (N, num_classes)."""
        return self.classifier(self.features(x).mean((2, 3)))  # type: ignore[no-any-return]


def narrow_vgg(num_classes: int = 10) -> nn.Module:
    """The network, with random weights."""
    return NarrowVGG(num_classes)
