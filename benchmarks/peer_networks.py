"""Small networks as the tests of pruning tools have them, each written anew from its description.

What the projects (torch-pruning, NNI, NNCF, ModelOpt, SparseML, MMRazor, fvcore's and PyTorch's own
examples) test is a way of coupling channels; a network here shows one or two of them, with a head
of ten classes unless it says otherwise. All take images of three channels.
"""

# ruff: noqa: D102 - a forward is what the class says

from collections.abc import Callable

import torch
from peer_layers import NETWORKS as LAYERS
from peer_layers import conv
from torch import Tensor, nn
from torch.nn import functional


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
        self.conv, self.linear = conv(3, 16), nn.Linear(16 * 8 * 8, 10)

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
        self.stem = conv(3, 24)
        self.left, self.right = conv(8, 12), conv(16, 20)
        self.end, self.head = conv(32, 24), nn.Linear(24, 10)

    def forward(self, x: Tensor) -> Tensor:
        left, right = torch.split(self.stem(x), [8, 16], dim=1)
        joined = torch.cat([self.right(right), self.left(left)], 1)
        return self.head(self.end(joined).mean((2, 3)))


class ChunkAdd(nn.Module):
    """Halves that are added up, as in gated blocks."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.end, self.head = conv(3, 32), conv(16, 24), nn.Linear(24, 10)

    def forward(self, x: Tensor) -> Tensor:
        first, second = self.stem(x).chunk(2, 1)
        return self.head(self.end(first * torch.sigmoid(second)).mean((2, 3)))


class Slices(nn.Module):
    """Slices by position and an index, joined with the whole."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.part, self.end, self.head = (
            conv(3, 24),
            conv(12, 12),
            conv(36, 24),
            nn.Linear(24, 10),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        return self.head(self.end(torch.cat([x, self.part(x[:, :12])], 1)).mean((2, 3)))


class DenselyJoined(nn.Module):
    """Every layer reads all that came before it."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv(3, 16)
        self.layers = nn.ModuleList([conv(16 + 12 * number, 12) for number in range(4)])
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
        self.stem, self.first, self.second = (
            conv(3, 16),
            conv(16, 16),
            conv(16, 32, stride=2),
        )
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
        self.stem, self.grouped = conv(3, 24), conv(24, 24, groups=4)
        self.depthwise = conv(24, 48, groups=24)
        self.end, self.head = conv(48, 32, 1), nn.Linear(32, 10)

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


class Frozen(Residuals):
    """Its first layers are not trained."""

    def __init__(self) -> None:
        super().__init__()
        for part in (self.stem, self.first):
            part.requires_grad_(requires_grad=False)


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
    "frozen": Frozen,
    **LAYERS,
}
