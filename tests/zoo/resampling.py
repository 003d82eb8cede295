"""Maps made larger, smaller and sampled anew; channels made of space."""

import torch
from torch import nn
from torch.nn import functional


class Transposed(nn.Module):
    """A transposed convolution: its weight's first axis reads channels and its second makes them.

    x -> conv1 -> relu -> up (4 -> 3) -> bn -> relu -> conv2 -> fc (after the mean) ->

    Groups:
        conv1 4: conv1.weight[0] conv1.bias[0] up.weight[0]
        up 3: up.weight[1] bn.weight[0] bn.bias[0] bn.running_mean[0] bn.running_var[0]
            conv2.weight[1]
        conv2 5: conv2.weight[0] conv2.bias[0] fc.weight[1]
    Fixed:
        fc 2/2: the network's output
    """

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3)
        self.up = nn.ConvTranspose2d(4, 3, 2, stride=2, bias=False)
        self.bn = nn.BatchNorm2d(3)
        self.conv2 = nn.Conv2d(3, 5, 3)
        self.fc = nn.Linear(5, 2)

    def forward(self, x):
        x = self.bn(self.up(self.conv1(x).relu())).relu()
        return self.fc(self.conv2(x).mean((2, 3)))


class PixelShuffle(nn.Module):
    """Four channels become one of twice the height and width: the four go together.

    x -> conv1 (8) -> PixelShuffle(2) -> (2) -> conv2 -> pool -> fc ->

    Groups:
        conv1 2: conv1.weight[0]=0-3,4-7 conv1.bias[0]=0-3,4-7 conv2.weight[1]
        conv2 4: conv2.weight[0] conv2.bias[0] fc.weight[1]
    Fixed:
        fc 2/2: the network's output
    """

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3)
        self.up = nn.PixelShuffle(2)
        self.conv2 = nn.Conv2d(2, 4, 3)
        self.fc = nn.Linear(4, 2)

    def forward(self, x):
        x = self.conv2(self.up(self.conv1(x)).relu())
        return self.fc(functional.adaptive_avg_pool2d(x, 1).flatten(1))


class PixelUnshuffle(nn.Module):
    """One channel becomes four of half the height and width.

    x -> conv1 -> PixelUnshuffle(2) -> conv2 -> fc (after the mean) ->

    Groups:
        conv1 3: conv1.weight[0] conv1.bias[0] conv2.weight[1]=0-3,4-7,8-11
        conv2 4: conv2.weight[0] conv2.bias[0] fc.weight[1]
    Fixed:
        fc 2/2: the network's output
    """

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 3, 3)
        self.down = nn.PixelUnshuffle(2)
        self.conv2 = nn.Conv2d(12, 4, 2)
        self.fc = nn.Linear(4, 2)

    def forward(self, x):
        return self.fc(self.conv2(self.down(self.conv1(x)).relu()).mean((2, 3)))


class Resized(nn.Module):
    """A small map enlarged and added to a large one, as in feature pyramids; a constant shift of
    the input.

    x - 0.5 -> stem -+-> side ---------------------> (+) -> fc (after the mean) ->
                     +-> down -> enlarge (bilinear) -^

    Groups:
        stem 5: stem.weight[0] stem.bias[0] side.weight[1] down.weight[1]
        down 4: side.weight[0] side.bias[0] down.weight[0] down.bias[0] fc.weight[1]
    Fixed:
        fc 2/2: the network's output
    """

    def __init__(self):
        super().__init__()
        self.register_buffer("shift", torch.tensor([[[0.5]], [[0.4]], [[0.3]]]))
        self.stem = nn.Conv2d(3, 5, 3)
        self.side = nn.Conv2d(5, 4, 1)
        self.down = nn.Conv2d(5, 4, 1, stride=2)
        self.fc = nn.Linear(4, 2)

    def forward(self, x):
        x = self.stem(x - self.shift)
        up = functional.interpolate(
            self.down(x), scale_factor=2, mode="bilinear", align_corners=False
        )
        return self.fc((self.side(x) + up).relu().mean((2, 3)))


