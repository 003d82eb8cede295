"""Modules and weights that are used several times, or through functions; several outputs."""

import torch
from torch import nn
from torch.nn import functional


class CalledTwice(nn.Module):
    """One convolution and its norm called twice: what enters it and what leaves it are the same
    channels.

    x -> stem -> conv -> bn -> relu -> conv -> bn -> relu -> pool -> fc ->

    Groups:
        stem 4: stem.weight[0] stem.bias[0] conv.weight[1] conv.weight[0] bn.weight[0] bn.bias[0]
            bn.running_mean[0] bn.running_var[0] fc.weight[1]
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


class SeveralSizes(nn.Module):
    """One module called on three maps, two of them of one size, as a detection head is.

    x -+------------> stem -> relu -> head -> mean -> (+) -> fc ->
       +------------> stem -> tanh -> head -> mean --^
       +-> pool ----> stem -> relu -> head -> mean --^

    Groups:
        stem 4: stem.weight[0] stem.bias[0] head.weight[1]
        head 5: head.weight[0] head.bias[0] fc.weight[1]
    Fixed:
        fc 2/2: the network's output
    """

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 1)
        self.head = nn.Conv2d(4, 5, 3, padding=1)
        self.fc = nn.Linear(5, 2)

    def forward(self, x):
        maps = (
            self.stem(x).relu(),
            self.stem(x).tanh(),
            self.stem(functional.max_pool2d(x, 2)).relu(),
        )
        first, second, third = (self.head(each).mean((2, 3)) for each in maps)
        return self.fc(first + second + third)


class SharedModule(nn.Module):
    """One module under two names, used by both: what enters it and what leaves it are the same
    channels.

    x -> stem -> block.0 -> bn -> relu -> again (which is block.0) -> fc (after the mean) ->

    Groups:
        stem 4: stem.weight[0] stem.bias[0] block.0.weight[1] block.0.weight[0] block.0.bias[0]
            block.1.weight[0] block.1.bias[0] block.1.running_mean[0] block.1.running_var[0]
            fc.weight[1] again.weight[1] again.weight[0] again.bias[0]
    Fixed:
        fc 2/2: the network's output
    """

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3)
        self.block = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4))
        self.again = self.block[0]
        self.fc = nn.Linear(4, 2)

    def forward(self, x):
        return self.fc(self.again(self.block(self.stem(x)).relu()).mean((2, 3)))


class SharedParameter(nn.Module):
    """One weight in two modules: cut in one it would stay whole in the other, so it stays whole in
    both.

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
    """Weights of several layers, of different kernel sizes, held by one module and used through
    functions.

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


class NamedOutputs(nn.Module):
    """A dictionary of outputs, one of them the features inside.

    x -> conv1 -> conv2 -+-> fc (after the mean) -> (out)
                         +-----------------------> (features)

    Groups:
        conv1 4: conv1.weight[0] conv1.bias[0] conv2.weight[1]
    Fixed:
        conv2 5/5: the network's output
        fc 2/2: the network's output
    """

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3)
        self.conv2 = nn.Conv2d(4, 5, 3)
        self.fc = nn.Linear(5, 2)

    def forward(self, x):
        features = self.conv2(self.conv1(x).relu())
        return {"out": self.fc(features.mean((2, 3))), "features": features}
