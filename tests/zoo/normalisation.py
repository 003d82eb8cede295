"""Norms by channel, by groups of channels, and over all."""

import torch
from torch import nn
from torch.nn import functional


class InstanceNorms(nn.Module):
    """Norms of each channel on its own: with parameters, with statistics, with neither.

    x -> conv1 -> affine -> conv2 -> tracked -> conv3 -> bare -> relu -> fc (after the mean) ->

    Groups:
        conv1 4: conv1.weight[0] conv1.bias[0] affine.weight[0] affine.bias[0] conv2.weight[1]
        conv2 5: conv2.weight[0] conv2.bias[0] tracked.running_mean[0] tracked.running_var[0]
            conv3.weight[1]
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
        conv1 4: conv1.weight[0] conv1.bias[0] bn1.running_mean[0] bn1.running_var[0]
            conv2.weight[1]
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


class GroupNorms(nn.Module):
    """Norms over groups of channels: a norm group goes whole; one group of all channels stays.

    x -> conv1 (6) -> two (3 groups of 2) -> relu -> conv2 (4) -> bare (2 groups, no parameters) ->
      relu -> conv3 (4) -> all (1 group) -> fc (after the maximum) ->

    Groups:
        conv1 3: conv1.weight[0]=0-1,2-3,4-5 conv1.bias[0]=0-1,2-3,4-5 two#num_groups[0]
            two#num_channels[0]=0-1,2-3,4-5 two.weight[0]=0-1,2-3,4-5 two.bias[0]=0-1,2-3,4-5
            conv2.weight[1]=0-1,2-3,4-5
        conv2 2: conv2.weight[0]=0-1,2-3 conv2.bias[0]=0-1,2-3 bare#num_groups[0]
            bare#num_channels[0]=0-1,2-3 conv3.weight[1]=0-1,2-3
    Fixed:
        conv3 4/4: normalization statistics over several channels: aten.group_norm
        fc 2/2: the network's output
    """

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 6, 3)
        self.two = nn.GroupNorm(3, 6)
        self.conv2 = nn.Conv2d(6, 4, 1)
        self.bare = nn.GroupNorm(2, 4, affine=False)
        self.conv3 = nn.Conv2d(4, 4, 1)
        self.all = nn.GroupNorm(1, 4)
        self.fc = nn.Linear(4, 2)

    def forward(self, x):
        x = self.bare(self.conv2(self.two(self.conv1(x)).relu())).relu()
        x = self.all(self.conv3(x))  # fixes
        return self.fc(x.amax((2, 3)))


class CodedGroups(nn.Module):
    """A group norm whose number of groups stands in the code: no attribute could follow a cut, so
    it stays.

    x -> conv1 -> group_norm(2) -> relu -> conv2 -> fc (after the mean) ->

    Groups:
        conv2 5: conv2.weight[0] conv2.bias[0] fc.weight[1]
    Fixed:
        conv1 4/4: normalization statistics over several channels: aten.group_norm
        fc 2/2: the network's output
    Rewritten:
        conv1 2: conv1.weight[0]=0-1,2-3 conv1.bias[0]=0-1,2-3 conv2.weight[1]=0-1,2-3
        conv2 5: conv2.weight[0] conv2.bias[0] fc.weight[1]
    """

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3)
        self.conv2 = nn.Conv2d(4, 5, 1)
        self.fc = nn.Linear(5, 2)

    def forward(self, x):
        x = functional.group_norm(self.conv1(x), 2)  # fixes
        return self.fc(self.conv2(x.relu()).mean((2, 3)))


class LayerNorms(nn.Module):
    """Layer norms over channels (last, and first by way of a permutation) fix them; over space they
    pass them on.

    x -> conv1 -> space (over H, W) -> conv2 -> permute -> last -> permute -> conv3 -> relu -> fc
    (after the mean) ->

    Groups:
        conv1 4: conv1.weight[0] conv1.bias[0] conv2.weight[1]
        conv3 5: conv3.weight[0] conv3.bias[0] fc.weight[1]
    Fixed:
        conv2 4/4: normalization statistics over several channels: aten.layer_norm
        fc 2/2: the network's output
    """

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3)
        self.space = nn.LayerNorm((4, 4))
        self.conv2 = nn.Conv2d(4, 4, 3)
        self.last = nn.LayerNorm(4)
        self.conv3 = nn.Conv2d(4, 5, 1)
        self.fc = nn.Linear(5, 2)

    def forward(self, x):
        x = self.conv2(self.space(self.conv1(x)))
        x = self.last(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)  # fixes
        return self.fc(self.conv3(x).relu().mean((2, 3)))


class ConvNextBlock(nn.Module):
    """Depthwise, layer norm over channels, two linear layers with a wide middle, layer scale,
    added: the middle goes.

    x -> stem -+-> depthwise -> permute -> norm -> fc1 -> gelu -> fc2 -> (* gamma) -> permute -> (+)
               -> fc ->
               +---------------------------------------------------------------------------------^

    Groups:
        fc1 6: fc1.weight[0] fc1.bias[0] fc2.weight[1]
    Fixed:
        stem 4/4: normalization statistics over several channels: aten.layer_norm
        depthwise 4/4: normalization statistics over several channels: aten.layer_norm
        fc2 4/4: normalization statistics over several channels: aten.layer_norm
        fc 2/2: the network's output
    """

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3)
        self.depthwise = nn.Conv2d(4, 4, 3, padding=1, groups=4)
        self.norm = nn.LayerNorm(4)
        self.fc1 = nn.Linear(4, 6)
        self.fc2 = nn.Linear(6, 4)
        self.gamma = nn.Parameter(torch.ones(4))
        self.fc = nn.Linear(4, 2)

    def forward(self, x):
        x = self.stem(x)
        inner = self.norm(self.depthwise(x).permute(0, 2, 3, 1))  # fixes
        inner = self.gamma * self.fc2(functional.gelu(self.fc1(inner)))
        return self.fc((x + inner.permute(0, 3, 1, 2)).mean((2, 3)))


class HandMade(nn.Module):
    """Norms over channels that are written out: by the root of the mean square, and among
    neighbours.

    x -> conv1 -> (/ root of the mean square over channels) -> conv2 -> response norm -> conv3 -> fc
    (after the mean) ->

    Groups:
        conv3 5: conv3.weight[0] conv3.bias[0] fc.weight[1]
    Fixed:
        conv1 4/4: a reduction over channels: aten.mean.dim
        conv2 6/6: padding along the channel axis: aten.pad
        fc 2/2: the network's output
    """

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3)
        self.conv2 = nn.Conv2d(4, 6, 1)
        self.conv3 = nn.Conv2d(6, 5, 1)
        self.fc = nn.Linear(5, 2)

    def forward(self, x):
        x = self.conv1(x)
        x = x * torch.rsqrt(x.square().mean(1, keepdim=True) + 1e-6)  # fixes
        x = functional.local_response_norm(self.conv2(x).relu(), 3)  # fixes
        return self.fc(self.conv3(x).mean((2, 3)))


class GlobalResponse(nn.Module):
    """A norm over space by channel, with a scale and a shift of each channel, and a softmax over
    space.

    x -> conv1 -> (/ norm over H, W) -> (* gamma + beta) -> conv2 -> (* softmax over H * W) -> fc
    (after the sum) ->

    Groups:
        conv1 4: conv1.weight[0] conv1.bias[0] gamma[1] beta[1] conv2.weight[1]
        conv2 5: conv2.weight[0] conv2.bias[0] fc.weight[1]
    Fixed:
        fc 2/2: the network's output
    """

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3)
        self.gamma = nn.Parameter(torch.ones(1, 4, 1, 1))
        self.beta = nn.Parameter(torch.zeros(1, 4, 1, 1))
        self.conv2 = nn.Conv2d(4, 5, 1)
        self.fc = nn.Linear(5, 2)

    def forward(self, x):
        x = self.conv1(x)
        x = x / (x.norm(dim=(2, 3), keepdim=True) + 1) * self.gamma + self.beta
        x = self.conv2(x)
        x = x * x.flatten(2).softmax(2).view_as(x)
        return self.fc(x.sum((2, 3)))


class Softmax(nn.Module):
    """A softmax, a running sum and a sort over channels: what enters them stays.

    x -> conv1 -> softmax -> conv2 -> running sum -> conv3 -> sort -> conv4 -> fc (after the mean)
    ->

    Groups:
        conv4 6: conv4.weight[0] conv4.bias[0] fc.weight[1]
    Fixed:
        conv1 4/4: an operation along the channel axis: aten.softmax.int
        conv2 5/5: an operation along the channel axis: aten.cumsum
        conv3 3/3: an operation along the channel axis: aten.sort
        fc 2/2: the network's output
    """

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3)
        self.conv2 = nn.Conv2d(4, 5, 3)
        self.conv3 = nn.Conv2d(5, 3, 1)
        self.conv4 = nn.Conv2d(3, 6, 1)
        self.fc = nn.Linear(6, 2)

    def forward(self, x):
        x = self.conv1(x).softmax(1)  # fixes
        x = self.conv2(x).cumsum(1)  # fixes
        x = self.conv3(x).sort(1).values  # fixes
        return self.fc(self.conv4(x).relu().mean((2, 3)))
