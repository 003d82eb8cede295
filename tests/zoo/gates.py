"""Gates: one value for a channel, one map for all."""

import torch
from torch import nn
from torch.nn import functional


class SqueezeExcite(nn.Module):
    """A gate per channel, computed from all channels: it goes with the channel that it scales.

    x -> stem -+------------------------------------------> (*) -> fc (after the mean) ->
               +-> pool -> reduce -> relu -> expand -> sigmoid -^

    Groups:
        stem 6: stem.weight[0] stem.bias[0] reduce.weight[1] expand.weight[0] expand.bias[0]
            fc.weight[1]
        reduce 3: reduce.weight[0] reduce.bias[0] expand.weight[1]
    Fixed:
        fc 2/2: the network's output
    """

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3)
        self.reduce = nn.Conv2d(6, 3, 1)
        self.expand = nn.Conv2d(3, 6, 1)
        self.fc = nn.Linear(6, 2)

    def forward(self, x):
        x = self.stem(x)
        gate = self.expand(self.reduce(functional.adaptive_avg_pool2d(x, 1)).relu()).sigmoid()
        return self.fc((x * gate).mean((2, 3)))


class SqueezeLinear(nn.Module):
    """A gate by linear layers on a flat mean, opened to a map by `view` and stretched by
    `expand_as`.

    x -> stem -+-----------------------------------------------------------> (*) -> fc (after the
               mean) -> +-> avg_pool2d -> view (N, C) -> fc1 -> relu -> fc2 -> view -> hardsigmoid
               -> expand_as -^

    Groups:
        stem 6: stem.weight[0] stem.bias[0] fc1.weight[1] fc2.weight[0] fc2.bias[0] fc.weight[1]
        fc1 3: fc1.weight[0] fc1.bias[0] fc2.weight[1]
    Fixed:
        fc 2/2: the network's output
    """

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3)
        self.fc1 = nn.Linear(6, 3)
        self.fc2 = nn.Linear(3, 6)
        self.fc = nn.Linear(6, 2)

    def forward(self, x):
        x = self.stem(x)
        n, c = x.shape[:2]
        pooled = functional.avg_pool2d(x, x.shape[2:]).view(n, c)
        gate = functional.hardsigmoid(self.fc2(self.fc1(pooled).relu()).view(n, c, 1, 1))
        return self.fc((x * gate.expand_as(x)).mean((2, 3)))


class MaxAndMean(nn.Module):
    """CBAM's gate: one small network on the mean and on the maximum, added.

    x -> stem -+------------------------------------------> (*) -> fc (after the mean) ->
               +-> mean ----> reduce -> expand -> (+) -> sigmoid -^
               +-> maximum -> reduce -> expand --^

    Groups:
        stem 5: stem.weight[0] stem.bias[0] reduce.weight[1] expand.weight[0] fc.weight[1]
        reduce 2: reduce.weight[0] expand.weight[1]
    Fixed:
        fc 2/2: the network's output
    """

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 5, 3)
        self.reduce = nn.Conv2d(5, 2, 1, bias=False)
        self.expand = nn.Conv2d(2, 5, 1, bias=False)
        self.fc = nn.Linear(5, 2)

    def forward(self, x):
        x = self.stem(x)
        mean, largest = functional.adaptive_avg_pool2d(x, 1), functional.adaptive_max_pool2d(x, 1)
        gate = self.expand(self.reduce(mean).relu()) + self.expand(self.reduce(largest).relu())
        return self.fc((x * gate.sigmoid()).mean((2, 3)))


class NeighbourGate(nn.Module):
    """ECA's gate: a convolution along the row of channel means mixes neighbours, so all of them
    stay.

    x -> stem -+-------------------------------------------> (*) -> conv -> fc (after the mean) ->
               +-> mean -> (N, 1, C) -> mix -> (N, C, 1, 1) -^

    Groups:
        conv 4: conv.weight[0] conv.bias[0] fc.weight[1]
    Fixed:
        stem 5/5: a convolution along the channel axis, which mixes neighbouring channels
        mix 1/1: channels of two different axes are combined: aten.mul.Tensor
        fc 2/2: the network's output
    """

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 5, 3)
        self.mix = nn.Conv1d(1, 1, 3, padding=1, bias=False)
        self.conv = nn.Conv2d(5, 4, 1)
        self.fc = nn.Linear(4, 2)

    def forward(self, x):
        x = self.stem(x)
        row = x.mean((2, 3)).unsqueeze(1)
        gate = self.mix(row)  # fixes
        gate = gate.transpose(1, 2).unsqueeze(3).sigmoid()
        x = x * gate  # fixes
        return self.fc(self.conv(x).mean((2, 3)))


