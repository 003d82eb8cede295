"""Depthwise and grouped convolutions."""

from torch import nn
from torch.nn import functional


class Depthwise(nn.Module):
    """A depthwise convolution passes channels on; the pointwise one behind it reads them.

    x -> stem -> depthwise (groups=4) -> bn -> relu6 -> pointwise -> pool -> fc ->

    Groups:
        stem 4: stem.weight[0] stem.bias[0] depthwise.weight[0] bn.weight[0] bn.bias[0]
            bn.running_mean[0] bn.running_var[0] pointwise.weight[1]
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
    """A depthwise convolution that makes two channels of each: they go with the one that they come
    from.

    x -> stem -> depthwise (3 -> 6, groups=3) -> relu -> fc (after the mean) ->

    Groups:
        stem 3: stem.weight[0] stem.bias[0] depthwise.weight[0]=0-1,2-3,4-5
            depthwise.bias[0]=0-1,2-3,4-5 fc.weight[1]=0-1,2-3,4-5
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
        stem 2: stem.weight[0]=0-1,2-3 stem.bias[0]=0-1,2-3 grouped.weight[0]=0-2,3-5
            grouped.bias[0]=0-2,3-5 conv.weight[1]=0-2,3-5
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


class GroupedResidual(nn.Module):
    """ResNeXt's block: whole groups go inside, single channels outside.

    x -> stem -+-> narrow -> bn -> relu -> grouped (6 -> 6, groups=3) -> relu -> widen -> (+) -> fc
               (after the mean) ->
               +--------------------------------------------------------------------------^

    Groups:
        stem 4: stem.weight[0] stem.bias[0] narrow.weight[1] widen.weight[0] widen.bias[0]
            fc.weight[1]
        narrow 3: narrow.weight[0]=0-1,2-3,4-5 bn.weight[0]=0-1,2-3,4-5 bn.bias[0]=0-1,2-3,4-5
            bn.running_mean[0]=0-1,2-3,4-5 bn.running_var[0]=0-1,2-3,4-5
            grouped.weight[0]=0-1,2-3,4-5 grouped.bias[0]=0-1,2-3,4-5 widen.weight[1]=0-1,2-3,4-5
    Fixed:
        fc 2/2: the network's output
    """

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3)
        self.narrow = nn.Conv2d(4, 6, 1, bias=False)
        self.bn = nn.BatchNorm2d(6)
        self.grouped = nn.Conv2d(6, 6, 3, padding=1, groups=3)
        self.widen = nn.Conv2d(6, 4, 1)
        self.fc = nn.Linear(4, 2)

    def forward(self, x):
        x = self.stem(x)
        x = x + self.widen(self.grouped(self.bn(self.narrow(x)).relu()).relu())
        return self.fc(x.mean((2, 3)))


class GroupsAdded(nn.Module):
    """ResNeSt's split attention: what the groups of a convolution make is added, so that each loses
    the same channels.

    x -> stem -> grouped (6 -> 8, groups=2) -> bn -> relu -+-> first half --> (+) -> conv -> fc
                                                           (after the mean) -> +-> second half ----^

    Groups:
        stem 3: stem.weight[0]=0+3,1+4,2+5 stem.bias[0]=0+3,1+4,2+5 grouped.weight[1]
        grouped 4: grouped.weight[0]=0+4,1+5,2+6,3+7 bn.weight[0]=0+4,1+5,2+6,3+7
            bn.bias[0]=0+4,1+5,2+6,3+7 bn.running_mean[0]=0+4,1+5,2+6,3+7
            bn.running_var[0]=0+4,1+5,2+6,3+7 conv.weight[1]
        conv 5: conv.weight[0] conv.bias[0] fc.weight[1]
    Fixed:
        fc 2/2: the network's output
    """

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3)
        self.grouped = nn.Conv2d(6, 8, 3, padding=1, groups=2, bias=False)
        self.bn = nn.BatchNorm2d(8)
        self.conv = nn.Conv2d(4, 5, 1)
        self.fc = nn.Linear(5, 2)

    def forward(self, x):
        x = self.bn(self.grouped(self.stem(x))).relu()
        x = x.view(x.shape[0], 2, -1, *x.shape[2:]).sum(1)
        return self.fc(self.conv(x).mean((2, 3)))


