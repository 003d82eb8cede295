"""Networks without branches."""

import torch
from torch import nn
from torch.nn import functional


class Chain(nn.Module):
    """Convolution, batch norm, ReLU, twice, and a classifier.

    x -> conv1 -> bn1 -> relu -> conv2 -> bn2 -> relu -> pool -> fc ->

    Groups:
        conv1 4: conv1.weight[0] bn1.weight[0] bn1.bias[0] bn1.running_mean[0] bn1.running_var[0]
            conv2.weight[1]
        conv2 5: conv2.weight[0] bn2.weight[0] bn2.bias[0] bn2.running_mean[0] bn2.running_var[0]
            fc.weight[1]
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

    def __init__(self, places=4):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.fc1 = nn.Linear(4 * places, 5)
        self.fc2 = nn.Linear(5, 2)

    def forward(self, x):
        return self.fc2(self.fc1(self.conv(x).relu().flatten(1)).relu())


class WideFlatten(Flatten):
    """A map of 2x4, which is not square, laid out in front of a linear layer: each channel takes
    eight columns.

    x (3, 4, 6) -> conv -> (4, 2, 4) -> flatten -> fc1 -> relu -> fc2 ->

    Groups:
        conv 4: conv.weight[0] conv.bias[0] fc1.weight[1]=0-7,8-15,16-23,24-31
        fc1 5: fc1.weight[0] fc1.bias[0] fc2.weight[1]
    Fixed:
        fc2 2/2: the network's output
    """

    SIZE = (3, 4, 6)

    def __init__(self):
        super().__init__(places=8)


class OneAxis(nn.Module):
    """A network over a row (N, C, L).

    x (3, 9) -> conv1 -> bn -> relu -> max pool -> conv2 -> fc (after the mean) ->

    Groups:
        conv1 4: conv1.weight[0] bn.weight[0] bn.bias[0] bn.running_mean[0] bn.running_var[0]
            conv2.weight[1]
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


class ThreeAxes(nn.Module):
    """A network over a volume (N, C, D, H, W), and a transposed convolution in it.

    x (3, 5, 5, 5) -> conv1 -> bn -> relu -> max pool -> up -> conv2 -> fc (after the mean) ->

    Groups:
        conv1 4: conv1.weight[0] bn.weight[0] bn.bias[0] bn.running_mean[0] bn.running_var[0]
            up.weight[0]
        up 3: up.weight[1] up.bias[0] conv2.weight[1]
        conv2 5: conv2.weight[0] conv2.bias[0] fc.weight[1]
    Fixed:
        fc 2/2: the network's output
    """

    SIZE = (3, 5, 5, 5)

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv3d(3, 4, 2, bias=False)
        self.bn = nn.BatchNorm3d(4)
        self.up = nn.ConvTranspose3d(4, 3, 2, stride=2)
        self.conv2 = nn.Conv3d(3, 5, 2)
        self.fc = nn.Linear(5, 2)

    def forward(self, x):
        x = functional.max_pool3d(self.bn(self.conv1(x)).relu(), 2)
        return self.fc(self.conv2(self.up(x)).mean((2, 3, 4)))


class Tokens(nn.Module):
    """Linear layers on a row of tokens (N, L, C), with a residual around them.

    x -> patch -> flatten(2) -> transpose (N, L, C) -+-> fc1 -> gelu -> fc2 -> (+) -> mean over
                                                     tokens -> head -> +------------------------^

    Groups:
        patch 4: patch.weight[0] patch.bias[0] fc1.weight[1] fc2.weight[0] fc2.bias[0]
            head.weight[1]
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


class Slopes(nn.Module):
    """Leaky slopes that are learnt: one for all channels, and one for each.

    x -> conv1 -> one (PReLU(1)) -> conv2 -> each (PReLU(5)) -> fc (after the mean) ->

    Groups:
        conv1 4: conv1.weight[0] conv1.bias[0] conv2.weight[1]
        conv2 5: conv2.weight[0] conv2.bias[0] each.weight[0] each#num_parameters[0] fc.weight[1]
    Fixed:
        fc 2/2: the network's output
    """

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3)
        self.one = nn.PReLU()
        self.conv2 = nn.Conv2d(4, 5, 3)
        self.each = nn.PReLU(5)
        self.fc = nn.Linear(5, 2)

    def forward(self, x):
        return self.fc(self.each(self.conv2(self.one(self.conv1(x)))).mean((2, 3)))


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


class GainConv(nn.Conv2d):
    """A convolution of the user's own, with a gain per output channel."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.gain = nn.Parameter(torch.ones(self.out_channels, 1, 1))

    def forward(self, x):
        return super().forward(x) * self.gain
