"""Tiny networks, one per pattern in which channels are coupled.

Each class docstring is the pattern's drawing and the expected channel graph; `expected` reads the latter as
data, so that the tests compare what a reader sees. Under `Groups:` a line is

    NAME SIZE: tensor[dim] tensor[dim]=POSITIONS ...

where POSITIONS lists, unit by unit (commas), the entries of that axis which go with the unit: `3`, a run `0-3`,
or single ones `0+4`; without it unit u is entry u. Under `Fixed:` a line is

    LAYER CHANNELS/OF: the beginning of the reason

A line of code that fixes channels ends in the comment `# fixes`.
"""

import ast
import inspect
import random
import re
from dataclasses import dataclass
from functools import cache

import torch
from torch import nn
from torch.nn import functional

from slimmer.graph import ChannelGraph, build_graph
from slimmer.models import build
from slimmer.models.channel_pad import ChannelPad
from slimmer.plan import Plan, make_plan

SIZE = (3, 6, 6)


class Chain(nn.Module):
    """Convolution, batch norm, ReLU, twice, and a classifier.

    x -> conv1 -> bn1 -> relu -> conv2 -> bn2 -> relu -> pool -> fc ->

    Groups:
        conv1 4: conv1.weight[0] bn1.weight[0] bn1.bias[0] bn1.running_mean[0] bn1.running_var[0] conv2.weight[1]
        conv2 5: conv2.weight[0] bn2.weight[0] bn2.bias[0] bn2.running_mean[0] bn2.running_var[0] fc.weight[1]
    Fixed:
        fc 3/3: the network's output
    """

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(4)
        self.conv2 = nn.Conv2d(4, 5, 3, stride=2, bias=False)
        self.bn2 = nn.BatchNorm2d(5)
        self.fc = nn.Linear(5, 3)

    def forward(self, x):
        x = self.bn1(self.conv1(x)).relu()
        x = self.bn2(self.conv2(x)).relu()
        return self.fc(functional.adaptive_avg_pool2d(x, 1).flatten(1))


class BiasOnly(nn.Module):
    """Convolutions with bias and no norm; a sigmoid, which is not zero at zero; padding with ones.

    x -> conv1 -> sigmoid -> pad(value=1) -> conv2 -> max pool -> fc ->

    Groups:
        conv1 4: conv1.weight[0] conv1.bias[0] conv2.weight[1]
        conv2 5: conv2.weight[0] conv2.bias[0] fc.weight[1]
    Fixed:
        fc 2/2: the network's output
    """

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3)
        self.conv2 = nn.Conv2d(4, 5, 3)
        self.fc = nn.Linear(5, 2, bias=False)

    def forward(self, x):
        x = functional.pad(self.conv1(x).sigmoid(), (1, 1, 1, 1), value=1.0)
        return self.fc(functional.max_pool2d(self.conv2(x), 4).flatten(1))