class GroupedOutput(nn.Module):
    """A grouped convolution whose outputs stay: its groups stay with them, and each reads fewer
    channels.

    x -> stem -> relu -> grouped (6 -> 4, groups=2) ->

    Groups:
        stem 3: stem.weight[0]=0+3,1+4,2+5 stem.bias[0]=0+3,1+4,2+5 grouped.weight[1]
    Fixed:
        grouped 4/4: the network's output
    """

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3)
        self.grouped = nn.Conv2d(6, 4, 3, groups=2)

    def forward(self, x):
        return self.grouped(self.stem(x).relu()).mean((2, 3))


class InvertedResidual(nn.Module):
    """MobileNet's block: wide inside, depthwise, gated by squeeze-and-excitation, narrow again,
    added.

    x -> stem -+-> expand -> relu6 -> depthwise -> hardswish -+---> (*) -> project -> (+) -> fc ->
               |                                              +-> se -^                ^
               +-----------------------------------------------------------------------+

    se: mean -> fc1 -> fc2

    Groups:
        stem 3: stem.weight[0] stem.bias[0] expand.weight[1] project.weight[0] project.bias[0]
            fc.weight[1]
        expand 6: expand.weight[0] expand.bias[0] depthwise.weight[0] depthwise.bias[0]
            fc1.weight[1] fc2.weight[0] fc2.bias[0] project.weight[1]
        fc1 2: fc1.weight[0] fc1.bias[0] fc2.weight[1]
    Fixed:
        fc 2/2: the network's output
    """

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 3, 3)
        self.expand = nn.Conv2d(3, 6, 1)
        self.depthwise = nn.Conv2d(6, 6, 3, padding=1, groups=6)
        self.fc1 = nn.Conv2d(6, 2, 1)
        self.fc2 = nn.Conv2d(2, 6, 1)
        self.project = nn.Conv2d(6, 3, 1)
        self.fc = nn.Linear(3, 2)

    def forward(self, x):
        x = self.stem(x)
        wide = functional.hardswish(self.depthwise(functional.relu6(self.expand(x))))
        gate = functional.hardsigmoid(self.fc2(self.fc1(wide.mean((2, 3), keepdim=True)).relu()))
        return self.fc((x + self.project(wide * gate)).mean((2, 3)))


class TransposedGroups(nn.Module):
    """Transposed convolutions that are depthwise, and grouped.

    x -> conv1 -> up1 (4 -> 4, groups=4) -> conv2 -> up2 (6 -> 4, groups=2) -> conv3 -> fc (after
    the mean) ->

    Groups:
        conv1 4: conv1.weight[0] conv1.bias[0] up1.weight[0] up1#groups[0] up1#out_channels[0]
            up1.bias[0] conv2.weight[1]
        conv2 2: conv2.weight[0]=0-2,3-5 conv2.bias[0]=0-2,3-5 up2.weight[0]=0-2,3-5 up2#groups[0]
            up2#out_channels[0]=0-1,2-3 up2.bias[0]=0-1,2-3 conv3.weight[1]=0-1,2-3
        conv3 5: conv3.weight[0] conv3.bias[0] fc.weight[1]
    Fixed:
        fc 2/2: the network's output
    """

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3)
        self.up1 = nn.ConvTranspose2d(4, 4, 2, stride=2, groups=4)
        self.conv2 = nn.Conv2d(4, 6, 3)
        self.up2 = nn.ConvTranspose2d(6, 4, 2, stride=2, groups=2)
        self.conv3 = nn.Conv2d(4, 5, 3)
        self.fc = nn.Linear(5, 2)

    def forward(self, x):
        x = self.up2(self.conv2(self.up1(self.conv1(x))).relu())
        return self.fc(self.conv3(x).mean((2, 3)))
