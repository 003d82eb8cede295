"""Small networks as the tests of pruning tools have them, each written anew from its description.

What the projects (torch-pruning, NNI, NNCF, ModelOpt, SparseML, MMRazor, fvcore's and PyTorch's own
examples) test is a way of coupling channels; a network here shows one or two of them, with a head
of ten classes unless it says otherwise. All take images of three channels.
"""

# ruff: noqa: D102 - a forward is what the class says

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional


def _conv(entering: int, leaving: int, kernel: int = 3, **options: object) -> nn.Sequential:
    options.setdefault("padding", kernel // 2)
    layer = nn.Conv2d(entering, leaving, kernel, bias=False, **options)  # type: ignore[arg-type]
    return nn.Sequential(layer, nn.BatchNorm2d(leaving), nn.ReLU())


class LeNet(nn.Module):
    """The classic: `view` of a map larger than one pixel, fixed to the sizes of its inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 6, 5), nn.Conv2d(6, 16, 5)
        self.fc1, self.fc2, self.fc3 = (
            nn.Linear(16 * 5 * 5, 120),
            nn.Linear(120, 84),
            nn.Linear(84, 10),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = functional.max_pool2d(functional.relu(self.conv1(x)), 2)
        x = functional.max_pool2d(functional.relu(self.conv2(x)), 2)
        x = x.view(x.size(0), -1)
        return self.fc3(functional.relu(self.fc2(functional.relu(self.fc1(x)))))


class LeNetCounted(LeNet):
    """LeNet with the number of features in its code."""

    def forward(self, x: Tensor) -> Tensor:
        x = functional.max_pool2d(functional.relu(self.conv1(x)), 2)
        x = functional.max_pool2d(functional.relu(self.conv2(x)), 2)
        x = x.view(-1, 16 * 5 * 5)
        return functional.log_softmax(
            self.fc3(functional.relu(self.fc2(functional.relu(self.fc1(x))))), 1
        )


class ReshapedBatch(nn.Module):
    """Flattened with the number of images named, and turned about before."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.linear = _conv(3, 16), nn.Linear(16 * 8 * 8, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.avg_pool2d(self.conv(x), 4)
        return self.linear(x.permute(0, 2, 3, 1).reshape(x.shape[0], -1))


class Same(nn.Module):
    """Padding by its name, with dilation and an even kernel."""

    def __init__(self, word: str) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 24, 3, padding=word),
            nn.ReLU(),
            nn.Conv2d(24, 24, 3, padding=word, dilation=2),
            nn.ReLU(),
            nn.Conv2d(24, 24, 4, padding=word),
        )
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(24, 10))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layers(x))


class Padded(nn.Module):
    """Borders that reflect, wrap round and repeat."""

    def __init__(self) -> None:
        super().__init__()
        modes = ("reflect", "circular", "replicate")
        sizes = zip((3, 16, 24), (16, 24, 32), modes, strict=True)
        self.layers = nn.Sequential(
            *(nn.Conv2d(a, b, 3, padding=1, padding_mode=mode) for a, b, mode in sizes)
        )
        self.head = nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(functional.relu(self.layers(x)).mean((2, 3)))


class SplitConcat(nn.Module):
    """Split into unequal parts by numbers, each with its own layer, joined in another order."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = _conv(3, 24)
        self.left, self.right = _conv(8, 12), _conv(16, 20)
        self.end, self.head = _conv(32, 24), nn.Linear(24, 10)

    def forward(self, x: Tensor) -> Tensor:
        left, right = torch.split(self.stem(x), [8, 16], dim=1)
        joined = torch.cat([self.right(right), self.left(left)], 1)
        return self.head(self.end(joined).mean((2, 3)))


class ChunkAdd(nn.Module):
    """Halves that are added up, as in gated blocks."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.end, self.head = _conv(3, 32), _conv(16, 24), nn.Linear(24, 10)

    def forward(self, x: Tensor) -> Tensor:
        first, second = self.stem(x).chunk(2, 1)
        return self.head(self.end(first * torch.sigmoid(second)).mean((2, 3)))


class Slices(nn.Module):
    """Slices by position and an index, joined with the whole."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.part, self.end, self.head = (
            _conv(3, 24),
            _conv(12, 12),
            _conv(36, 24),
            nn.Linear(24, 10),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        return self.head(self.end(torch.cat([x, self.part(x[:, :12])], 1)).mean((2, 3)))


class DenselyJoined(nn.Module):
    """Every layer reads all that came before it."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = _conv(3, 16)
        self.layers = nn.ModuleList([_conv(16 + 12 * number, 12) for number in range(4)])
        self.head = nn.Linear(16 + 12 * 4, 10)

    def forward(self, x: Tensor) -> Tensor:
        maps = [self.stem(x)]
        for layer in self.layers:
            maps.append(layer(torch.cat(maps, 1)))
        return self.head(torch.cat(maps, 1).mean((2, 3)))