class Identity(nn.Module):
    """A residual block around an identity: what is added goes together.

    x -> stem -+-> conv1 -> bn1 -> relu -> conv2 -> bn2 -> (+) -> relu -> pool -> fc ->
               +------------------------------------------^

    Groups:
        stem 4: stem.weight[0] stem.bias[0] conv1.weight[1] conv2.weight[0] bn2.weight[0] bn2.bias[0]
            bn2.running_mean[0] bn2.running_var[0] fc.weight[1]
        conv1 6: conv1.weight[0] bn1.weight[0] bn1.bias[0] bn1.running_mean[0] bn1.running_var[0] conv2.weight[1]
    Fixed:
        fc 3/3: the network's output
    """

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3)
        self.conv1 = nn.Conv2d(4, 6, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(6)
        self.conv2 = nn.Conv2d(6, 4, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(4)
        self.fc = nn.Linear(4, 3)

    def forward(self, x):
        x = self.stem(x)
        x = (x + self.bn2(self.conv2(self.bn1(self.conv1(x)).relu()))).relu()
        return self.fc(functional.adaptive_avg_pool2d(x, 1).flatten(1))


class Projection(nn.Module):
    """A residual block with a 1x1 convolution as its shortcut: the sum frees the stem and ties the two branches.

    x -> stem -+-> conv1 -> bn1 -> relu -> conv2 -> (+) -> relu -> pool -> fc ->
               +-> shortcut ------------------------^

    Groups:
        stem 4: stem.weight[0] stem.bias[0] conv1.weight[1] shortcut.weight[1]
        conv1 5: conv1.weight[0] bn1.weight[0] bn1.bias[0] bn1.running_mean[0] bn1.running_var[0] conv2.weight[1]
        conv2 6: conv2.weight[0] shortcut.weight[0] shortcut.bias[0] fc.weight[1]
    Fixed:
        fc 3/3: the network's output
    """

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3)
        self.conv1 = nn.Conv2d(4, 5, 3, stride=2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(5)
        self.conv2 = nn.Conv2d(5, 6, 3, padding=1, bias=False)
        self.shortcut = nn.Conv2d(4, 6, 1, stride=2)
        self.fc = nn.Linear(6, 3)

    def forward(self, x):
        x = self.stem(x)
        x = (self.conv2(self.bn1(self.conv1(x)).relu()) + self.shortcut(x)).relu()
        return self.fc(functional.adaptive_avg_pool2d(x, 1).flatten(1))


class OptionA(nn.Module):
    """Shortcuts that pad zero channels, in our own module, which reads its counts from the plan.

    x -> stem -+-> conv1 -> (+) -+-> conv2 -> (+) -> relu -> pool -> fc ->
               +-> 0 xx 0 --^    +-> 0 xxxx 0 -^

    Channel 0 of the stem is channel 1 behind the first pad and channel 2 behind the second. What meets a zero
    can go alone: then the pad adds one zero less.

    Groups:
        stem 2: stem.weight[0] stem.bias[0] conv1.weight[0]=1,2 conv1.bias[0]=1,2 conv2.weight[0]=2,3
            conv2.bias[0]=2,3 conv1.weight[1] conv2.weight[1]=1,2 fc.weight[1]=2,3
        conv1 1: conv1.weight[0]=0 conv1.bias[0]=0 pad1#before[0] conv2.weight[0]=1 conv2.bias[0]=1
            conv2.weight[1]=0 fc.weight[1]=1
        conv1#2 1: conv1.weight[0]=3 conv1.bias[0]=3 pad1#after[0] conv2.weight[0]=4 conv2.bias[0]=4
            conv2.weight[1]=3 fc.weight[1]=4
        conv2 1: conv2.weight[0]=0 conv2.bias[0]=0 pad2#before[0] fc.weight[1]=0
        conv2#2 1: conv2.weight[0]=5 conv2.bias[0]=5 pad2#after[0] fc.weight[1]=5
    Fixed:
        fc 3/3: the network's output
    """

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 2, 3)
        self.conv1 = nn.Conv2d(2, 4, 3, padding=1)
        self.pad1 = ChannelPad(1, 1, 1)
        self.conv2 = nn.Conv2d(4, 6, 3, stride=2, padding=1)
        self.pad2 = ChannelPad(1, 1, 2)
        self.fc = nn.Linear(6, 3)

    def forward(self, x):
        x = self.stem(x)
        x = (self.conv1(x) + self.pad1(x)).relu()
        x = (self.conv2(x) + self.pad2(x)).relu()
        return self.fc(functional.adaptive_avg_pool2d(x, 1).flatten(1))


class ForeignPad(nn.Module):
    """The same shortcut written as `pad` in code that no plan reaches: the count of its zeros stays.

    x -> stem -+-> conv -> (+) -> relu -> pool -> fc ->
               +-> 0 xx 0 --^

    Groups:
        stem 2: stem.weight[0] stem.bias[0] conv.weight[0]=1,2 conv.bias[0]=1,2 conv.weight[1] fc.weight[1]=1,2
    Fixed:
        conv 2/4: zeros that a padding adds: aten.pad in the top module (tests/zoo.py:
        fc 3/3: the network's output
    """

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 2, 3)
        self.conv = nn.Conv2d(2, 4, 3, padding=1)
        self.fc = nn.Linear(4, 3)

    def forward(self, x):
        x = self.stem(x)
        shortcut = functional.pad(x, (0, 0, 0, 0, 1, 1))  # fixes
        x = (self.conv(x) + shortcut).relu()
        return self.fc(functional.adaptive_avg_pool2d(x, 1).flatten(1))


class Concatenation(nn.Module):
    """Two branches side by side, as in DenseNet: each channel keeps its own place behind the join.

    x -> stem -+-> conv1 -> cat -> bn -> relu -> conv2 -> pool -> fc ->
               +------------^

    Groups:
        stem 3: stem.weight[0] stem.bias[0] conv1.weight[1] bn.weight[0] bn.bias[0] bn.running_mean[0]
            bn.running_var[0] conv2.weight[1]
        conv1 4: conv1.weight[0] conv1.bias[0] bn.weight[0]=3,4,5,6 bn.bias[0]=3,4,5,6 bn.running_mean[0]=3,4,5,6
            bn.running_var[0]=3,4,5,6 conv2.weight[1]=3,4,5,6
        conv2 5: conv2.weight[0] conv2.bias[0] fc.weight[1]
    Fixed:
        fc 2/2: the network's output
    """

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 3, 3)
        self.conv1 = nn.Conv2d(3, 4, 3, padding=1)
        self.bn = nn.BatchNorm2d(7)
        self.conv2 = nn.Conv2d(7, 5, 3)
        self.fc = nn.Linear(5, 2)

    def forward(self, x):
        x = self.stem(x)
        x = self.bn(torch.cat([x, self.conv1(x)], 1)).relu()
        return self.fc(functional.adaptive_avg_pool2d(self.conv2(x), 1).flatten(1))


class Depthwise(nn.Module):
    """A depthwise convolution passes channels on; the pointwise one behind it reads them.

    x -> stem -> depthwise (groups=4) -> bn -> relu6 -> pointwise -> pool -> fc ->

    Groups:
        stem 4: stem.weight[0] stem.bias[0] depthwise.weight[0] bn.weight[0] bn.bias[0] bn.running_mean[0]
            bn.running_var[0] pointwise.weight[1]
        pointwise 5: pointwise.weight[0] pointwise.bias[0] fc.weight[1]
    Fixed:
        fc 2/2: the network's output
    """

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3)
        self.depthwise = nn.Conv2d(4, 4, 3, padding=1, groups=4, bias=False)
        self.bn = nn.BatchNorm2d(4)
        self.pointwise = nn.Conv2d(4, 5, 1)
        self.fc = nn.Linear(5, 2)

    def forward(self, x):
        x = functional.relu6(self.bn(self.depthwise(self.stem(x))))
        return self.fc(functional.adaptive_avg_pool2d(self.pointwise(x), 1).flatten(1))


