"""Residual blocks: what is added goes together."""

import torch
from torch import nn
from torch.nn import functional

from slimmer.models.channel_pad import ChannelPad


class Identity(nn.Module):
    """A residual block around an identity: what is added goes together.

    x -> stem -+-> conv1 -> bn1 -> relu -> conv2 -> bn2 -> (+) -> relu -> pool -> fc ->
               +------------------------------------------^

    Groups:
        stem 4: stem.weight[0] stem.bias[0] conv1.weight[1] conv2.weight[0] bn2.weight[0]
            bn2.bias[0] bn2.running_mean[0] bn2.running_var[0] fc.weight[1]
        conv1 6: conv1.weight[0] bn1.weight[0] bn1.bias[0] bn1.running_mean[0] bn1.running_var[0]
            conv2.weight[1]
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
    """A residual block with a 1x1 convolution as its shortcut: the sum frees the stem and ties the
    two branches.

    x -> stem -+-> conv1 -> bn1 -> relu -> conv2 -> (+) -> relu -> pool -> fc ->
               +-> shortcut ------------------------^

    Groups:
        stem 4: stem.weight[0] stem.bias[0] conv1.weight[1] shortcut.weight[1]
        conv1 5: conv1.weight[0] bn1.weight[0] bn1.bias[0] bn1.running_mean[0] bn1.running_var[0]
            conv2.weight[1]
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

    Channel 0 of the stem is channel 1 behind the first pad and channel 2 behind the second. What
    meets a zero can go alone: then the pad adds one zero less.

    Groups:
        stem 2: stem.weight[0] stem.bias[0] conv1.weight[0]=1,2 conv1.bias[0]=1,2
            conv2.weight[0]=2,3 conv2.bias[0]=2,3 conv1.weight[1] conv2.weight[1]=1,2
            fc.weight[1]=2,3
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
    """The same shortcut written as `pad` in code that no plan reaches: the count of its zeros
    stays.

    x -> stem -+-> conv -> (+) -> relu -> pool -> fc ->
               +-> 0 xx 0 --^

    Groups:
        stem 2: stem.weight[0] stem.bias[0] conv.weight[0]=1,2 conv.bias[0]=1,2 conv.weight[1]
            fc.weight[1]=1,2
    Fixed:
        conv 2/4: zeros added by padding: aten.pad in the top module (zoo/residual.py:
        fc 3/3: the network's output
    Rewritten:
        stem 2: stem.weight[0] stem.bias[0] conv.weight[0]=1,2 conv.bias[0]=1,2 conv.weight[1]
            fc.weight[1]=1,2
        conv 2: conv.weight[0]=0,3 conv.bias[0]=0,3 fc.weight[1]=0,3
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


class PreActivation(nn.Module):
    """Batch norm and ReLU in front of the convolution: the norm of the sum reads the group, the
    conv consumes it.

    x -> stem -+-> bn1 -> relu -> conv1 -> bn2 -> relu -> conv2 -> (+) -> bn3 -> relu -> pool -> fc
               -> +---------------------------------------------------^

    Groups:
        stem 4: stem.weight[0] bn1.weight[0] bn1.bias[0] bn1.running_mean[0] bn1.running_var[0]
            conv1.weight[1] conv2.weight[0] conv2.bias[0] bn3.weight[0] bn3.bias[0]
            bn3.running_mean[0] bn3.running_var[0] fc.weight[1]
        conv1 5: conv1.weight[0] conv1.bias[0] bn2.weight[0] bn2.bias[0] bn2.running_mean[0]
            bn2.running_var[0] conv2.weight[1]
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


class LayerScale(nn.Module):
    """A parameter (C, 1, 1) that scales each channel of a residual branch.

    x -> stem -+-> conv -> (* gamma) -> (+) -> fc (after the mean) ->
               +------------------------^

    Groups:
        stem 4: stem.weight[0] stem.bias[0] conv.weight[1] conv.weight[0] conv.bias[0] gamma[0]
            fc.weight[1]
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
    """A parameter (C,), brought into shape and made positive before it scales; a buffer (C,) that
    bounds.

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


class PositionEmbedding(nn.Module):
    """A stored map (1, C, H, W) that is added: it goes with the channels along its second axis.

    x -> conv -> (+ position) -> relu -> fc (after the mean) ->

    Groups:
        conv 4: conv.weight[0] conv.bias[0] position[1] fc.weight[1]
    Fixed:
        fc 2/2: the network's output
    """

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.position = nn.Parameter(torch.randn(1, 4, 4, 4))
        self.fc = nn.Linear(4, 2)

    def forward(self, x):
        return self.fc((self.conv(x) + self.position).relu().mean((2, 3)))
