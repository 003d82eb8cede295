"""Small networks of layers other than two-dimensional convolutions, or of several kinds."""

# ruff: noqa: D102 - a forward is what the class says

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional


def conv(entering: int, leaving: int, kernel: int = 3, **options: object) -> nn.Sequential:
    options.setdefault("padding", kernel // 2)
    layer = nn.Conv2d(entering, leaving, kernel, bias=False, **options)  # type: ignore[arg-type]
    return nn.Sequential(layer, nn.BatchNorm2d(leaving), nn.ReLU())


class UpAndDown(nn.Module):
    """A small U: transposed convolutions, joins across, pixel shuffle at the end; a map of one
    channel.
    """

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.third = (
            conv(3, 16),
            conv(16, 32),
            conv(32, 48),
        )
        self.up1 = nn.ConvTranspose2d(48, 32, 2, stride=2)
        self.mix1, self.up2 = conv(64, 32), nn.ConvTranspose2d(32, 16, 2, stride=2)
        self.mix2, self.fine = conv(32, 16), nn.Conv2d(16, 4, 3, padding=1)
        self.shuffle = nn.PixelShuffle(2)

    def forward(self, x: Tensor) -> Tensor:
        first = self.first(x)
        second = self.second(functional.max_pool2d(first, 2))
        third = self.third(functional.max_pool2d(second, 2))
        x = self.mix1(torch.cat([self.up1(third), second], 1))
        x = self.mix2(torch.cat([self.up2(x), first], 1))
        return self.shuffle(self.fine(x))


class Norms(nn.Module):
    """Group, instance and layer norms, PReLU with a slope a channel."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 32, 3),
            nn.GroupNorm(8, 32),
            nn.PReLU(32),
            nn.Conv2d(32, 32, 3),
            nn.InstanceNorm2d(32, affine=True),
            nn.Conv2d(32, 32, 3),
        )
        self.norm, self.head = (
            nn.LayerNorm(32),
            nn.Sequential(nn.Linear(32, 64), nn.GELU(), nn.Linear(64, 10)),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(self.layers(x).mean((2, 3))))


class Perceptron(nn.Module):
    """Linear layers alone, with a norm between and dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Flatten(),
            nn.Linear(3 * 32 * 32, 64),
            nn.BatchNorm1d(64),
            nn.ReLU(),
            nn.Dropout(0.5),
            nn.Linear(64, 48),
            nn.Tanh(),
            nn.Linear(48, 10),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class Attention(nn.Module):
    """A transformer block over patches: attention by PyTorch's own module, and two linears with a
    residual stream.
    """

    def __init__(self) -> None:
        super().__init__()
        self.patches, self.norm1, self.norm2 = (
            nn.Conv2d(3, 32, 8, stride=8),
            nn.LayerNorm(32),
            nn.LayerNorm(32),
        )
        self.attention = nn.MultiheadAttention(32, 4, batch_first=True)
        self.wide, self.narrow, self.head = (
            nn.Linear(32, 128),
            nn.Linear(128, 32),
            nn.Linear(32, 10),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        y = self.norm1(x)
        x = x + self.attention(y, y, y, need_weights=False)[0]
        x = x + self.narrow(functional.gelu(self.wide(self.norm2(x))))
        return self.head(x.mean(1))


class Recurrent(nn.Module):
    """Convolutions whose columns go through an LSTM."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            conv(3, 24), nn.MaxPool2d(2), conv(24, 32), nn.AdaptiveAvgPool2d((1, 16))
        )
        self.lstm, self.head = nn.LSTM(32, 16, batch_first=True), nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layers(x).squeeze(2).permute(0, 2, 1)
        return self.head(self.lstm(x)[0][:, -1])


class TwoHeads(nn.Module):
    """Two answers in a dictionary, beside a number and None."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.body = conv(3, 16), conv(16, 32)
        self.kind, self.place = nn.Linear(32, 10), nn.Conv2d(16, 4, 1)

    def forward(self, x: Tensor) -> dict[str, object]:
        x = self.stem(x)
        return {
            "kind": self.kind(self.body(x).mean((2, 3))),
            "place": self.place(x),
            "scale": 2,
            "none": None,
        }


class Normed(nn.Module):
    """Weight norm and spectral norm by PyTorch's parametrisations."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 32, 3))
        self.second = nn.utils.parametrizations.spectral_norm(nn.Conv2d(32, 32, 3))
        self.third, self.head = nn.Conv2d(32, 32, 3), nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(
            self.third(functional.relu(self.second(functional.relu(self.first(x)))))
        )
        return self.head(x.mean((2, 3)))


class Functional(nn.Module):
    """Weights as parameters of its own, used by functions; einsum and matmul."""

    def __init__(self) -> None:
        super().__init__()
        self.kernel = nn.Parameter(torch.randn(24, 3, 3, 3) / 5)
        self.mix = nn.Parameter(torch.randn(24, 32) / 5)
        self.out = nn.Parameter(torch.randn(32, 10) / 5)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(functional.conv2d(x, self.kernel, padding=1)).mean((2, 3))
        return torch.relu(torch.einsum("nc,cd->nd", x, self.mix)) @ self.out


class Choosing(nn.Module):
    """A branch on the size of its input and on training, none on values."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.one, self.two, self.head = (
            conv(3, 24),
            conv(24, 24),
            conv(24, 24),
            nn.Linear(24, 10),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = self.one(x) if x.shape[-1] > 8 else self.two(x)
        if self.training:
            x = x + self.two(x)
        return self.head(torch.flatten(functional.adaptive_avg_pool2d(x, 1), 1))


class Volumes(nn.Module):
    """Images as volumes of one channel and three slices: three-dimensional convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv3d(1, 16, 3, padding=1),
            nn.BatchNorm3d(16),
            nn.ReLU(),
            nn.Conv3d(16, 24, 3, padding="same"),
        )
        self.head = nn.Linear(24, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(functional.relu(self.layers(x[:, None])).mean((2, 3, 4)))


class Signals(nn.Module):
    """Rows of pixels as signals: one-dimensional convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv1d(96, 48, 5, padding="same"),
            nn.ReLU(),
            nn.Conv1d(48, 32, 3, stride=2),
            nn.AdaptiveAvgPool1d(1),
        )
        self.head = nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layers(x.flatten(1, 2)).squeeze(-1))


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "unet": UpAndDown,
    "norms": Norms,
    "perceptron": Perceptron,
    "attention": Attention,
    "recurrent": Recurrent,
    "two_heads": TwoHeads,
    "normed": Normed,
    "functional": Functional,
    "choosing": Choosing,
    "volumes": Volumes,
    "signals": Signals,
}