class DepthwiseMultiplier(nn.Module):
    """A depthwise convolution that makes two channels of each: they go with the one that they come from.

    x -> stem -> depthwise (3 -> 6, groups=3) -> relu -> fc (after the mean) ->

    Groups:
        stem 3: stem.weight[0] stem.bias[0] depthwise.weight[0]=0-1,2-3,4-5 depthwise.bias[0]=0-1,2-3,4-5
            fc.weight[1]=0-1,2-3,4-5
    Fixed:
        fc 2/2: the network's output
    """

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 3, 3)
        self.depthwise = nn.Conv2d(3, 6, 3, padding=1, groups=3)
        self.fc = nn.Linear(6, 2)

    def forward(self, x):
        return self.fc(self.depthwise(self.stem(x)).relu().mean((2, 3)))


class Grouped(nn.Module):
    """A grouped convolution: its groups go whole, with the channels that they read.

    x -> stem -> grouped (4 -> 6, groups=2) -> relu -> conv -> pool -> fc ->

    Groups:
        stem 2: stem.weight[0]=0-1,2-3 stem.bias[0]=0-1,2-3 grouped.weight[0]=0-2,3-5 grouped.bias[0]=0-2,3-5
            conv.weight[1]=0-2,3-5
        conv 4: conv.weight[0] conv.bias[0] fc.weight[1]
    Fixed:
        fc 2/2: the network's output
    """

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3)
        self.grouped = nn.Conv2d(4, 6, 3, padding=1, groups=2)
        self.conv = nn.Conv2d(6, 4, 3)
        self.fc = nn.Linear(4, 2)

    def forward(self, x):
        x = self.conv(self.grouped(self.stem(x)).relu())
        return self.fc(functional.adaptive_avg_pool2d(x, 1).flatten(1))


class Flatten(nn.Module):
    """A map of 2x2 laid out in front of a linear layer: each channel takes four columns.

    x (3, 4, 4) -> conv -> (4, 2, 2) -> flatten -> fc1 -> relu -> fc2 ->

    Groups:
        conv 4: conv.weight[0] conv.bias[0] fc1.weight[1]=0-3,4-7,8-11,12-15
        fc1 5: fc1.weight[0] fc1.bias[0] fc2.weight[1]
    Fixed:
        fc2 2/2: the network's output
    """

    SIZE = (3, 4, 4)

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.fc1 = nn.Linear(16, 5)
        self.fc2 = nn.Linear(5, 2)

    def forward(self, x):
        return self.fc2(self.fc1(self.conv(x).relu().flatten(1)).relu())


class PreActivation(nn.Module):
    """Batch norm and ReLU in front of the convolution: the norm of the sum reads the group, the conv consumes it.

    x -> stem -+-> bn1 -> relu -> conv1 -> bn2 -> relu -> conv2 -> (+) -> bn3 -> relu -> pool -> fc ->
               +---------------------------------------------------^

    Groups:
        stem 4: stem.weight[0] bn1.weight[0] bn1.bias[0] bn1.running_mean[0] bn1.running_var[0] conv1.weight[1]
            conv2.weight[0] conv2.bias[0] bn3.weight[0] bn3.bias[0] bn3.running_mean[0] bn3.running_var[0] fc.weight[1]
        conv1 5: conv1.weight[0] conv1.bias[0] bn2.weight[0] bn2.bias[0] bn2.running_mean[0] bn2.running_var[0]
            conv2.weight[1]
    Fixed:
        fc 3/3: the network's output
    """

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, bias=False)
        self.bn1, self.bn2, self.bn3 = nn.BatchNorm2d(4), nn.BatchNorm2d(5), nn.BatchNorm2d(4)
        self.conv1 = nn.Conv2d(4, 5, 3, padding=1)
        self.conv2 = nn.Conv2d(5, 4, 3, padding=1)
        self.fc = nn.Linear(4, 3)

    def forward(self, x):
        x = self.stem(x)
        x = x + self.conv2(self.bn2(self.conv1(self.bn1(x).relu())).relu())
        return self.fc(functional.adaptive_avg_pool2d(self.bn3(x).relu(), 1).flatten(1))