class Residuals(nn.Module):
    """A chain of sums, one of them over a projection, one broadcast from a gate."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.first, self.second = _conv(3, 16), _conv(16, 16), _conv(16, 32, stride=2)
        self.project = nn.Conv2d(16, 32, 1, stride=2)
        self.squeeze, self.excite, self.head = nn.Linear(32, 8), nn.Linear(8, 32), nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = x + self.first(x)
        x = self.second(x) + self.project(x)
        gate = self.excite(self.squeeze(x.mean((2, 3))).relu()).sigmoid()
        return self.head((x * gate[:, :, None, None]).mean((2, 3)))


class Grouped(nn.Module):
    """Groups, depthwise layers with a multiplier, and a shuffle between."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.grouped = _conv(3, 24), _conv(24, 24, groups=4)
        self.depthwise = _conv(24, 48, groups=24)
        self.end, self.head = _conv(48, 32, 1), nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.grouped(self.stem(x))
        images, channels, height, width = x.shape
        x = (
            x.view(images, 4, channels // 4, height, width)
            .transpose(1, 2)
            .reshape(images, channels, height, width)
        )
        return self.head(self.end(self.depthwise(x)).mean((2, 3)))


class SharedTwice(nn.Module):
    """One layer used twice, and one activation by all."""

    def __init__(self) -> None:
        super().__init__()
        self.act = nn.ReLU()
        self.stem, self.again = nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(16, 16, 3, padding=1)
        self.end, self.head = nn.Conv2d(16, 24, 3), nn.Linear(24, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.again(self.act(self.again(self.act(self.stem(x))))))
        return self.head(self.act(self.end(x)).mean((2, 3)))


class UpAndDown(nn.Module):
    """A small U: transposed convolutions, joins across, pixel shuffle at the end; a map of one
    channel.
    """

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.third = _conv(3, 16), _conv(16, 32), _conv(32, 48)
        self.up1 = nn.ConvTranspose2d(48, 32, 2, stride=2)
        self.mix1, self.up2 = _conv(64, 32), nn.ConvTranspose2d(32, 16, 2, stride=2)
        self.mix2, self.fine = _conv(32, 16), nn.Conv2d(16, 4, 3, padding=1)
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
            _conv(3, 24), nn.MaxPool2d(2), _conv(24, 32), nn.AdaptiveAvgPool2d((1, 16))
        )
        self.lstm, self.head = nn.LSTM(32, 16, batch_first=True), nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layers(x).squeeze(2).permute(0, 2, 1)
        return self.head(self.lstm(x)[0][:, -1])


class TwoHeads(nn.Module):
    """Two answers in a dictionary, beside a number and None."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.body = _conv(3, 16), _conv(16, 32)
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
            _conv(3, 24),
            _conv(24, 24),
            _conv(24, 24),
            nn.Linear(24, 10),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = self.one(x) if x.shape[-1] > 8 else self.two(x)
        if self.training:
            x = x + self.two(x)
        return self.head(torch.flatten(functional.adaptive_avg_pool2d(x, 1), 1))


class Frozen(Residuals):
    """Its first layers are not trained."""

    def __init__(self) -> None:
        super().__init__()
        for part in (self.stem, self.first):
            part.requires_grad_(requires_grad=False)


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
    "lenet": LeNet,
    "lenet_counted": LeNetCounted,
    "reshaped": ReshapedBatch,
    "same": lambda: Same("same"),
    "valid": lambda: Same("valid"),
    "padded": Padded,
    "split_concat": SplitConcat,
    "chunk_gate": ChunkAdd,
    "slices": Slices,
    "dense": DenselyJoined,
    "residuals": Residuals,
    "grouped": Grouped,
    "shared": SharedTwice,
    "unet": UpAndDown,
    "norms": Norms,
    "perceptron": Perceptron,
    "attention": Attention,
    "recurrent": Recurrent,
    "two_heads": TwoHeads,
    "normed": Normed,
    "functional": Functional,
    "choosing": Choosing,
    "frozen": Frozen,
    "volumes": Volumes,
    "signals": Signals,
}