class Pools(nn.Module):
    """Pools and resizings of every kind leave the channels as they are.

    x -> conv1 -> lp pool -> enlarge (bicubic) -> conv2 -> adaptive maximum -> enlarge (nearest) ->
      conv3 -> adaptive mean -> maximum over rows -> fc (after the mean over columns) ->

    Groups:
        conv1 4: conv1.weight[0] conv1.bias[0] conv2.weight[1]
        conv2 5: conv2.weight[0] conv2.bias[0] conv3.weight[1]
        conv3 6: conv3.weight[0] conv3.bias[0] fc.weight[1]
    Fixed:
        fc 2/2: the network's output
    """

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3)
        self.conv2 = nn.Conv2d(4, 5, 3)
        self.conv3 = nn.Conv2d(5, 6, 3)
        self.fc = nn.Linear(6, 2)

    def forward(self, x):
        x = functional.lp_pool2d(self.conv1(x).sigmoid(), 2, 2)
        x = self.conv2(functional.interpolate(x, size=(6, 6), mode="bicubic", align_corners=False))
        x = functional.interpolate(
            functional.adaptive_max_pool2d(x, 3), scale_factor=2, mode="nearest"
        )
        x = functional.adaptive_avg_pool2d(self.conv3(x), (3, 2)).max(2).values
        return self.fc(x.mean(2))


class Padded(nn.Module):
    """Borders that repeat what is there, of every mode.

    x -> conv1 (reflect) -> replicate -> conv2 (circular) -> relu -> fc (after the mean) ->

    Groups:
        conv1 4: conv1.weight[0] conv1.bias[0] conv2.weight[1]
        conv2 5: conv2.weight[0] conv2.bias[0] fc.weight[1]
    Fixed:
        fc 2/2: the network's output
    """

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect")
        self.conv2 = nn.Conv2d(4, 5, 3, padding=1, padding_mode="circular")
        self.fc = nn.Linear(5, 2)

    def forward(self, x):
        x = functional.pad(self.conv1(x), (1, 0, 0, 2), mode="replicate")
        return self.fc(self.conv2(x).relu().mean((2, 3)))


class Unpooled(nn.Module):
    """A pool that remembers places and an unpool that puts other numbers there, as in SegNet.

    x -> conv1 -> max pool -+-> conv2 -> unpool -> conv3 -> fc (after the mean) ->
                            +-> places ---^

    Groups:
        conv1 4: conv1.weight[0] conv1.bias[0] conv2.weight[1] conv2.weight[0] conv2.bias[0]
            conv3.weight[1]
        conv3 5: conv3.weight[0] conv3.bias[0] fc.weight[1]
    Fixed:
        fc 2/2: the network's output
    """

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3)
        self.conv2 = nn.Conv2d(4, 4, 3, padding=1)
        self.conv3 = nn.Conv2d(4, 5, 3)
        self.fc = nn.Linear(5, 2)

    def forward(self, x):
        x, places = functional.max_pool2d(self.conv1(x), 2, return_indices=True)
        x = torch.ops.aten.max_unpool2d(
            self.conv2(x).relu(), places, (4, 4)
        )  # torch.jit can't trace the function
        return self.fc(self.conv3(x).mean((2, 3)))


class Windows(nn.Module):
    """Windows as channels, a layer on them, and back (unfold and fold).

    x -> conv1 (2) -> unfold 2x2 (8, L) -> transpose -> fc1 (12) -> transpose -> fold (3, 4, 4) ->
    fc2 (of the mean) ->

    Groups:
        conv1 2: conv1.weight[0] conv1.bias[0] fc1.weight[1]=0-3,4-7
        fc1 3: fc1.weight[0]=0-3,4-7,8-11 fc1.bias[0]=0-3,4-7,8-11 fc2.weight[1]
    Fixed:
        fc2 2/2: the network's output
    """

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 2, 3)
        self.fc1 = nn.Linear(8, 12)
        self.fc2 = nn.Linear(3, 2)

    def forward(self, x):
        x = functional.unfold(self.conv1(x), 2, stride=2).transpose(1, 2)
        x = functional.fold(self.fc1(x).transpose(1, 2), (4, 4), 2, stride=2)
        return self.fc2(x.relu().mean((2, 3)))


class Sampled(nn.Module):
    """A map sampled at places that the network computes: the places stay, the map's channels pass.

    x -> conv1 -> relu -+-> where (2) -> (N, H, W, 2) -> grid_sample -> conv2 -> fc (after the mean)
                        -> +--------------------------------^

    Groups:
        conv1 4: conv1.weight[0] conv1.bias[0] where.weight[1] conv2.weight[1]
        conv2 5: conv2.weight[0] conv2.bias[0] fc.weight[1]
    Fixed:
        where 2/2: sampling positions shared by all channels: aten.grid_sampler
        fc 2/2: the network's output
    """

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3)
        self.where = nn.Conv2d(4, 2, 3, padding=1)
        self.conv2 = nn.Conv2d(4, 5, 3)
        self.fc = nn.Linear(5, 2)

    def forward(self, x):
        x = self.conv1(x).relu()
        places = self.where(x).tanh().permute(0, 2, 3, 1)
        x = functional.grid_sample(x, places, align_corners=False)  # fixes
        return self.fc(self.conv2(x).mean((2, 3)))