class SqueezeExcite(nn.Module):
    """A gate per channel, computed from all channels: it goes with the channel that it scales.

    x -> stem -+------------------------------------------> (*) -> fc (after the mean) ->
               +-> pool -> reduce -> relu -> expand -> sigmoid -^

    Groups:
        stem 6: stem.weight[0] stem.bias[0] reduce.weight[1] expand.weight[0] expand.bias[0] fc.weight[1]
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


class Shuffle(nn.Module):
    """A channel shuffle: channels as 2 rows, read by columns. A column goes whole, so that there stay 2 rows.

    x -> conv1 (6) -> view (2, 3) -> transpose -> view (6) -> conv2 -> pool -> fc ->

    channels 0 1 2 | 3 4 5 leave as 0 3 1 4 2 5

    Groups:
        conv1 3: conv1.weight[0]=0+3,1+4,2+5 conv1.bias[0]=0+3,1+4,2+5 conv2.weight[1]=0-1,2-3,4-5
        conv2 4: conv2.weight[0] conv2.bias[0] fc.weight[1]
    Fixed:
        fc 2/2: the network's output
    """

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 6, 3)
        self.conv2 = nn.Conv2d(6, 4, 3)
        self.fc = nn.Linear(4, 2)

    def forward(self, x):
        x = self.conv1(x).relu()
        n, c, h, w = x.shape
        x = x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)
        return self.fc(functional.adaptive_avg_pool2d(self.conv2(x), 1).flatten(1))


class ShuffleModule(nn.Module):
    """The same shuffle as PyTorch's own module.

    x -> conv1 (6) -> ChannelShuffle(2) -> conv2 -> pool -> fc ->

    Groups:
        conv1 3: conv1.weight[0]=0+3,1+4,2+5 conv1.bias[0]=0+3,1+4,2+5 conv2.weight[1]=0-1,2-3,4-5
        conv2 4: conv2.weight[0] conv2.bias[0] fc.weight[1]
    Fixed:
        fc 2/2: the network's output
    """

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 6, 3)
        self.shuffle = nn.ChannelShuffle(2)
        self.conv2 = nn.Conv2d(6, 4, 3)
        self.fc = nn.Linear(4, 2)

    def forward(self, x):
        x = self.conv2(self.shuffle(self.conv1(x).relu()))
        return self.fc(functional.adaptive_avg_pool2d(x, 1).flatten(1))


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


class Chunk(nn.Module):
    """Two halves by number, each with its own use: the i-th channel of both goes, so that the halves stay equal.

    x -> conv1 (6) -> chunk -+-> a -> conv2 -> (+) -> fc (after the mean) ->
                             +-> b -> conv3 --^

    Groups:
        conv1 3: conv1.weight[0]=0+3,1+4,2+5 conv1.bias[0]=0+3,1+4,2+5 conv2.weight[1] conv3.weight[1]
        conv2 4: conv2.weight[0] conv2.bias[0] conv3.weight[0] conv3.bias[0] fc.weight[1]
    Fixed:
        fc 2/2: the network's output
    """

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 6, 3)
        self.conv2 = nn.Conv2d(3, 4, 3)
        self.conv3 = nn.Conv2d(3, 4, 3)
        self.fc = nn.Linear(4, 2)

    def forward(self, x):
        a, b = self.conv1(x).relu().chunk(2, 1)
        return self.fc((self.conv2(a) + self.conv3(b).tanh()).mean((2, 3)))


class ConstantSlice(nn.Module):
    """A part of the channels by bounds that stand in the code: all of them stay.

    x -> conv1 (6) -> [:, :2] -> conv2 -> fc (after the mean) ->

    Groups:
        conv2 4: conv2.weight[0] conv2.bias[0] fc.weight[1]
    Fixed:
        conv1 6/6: channels counted in the code: aten.slice
        fc 2/2: the network's output
    """

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 6, 3)
        self.conv2 = nn.Conv2d(2, 4, 3)
        self.fc = nn.Linear(4, 2)

    def forward(self, x):
        x = self.conv1(x)[:, :2]  # fixes
        return self.fc(self.conv2(x).mean((2, 3)))


class Roll(nn.Module):
    """Channels moved on by a number that stands in the code: all of them stay. Over space it does no harm.

    x -> conv1 -> roll rows -> conv2 -> roll channels -> conv3 -> fc (after the mean) ->

    Groups:
        conv1 4: conv1.weight[0] conv1.bias[0] conv2.weight[1]
        conv3 4: conv3.weight[0] conv3.bias[0] fc.weight[1]
    Fixed:
        conv2 5/5: channels counted in the code: aten.roll
        fc 2/2: the network's output
    """

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3)
        self.conv2 = nn.Conv2d(4, 5, 3)
        self.conv3 = nn.Conv2d(5, 4, 1)
        self.fc = nn.Linear(4, 2)

    def forward(self, x):
        x = self.conv2(self.conv1(x).roll(1, 2))
        x = x.relu().roll(2, 1)  # fixes
        return self.fc(self.conv3(x).mean((2, 3)))


class SpatialAttention(nn.Module):
    """One map for all channels: its single channel stays, and ties nothing.

    x -> stem -+-------------------> (*) -> fc (after the mean) ->
               +-> map (1) -> sigmoid -^

    Groups:
        stem 5: stem.weight[0] stem.bias[0] map.weight[1] fc.weight[1]
    Fixed:
        map 1/1: one value for several channels: aten.mul
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


class LayerScale(nn.Module):
    """A parameter (C, 1, 1) that scales each channel of a residual branch.

    x -> stem -+-> conv -> (* gamma) -> (+) -> fc (after the mean) ->
               +------------------------^

    Groups:
        stem 4: stem.weight[0] stem.bias[0] conv.weight[1] conv.weight[0] conv.bias[0] gamma[0] fc.weight[1]
    Fixed:
        fc 2/2: the network's output
    """

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3)
        self.conv = nn.Conv2d(4, 4, 3, padding=1)
        self.gamma = nn.Parameter(torch.ones(4, 1, 1))
        self.fc = nn.Linear(4, 2)

    def forward(self, x):
        x = self.stem(x)
        return self.fc((x + self.conv(x) * self.gamma).mean((2, 3)))