class SelectiveKernel(nn.Module):
    """Two branches weighed against each other by a softmax, channel by channel.

    x -> stem -+-> a ------------------------------------------------------------> (*) -> sum ->
               head -> fc -> +-> b -> (a + b) -> mean -> fc1 -> relu -> fc2 -> view (2, C) ->
               softmax -^

    Groups:
        a 4: a.weight[0] a.bias[0] b.weight[0] b.bias[0] fc1.weight[1] fc2.weight[0]=0+4,1+5,2+6,3+7
            fc2.bias[0]=0+4,1+5,2+6,3+7 head.weight[1]
        fc1 3: fc1.weight[0] fc1.bias[0] fc2.weight[1]
        head 5: head.weight[0] head.bias[0] fc.weight[1]
    Fixed:
        fc 2/2: the network's output
    """

    def __init__(self):
        super().__init__()
        self.a = nn.Conv2d(3, 4, 3, padding=1)
        self.b = nn.Conv2d(3, 4, 1)
        self.fc1 = nn.Linear(4, 3)
        self.fc2 = nn.Linear(3, 8)
        self.head = nn.Conv2d(4, 5, 1)
        self.fc = nn.Linear(5, 2)

    def forward(self, x):
        both = torch.stack([self.a(x).relu(), self.b(x).relu()], 1)
        n, two, c, _, _ = both.shape
        gate = self.fc2(self.fc1(both.sum(1).mean((2, 3))).relu()).view(n, two, c, 1, 1).softmax(1)
        return self.fc(self.head((both * gate).sum(1)).mean((2, 3)))


class SpatialAttention(nn.Module):
    """One map for all channels: its single channel stays, and ties nothing.

    x -> stem -+-------------------> (*) -> fc (after the mean) ->
               +-> map (1) -> sigmoid -^

    Groups:
        stem 5: stem.weight[0] stem.bias[0] map.weight[1] fc.weight[1]
    Fixed:
        map 1/1: one value broadcast to several channels: aten.mul
        fc 2/2: the network's output
    """

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 5, 3)
        self.map = nn.Conv2d(5, 1, 3, padding=1)
        self.fc = nn.Linear(5, 2)

    def forward(self, x):
        x = self.stem(x)
        x = x * self.map(x).sigmoid()  # fixes
        return self.fc(x.mean((2, 3)))


class StretchedMap(nn.Module):
    """One map for all channels, stretched to the other's shape before it is multiplied: it stays
    and ties nothing.

    x -> stem -+-------------------------------------> (*) -> fc (after the mean) ->
               +-> map (1) -> sigmoid -> expand_as ---^

    Groups:
        stem 5: stem.weight[0] stem.bias[0] map.weight[1] fc.weight[1]
    Fixed:
        map 1/1: one value broadcast to several channels: aten.expand_as
        fc 2/2: the network's output
    """

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 5, 3)
        self.map = nn.Conv2d(5, 1, 3, padding=1)
        self.fc = nn.Linear(5, 2)

    def forward(self, x):
        x = self.stem(x)
        x = x * self.map(x).sigmoid().expand_as(x)  # fixes
        return self.fc(x.mean((2, 3)))


class ChannelMean(nn.Module):
    """A mean over channels (of pooled attention maps): what enters it stays.

    x -> conv1 -> mean over channels -> conv2 -> fc (after the mean over space) ->

    Groups:
        conv2 5: conv2.weight[0] conv2.bias[0] fc.weight[1]
    Fixed:
        conv1 4/4: a reduction over channels: aten.mean.dim
        fc 2/2: the network's output
    """

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3)
        self.conv2 = nn.Conv2d(1, 5, 3)
        self.fc = nn.Linear(5, 2)

    def forward(self, x):
        x = self.conv1(x).mean(1, keepdim=True)  # fixes
        return self.fc(self.conv2(x).mean((2, 3)))