class FlatScale(nn.Module):
    """A parameter (C,), brought into shape and made positive before it scales; a buffer (C,) that bounds.

    x -> stem -> (* exp(scale.view(1, C, 1, 1))) -> clamp(max=limit) -> fc (after the mean) ->

    Groups:
        stem 4: stem.weight[0] stem.bias[0] scale[0] limit[0] fc.weight[1]
    Fixed:
        fc 2/2: the network's output
    """

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3)
        self.scale = nn.Parameter(torch.ones(4))
        self.register_buffer("limit", torch.ones(4, 1, 1))
        self.fc = nn.Linear(4, 2)

    def forward(self, x):
        x = self.stem(x) * self.scale.view(1, -1, 1, 1).exp()
        return self.fc(torch.clamp(x, max=self.limit).mean((2, 3)))


class GainConv(nn.Conv2d):
    """A convolution of the user's own, with a gain per output channel."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.gain = nn.Parameter(torch.ones(self.out_channels, 1, 1))

    def forward(self, x):
        return super().forward(x) * self.gain


class Subclass(nn.Module):
    """A convolution that was derived from PyTorch's and holds one more parameter.

    x -> conv (with gain) -> relu -> fc (after the mean) ->

    Groups:
        conv 4: conv.weight[0] conv.bias[0] conv.gain[0] fc.weight[1]
    Fixed:
        fc 2/2: the network's output
    """

    def __init__(self):
        super().__init__()
        self.conv = GainConv(3, 4, 3)
        self.fc = nn.Linear(4, 2)

    def forward(self, x):
        return self.fc(self.conv(x).relu().mean((2, 3)))


class CalledTwice(nn.Module):
    """One convolution and its norm called twice: what enters it and what leaves it are the same channels.

    x -> stem -> conv -> bn -> relu -> conv -> bn -> relu -> pool -> fc ->

    Groups:
        stem 4: stem.weight[0] stem.bias[0] conv.weight[1] conv.weight[0] bn.weight[0] bn.bias[0] bn.running_mean[0]
            bn.running_var[0] fc.weight[1]
    Fixed:
        fc 2/2: the network's output
    """

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3)
        self.conv = nn.Conv2d(4, 4, 3, stride=2, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(4)
        self.fc = nn.Linear(4, 2)

    def forward(self, x):
        x = self.stem(x)
        for _ in range(2):
            x = self.bn(self.conv(x)).relu()
        return self.fc(functional.adaptive_avg_pool2d(x, 1).flatten(1))


class SharedParameter(nn.Module):
    """One weight in two modules: cut in one it would stay whole in the other, so it stays whole in both.

    x -> stem -> conv1 -> relu -> conv2 (conv1's weight) -> conv3 -> fc (after the mean) ->

    Groups:
        conv3 4: conv3.weight[0] conv3.bias[0] fc.weight[1]
    Fixed:
        stem 4/4: a parameter shared by conv1.weight and conv2.weight
        conv1 4/4: a parameter shared by conv1.weight and conv2.weight
        conv2 4/4: a parameter shared by conv1.weight and conv2.weight
        fc 2/2: the network's output
    """

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3)
        self.conv1 = nn.Conv2d(4, 4, 3, padding=1)
        self.conv2 = nn.Conv2d(4, 4, 3, padding=1)
        self.conv2.weight = self.conv1.weight
        self.conv3 = nn.Conv2d(4, 4, 3)
        self.fc = nn.Linear(4, 2)

    def forward(self, x):
        x = self.conv2(self.conv1(self.stem(x)).relu())
        return self.fc(self.conv3(x).mean((2, 3)))


class Functional(nn.Module):
    """Weights of several layers, of different kernel sizes, held by one module and used through functions.

    x -> conv2d(first, 3x3) -> relu -> conv2d(second, 1x1) -> linear(third) (after the mean) ->

    Groups:
        first 4: first[0] second[1]
        second 5: second[0] third[1]
    Fixed:
        third 2/2: the network's output
    """

    def __init__(self):
        super().__init__()
        self.first = nn.Parameter(torch.randn(4, 3, 3, 3))
        self.second = nn.Parameter(torch.randn(5, 4, 1, 1))
        self.third = nn.Parameter(torch.randn(2, 5))

    def forward(self, x):
        x = functional.conv2d(functional.conv2d(x, self.first).relu(), self.second)
        return functional.linear(x.mean((2, 3)), self.third)


class Unknown(nn.Module):
    """Operations that the program does not know: what enters them stays, and so does what leaves.

    x -> conv1 -> relu -> conv2 -> cumsum over channels -> conv3 -> sort over channels -> fc (after the mean) ->

    Groups:
        conv1 4: conv1.weight[0] conv1.bias[0] conv2.weight[1]
    Fixed:
        conv2 5/5: an operation that is not known: aten.cumsum
        conv3 6/6: an operation that is not known: aten.sort
        fc 2/2: the network's output
    """

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3)
        self.conv2 = nn.Conv2d(4, 5, 1)
        self.conv3 = nn.Conv2d(5, 6, 3)
        self.fc = nn.Linear(6, 2)

    def forward(self, x):
        x = self.conv2(self.conv1(x).relu())
        x = self.conv3(x.cumsum(1))  # fixes
        x = x.sort(1).values  # fixes
        return self.fc(x.mean((2, 3)))


class IndexSelect(nn.Module):
    """Channels picked by a stored list of numbers: all of them stay.

    x -> conv1 -> index_select(order) -> conv2 -> fc (after the mean) ->

    Groups:
        conv2 5: conv2.weight[0] conv2.bias[0] fc.weight[1]
    Fixed:
        conv1 4/4: an operation that is not known: aten.index_select
        fc 2/2: the network's output
    """

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3)
        self.register_buffer("order", torch.tensor([2, 0, 3, 1]))
        self.conv2 = nn.Conv2d(4, 5, 1)
        self.fc = nn.Linear(5, 2)

    def forward(self, x):
        x = self.conv1(x).index_select(1, self.order)  # fixes
        return self.fc(self.conv2(x).mean((2, 3)))


class Norms(nn.Module):
    """Norms that take statistics over several channels: what they read stays.

    x -> conv1 -> group norm -> conv2 -> layer norm -> conv3 -> relu -> fc (after the mean) ->

    Groups:
        conv3 5: conv3.weight[0] conv3.bias[0] fc.weight[1]
    Fixed:
        conv1 4/4: statistics over several channels: aten.group_norm
        conv2 4/4: statistics over several channels: aten.layer_norm
        fc 2/2: the network's output
    """

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3)
        self.group = nn.GroupNorm(2, 4)
        self.conv2 = nn.Conv2d(4, 4, 3)
        self.layer = nn.LayerNorm(4)
        self.conv3 = nn.Conv2d(4, 5, 1)
        self.fc = nn.Linear(5, 2)

    def forward(self, x):
        x = self.conv2(self.group(self.conv1(x)))  # fixes
        x = self.layer(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)  # fixes
        return self.fc(self.conv3(x).relu().mean((2, 3)))


class InstanceNorms(nn.Module):
    """Norms of each channel on its own: with parameters, with statistics, with neither.

    x -> conv1 -> affine -> conv2 -> tracked -> conv3 -> bare -> relu -> fc (after the mean) ->

    Groups:
        conv1 4: conv1.weight[0] conv1.bias[0] affine.weight[0] affine.bias[0] conv2.weight[1]
        conv2 5: conv2.weight[0] conv2.bias[0] tracked.running_mean[0] tracked.running_var[0] conv3.weight[1]
        conv3 6: conv3.weight[0] conv3.bias[0] bare#num_features[0] fc.weight[1]
    Fixed:
        fc 2/2: the network's output
    """

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3, padding=1)
        self.affine = nn.InstanceNorm2d(4, affine=True)
        self.conv2 = nn.Conv2d(4, 5, 3, padding=1)
        self.tracked = nn.InstanceNorm2d(5, track_running_stats=True)
        self.conv3 = nn.Conv2d(5, 6, 3)
        self.bare = nn.InstanceNorm2d(6)
        self.fc = nn.Linear(6, 2)

    def forward(self, x):
        x = self.conv3(self.tracked(self.conv2(self.affine(self.conv1(x)))))
        return self.fc(self.bare(x).relu().mean((2, 3)))


class BareBatchNorm(nn.Module):
    """Batch norms without parameters, and without statistics of their own.

    x -> conv1 -> bn1 (no parameters) -> conv2 -> bn2 (nothing at all) -> fc (after the maximum) ->

    Groups:
        conv1 4: conv1.weight[0] conv1.bias[0] bn1.running_mean[0] bn1.running_var[0] conv2.weight[1]
        conv2 5: conv2.weight[0] conv2.bias[0] bn2#num_features[0] fc.weight[1]
    Fixed:
        fc 2/2: the network's output
    """

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3)
        self.bn1 = nn.BatchNorm2d(4, affine=False)
        self.conv2 = nn.Conv2d(4, 5, 3)
        self.bn2 = nn.BatchNorm2d(5, affine=False, track_running_stats=False)
        self.fc = nn.Linear(5, 2)

    def forward(self, x):
        return self.fc(self.bn2(self.conv2(self.bn1(self.conv1(x)))).amax((2, 3)))


class Softmax(nn.Module):
    """A softmax over channels mixes them all: what enters it stays.

    x -> conv1 -> softmax over channels -> conv2 -> fc (after the mean) ->

    Groups:
        conv2 5: conv2.weight[0] conv2.bias[0] fc.weight[1]
    Fixed:
        conv1 4/4: an operation that is not known: aten.softmax
        fc 2/2: the network's output
    """

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3)
        self.conv2 = nn.Conv2d(4, 5, 3)
        self.fc = nn.Linear(5, 2)

    def forward(self, x):
        x = self.conv1(x).softmax(1)  # fixes
        return self.fc(self.conv2(x).mean((2, 3)))


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


class SeveralOutputs(nn.Module):
    """Two outputs: what leaves the network stays, what stands before both goes.

    x -> conv1 -+-> conv2 -> (first output)
                +-> fc (after the mean) -> (second output)

    Groups:
        conv1 5: conv1.weight[0] conv1.bias[0] conv2.weight[1] fc.weight[1]
    Fixed:
        conv2 4/4: the network's output
        fc 2/2: the network's output
    """

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 5, 3)
        self.conv2 = nn.Conv2d(5, 4, 3)
        self.fc = nn.Linear(5, 2)

    def forward(self, x):
        x = self.conv1(x).relu()
        return self.conv2(x), self.fc(x.mean((2, 3)))


class Tokens(nn.Module):
    """Linear layers on a row of tokens (N, L, C), with a residual around them.

    x -> patch -> flatten(2) -> transpose (N, L, C) -+-> fc1 -> gelu -> fc2 -> (+) -> mean over tokens -> head ->
                                                     +------------------------^

    Groups:
        patch 4: patch.weight[0] patch.bias[0] fc1.weight[1] fc2.weight[0] fc2.bias[0] head.weight[1]
        fc1 6: fc1.weight[0] fc1.bias[0] fc2.weight[1]
    Fixed:
        head 2/2: the network's output
    """

    def __init__(self):
        super().__init__()
        self.patch = nn.Conv2d(3, 4, 2, stride=2)
        self.fc1 = nn.Linear(4, 6)
        self.fc2 = nn.Linear(6, 4)
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = x + self.fc2(functional.gelu(self.fc1(x)))
        return self.head(x.mean(1))


class Transposed(nn.Module):
    """A transposed convolution is not known: what enters it stays, and it stays whole itself.

    x -> conv1 -> relu -> conv2 -> up -> conv3 -> fc (after the mean) ->

    Groups:
        conv1 4: conv1.weight[0] conv1.bias[0] conv2.weight[1]
        conv3 6: conv3.weight[0] conv3.bias[0] fc.weight[1]
    Fixed:
        conv2 5/5: an operation that is not known: aten.conv_transpose2d.input in up
        fc 2/2: the network's output
        up 3/3: an operation that is not known: aten.conv_transpose2d.input in up
    """

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3)
        self.conv2 = nn.Conv2d(4, 5, 3)
        self.up = nn.ConvTranspose2d(5, 3, 2, stride=2)
        self.conv3 = nn.Conv2d(3, 6, 3)
        self.fc = nn.Linear(6, 2)

    def forward(self, x):
        x = self.up(self.conv2(self.conv1(x).relu()))  # fixes
        return self.fc(self.conv3(x).mean((2, 3)))


class Computed(nn.Module):
    """Weights that are computed in the program (standardised), and a layer that it never calls.

    x -> conv1 -> relu -> conv2d(standardised conv2.weight) -> conv3 -> fc (after the mean) ->

    Groups:
        conv3 4: conv3.weight[0] conv3.bias[0] fc.weight[1]
    Fixed:
        conv1 4/4: a convolution whose weights are computed: aten.conv2d
        fc 2/2: the network's output
        conv2 5/5: no convolution or linear layer of the program reads its weights
        spare 7/7: no convolution or linear layer of the program reads its weights
    """

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3)
        self.conv2 = nn.Conv2d(4, 5, 3)
        self.conv3 = nn.Conv2d(5, 4, 1)
        self.spare = nn.Linear(5, 7)
        self.fc = nn.Linear(4, 2)

    def forward(self, x):
        weight = self.conv2.weight - self.conv2.weight.mean((1, 2, 3), keepdim=True)
        x = functional.conv2d(self.conv1(x).relu(), weight)  # fixes
        return self.fc(self.conv3(x).mean((2, 3)))


class PositiveWeight(nn.Module):
    """Weights put through a function that is not zero at zero: a mask on them would not be a cut, so they stay.

    x -> conv1 -> relu -> conv2d(exp(weight)) -> conv3 -> fc (after the mean) ->

    Groups:
        conv3 4: conv3.weight[0] conv3.bias[0] fc.weight[1]
    Fixed:
        conv1 4/4: a convolution whose weights are computed: aten.conv2d
        fc 2/2: the network's output
    """

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3)
        self.weight = nn.Parameter(torch.randn(5, 4, 3, 3))
        self.conv3 = nn.Conv2d(5, 4, 1)
        self.fc = nn.Linear(4, 2)

    def forward(self, x):
        x = functional.conv2d(self.conv1(x).relu(), self.weight.exp())  # fixes
        return self.fc(self.conv3(x).mean((2, 3)))


class OneAxis(nn.Module):
    """A network over a row (N, C, L).

    x (3, 9) -> conv1 -> bn -> relu -> max pool -> conv2 -> fc (after the mean) ->

    Groups:
        conv1 4: conv1.weight[0] bn.weight[0] bn.bias[0] bn.running_mean[0] bn.running_var[0] conv2.weight[1]
        conv2 5: conv2.weight[0] conv2.bias[0] fc.weight[1]
    Fixed:
        fc 2/2: the network's output
    """

    SIZE = (3, 9)

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv1d(3, 4, 3, bias=False)
        self.bn = nn.BatchNorm1d(4)
        self.conv2 = nn.Conv1d(4, 5, 2)
        self.fc = nn.Linear(5, 2)

    def forward(self, x):
        x = functional.max_pool1d(self.bn(self.conv1(x)).relu(), 2)
        return self.fc(self.conv2(x).mean(2))


class Resized(nn.Module):
    """A small map enlarged and added to a large one, as in feature pyramids; a constant shift of the input.

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
        up = functional.interpolate(self.down(x), scale_factor=2, mode="bilinear", align_corners=False)
        return self.fc((self.side(x) + up).relu().mean((2, 3)))


PATTERNS: dict[str, type[nn.Module]] = {
    each.__name__: each
    for each in (
        Chain, BiasOnly, Identity, Projection, OptionA, ForeignPad, Concatenation, Depthwise, DepthwiseMultiplier,
        Grouped, Flatten, PreActivation, SqueezeExcite, Shuffle, ShuffleModule, PixelShuffle, Chunk, ConstantSlice,
        Roll, SpatialAttention, LayerScale, FlatScale, Subclass, CalledTwice, SharedParameter, Functional, Unknown,
        IndexSelect, Norms, InstanceNorms, BareBatchNorm, Softmax, ChannelMean, SeveralOutputs, Tokens, Transposed,
        Computed, PositiveWeight, OneAxis, Resized,
    )
}  # fmt: skip
ARCHITECTURES = {
    "cifar_resnet20": (3, 32, 32),
    "cifar_resnet20_b": (3, 32, 32),
    "cifar_preresnet11": (3, 32, 32),
    "cifar_wrn10_1": (3, 32, 32),
    "cifar_vgg16_bn": (3, 32, 32),
    "resnet18": (3, 64, 64),
    "resnet50": (3, 64, 64),
}


@dataclass(frozen=True)
class Expected:
    """What a docstring says: name -> (size, {tensor[dim]: positions of each unit}); layer -> (channels, of, reason)."""

    groups: dict[str, tuple[int, dict[str, tuple[tuple[int, ...], ...]]]]
    fixed: dict[str, tuple[int, int, str]]


def expected(name: str) -> Expected:
    """The channel graph that a pattern's docstring promises."""
    text = inspect.cleandoc(PATTERNS[name].__doc__)
    _, _, lists = text.partition("Groups:\n")
    groups_text, _, fixed_text = lists.partition("Fixed:\n")
    groups = {}
    for line in re.sub(r"\n {8}", " ", groups_text).splitlines():
        head, _, members = line.strip().partition(": ")
        group, size = head.split()
        slices = (member.partition("=") for member in members.split())
        groups[group] = (int(size), {axis: _positions(written, int(size)) for axis, _, written in slices})
    fixed = {}
    for line in fixed_text.splitlines():
        head, _, reason = line.strip().partition(": ")
        layer, counts = head.split()
        channels, of = counts.split("/")
        fixed[layer] = (int(channels), int(of), reason)
    return Expected(groups, fixed)


def _positions(written: str, size: int) -> tuple[tuple[int, ...], ...]:
    if not written:
        return tuple((unit,) for unit in range(size))
    units = []
    for unit in written.split(","):
        first, _, last = unit.partition("-")
        units.append(tuple(range(int(first), int(last) + 1)) if last else tuple(map(int, unit.split("+"))))
    return tuple(units)


def fixing_lines(name: str) -> set[int]:
    """The lines of this file that a pattern marks with `# fixes`."""
    lines, start = inspect.getsourcelines(PATTERNS[name])
    return {start + number for number, line in enumerate(lines) if line.rstrip().endswith("# fixes")}


def documented() -> set[str]:
    """The names of all modules in this file whose docstring promises a channel graph."""
    tree = ast.parse(inspect.getsource(inspect.getmodule(Chain)))
    classes = (node for node in tree.body if isinstance(node, ast.ClassDef))
    return {node.name for node in classes if "Groups:" in (ast.get_docstring(node) or "")}


def size_of(name: str) -> tuple[int, ...]:
    """The input size of a pattern or architecture."""
    return ARCHITECTURES[name] if name in ARCHITECTURES else getattr(PATTERNS[name], "SIZE", SIZE)


def make(name: str, dtype: torch.dtype = torch.float64) -> nn.Module:
    """A pattern or architecture in eval mode; its numbers are random, the norms' shifts and statistics too."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = build(name) if name in ARCHITECTURES else PATTERNS[name]()
        for tensor_name, tensor in model.state_dict().items():
            if tensor.is_floating_point() and tensor.dim() < 4:
                low = 0.5 if tensor_name.endswith("running_var") else -0.2  # so that few channels die in a ReLU
                tensor.uniform_(low, 1.0).mul_(0.1 if tensor.dim() == 2 and tensor.numel() > 1000 else 1.0)
    return model.to(dtype).eval()


@cache
def traced(name: str) -> tuple[nn.Module, ChannelGraph]:
    """A pattern or architecture in float64 and its channel graph, shared between tests: don't change it."""
    model = make(name)
    return model, build_graph(model, size_of(name))


def images(name: str, number: int = 2, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    """Random inputs of a pattern or architecture, the same at every call."""
    drawn = torch.randn((number, *size_of(name)), generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return drawn.to(dtype)


def random_plans(graph: ChannelGraph, number: int) -> list[Plan]:
    """Plans that keep a random number (at least one) of random units of each group."""
    rng = random.Random(2)
    sizes = {group.name: group.size for group in graph.groups}
    return [
        make_plan(graph, {name: rng.sample(range(size), rng.randint(1, size)) for name, size in sizes.items()})
        for _ in range(number)
    ]


def outputs(value: object) -> torch.Tensor:
    """All outputs of a network as one row of numbers."""
    return value.flatten() if isinstance(value, torch.Tensor) else torch.cat([outputs(part) for part in value])
