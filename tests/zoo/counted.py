"""Numbers of channels in the code that only a rewritten program can follow.

Without --rewrite the counted channels are held, by their labels or by the self-check.
"""

import torch
from torch import nn
from torch.nn import functional


class FixedView(nn.Module):
    """The number of features stands in the view.

    x -> conv (4) -> view (-1, 64) -> fc1 -> fc2 ->

    Rewritten:
        conv 4: conv.weight[0] conv.bias[0] fc1.weight[1]=0-15,16-31,32-47,48-63
        fc1 5: fc1.weight[0] fc1.bias[0] fc2.weight[1]
    """

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.fc1 = nn.Linear(64, 5)
        self.fc2 = nn.Linear(5, 2)

    def forward(self, x):
        return self.fc2(self.fc1(self.conv(x).view(-1, 64)))


class Folded(nn.Module):
    """Channels folded into one axis between height and width, and unfolded again, by sizes that
    stand in the code.

    x -> conv (4) -> rows first -> reshape (-1, 64) -> view (-1, 4, 4, 4) -> conv2 -> fc (after the
    mean) ->

    Rewritten:
        conv 4: conv.weight[0] conv.bias[0] conv2.weight[1]
        conv2 5: conv2.weight[0] conv2.bias[0] fc.weight[1]
    """

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.conv2 = nn.Conv2d(4, 5, 3)
        self.fc = nn.Linear(5, 2)

    def forward(self, x):
        x = self.conv(x).transpose(1, 2).reshape(-1, 64).view(-1, 4, 4, 4).transpose(1, 2)
        return self.fc(self.conv2(x).mean((2, 3)))


class Columns(nn.Module):
    """A shuffle that holds the number of its columns, and not of its rows. A column goes whole, and
    is one less.

    x -> conv1 (8) -> view (4, 2) -> transpose -> view (8) -> conv2 -> fc (after the mean) ->

    Rewritten:
        conv1 2: conv1.weight[0]=0+2+4+6,1+3+5+7 conv1.bias[0]=0+2+4+6,1+3+5+7
            conv2.weight[1]=0-3,4-7
        conv2 4: conv2.weight[0] conv2.bias[0] fc.weight[1]
    """

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3)
        self.conv2 = nn.Conv2d(8, 4, 3)
        self.fc = nn.Linear(4, 2)

    def forward(self, x):
        x = self.conv1(x)
        n, c, h, w = x.shape
        x = x.view(n, c // 2, 2, h, w).transpose(1, 2).reshape(n, c, h, w)
        return self.fc(self.conv2(x).mean((2, 3)))


class Res2(nn.Module):
    """Parts of one width, each added to what the one before gave (Res2Net).

    x -> conv1 (6) -> split 2 -+-> a ----------------> cat (6) -> conv2 -> fc (after the mean) ->
                               +-> b -> bn, mid -+-----^
                               +-> c -----------(+)-> last ---^

    Rewritten:
        conv1 2: conv1.weight[0]=0,1 conv1.bias[0]=0,1 conv2.weight[1]=0,1
        conv1#2 2: conv1.weight[0]=2,3 conv1.bias[0]=2,3 bn.weight[0] bn.bias[0] bn.running_mean[0]
            bn.running_var[0] mid.weight[1]
        conv1#3 2: conv1.weight[0]=4,5 conv1.bias[0]=4,5 mid.weight[0] mid.bias[0] last.weight[1]
            conv2.weight[1]=2,3
        last 2: last.weight[0] last.bias[0] conv2.weight[1]=4,5
        conv2 3: conv2.weight[0] conv2.bias[0] fc.weight[1]
    """

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 6, 3)
        self.bn = nn.BatchNorm2d(2)
        self.mid = nn.Conv2d(2, 2, 3, padding=1)
        self.last = nn.Conv2d(2, 2, 3, padding=1)
        self.conv2 = nn.Conv2d(6, 3, 1)
        self.fc = nn.Linear(3, 2)

    def forward(self, x):
        a, b, c = self.conv1(x).split(2, 1)
        b = self.mid(self.bn(b).relu())
        return self.fc(self.conv2(torch.cat([a, b, self.last(b + c)], 1)).mean((2, 3)))


class Overlap(nn.Module):
    """Slices that share channels, a part by its first channel and length, and one channel by its
    number.

    x -> conv1 (6) -+-> [:, :4] -> conv2 -(+)-> fc (after the mean) ->
                    +-> [:, 2:] -> conv3 --^
                    +-> narrow(1, 1, 3) -> conv4 -^
                    +-> [:, 3] (one channel for all) -(x)

    Rewritten:
        conv1 1: conv1.weight[0]=0 conv1.bias[0]=0 conv2.weight[1]=0
        conv1#2 1: conv1.weight[0]=1 conv1.bias[0]=1 conv2.weight[1]=1 conv4.weight[1]=0
        conv1#3 1: conv1.weight[0]=2 conv1.bias[0]=2 conv2.weight[1]=2 conv3.weight[1]=0
            conv4.weight[1]=1
        conv1#4 2: conv1.weight[0]=4,5 conv1.bias[0]=4,5 conv3.weight[1]=2,3
        conv2 5: conv2.weight[0] conv2.bias[0] conv3.weight[0] conv3.bias[0] conv4.weight[0]
            conv4.bias[0] fc.weight[1]
    Held:
        conv1 1/6: a channel selected by its index: aten.select
    """

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 6, 3)
        self.conv2 = nn.Conv2d(4, 5, 1)
        self.conv3 = nn.Conv2d(4, 5, 1)
        self.conv4 = nn.Conv2d(3, 5, 1)
        self.fc = nn.Linear(5, 2)

    def forward(self, x):
        x = self.conv1(x)
        y = self.conv2(x[:, :4]) + self.conv3(x[:, -4:]) + self.conv4(x.narrow(1, 1, 3))
        return self.fc((y * x.select(1, 3).unsqueeze(1).tanh()).mean((2, 3)))


class Swapped(nn.Module):
    """Two parts that are put together the other way round: neither ever runs empty, though one
    layer reads both.

    x -> conv1 (4) -> [:, :2], [:, 2:] -> pooled -> cat (second, first) -> conv2 -> fc (after the
    mean) ->

    Rewritten:
        conv1 2: conv1.weight[0]=0,1 conv1.bias[0]=0,1 conv2.weight[1]=2,3
        conv1#2 2: conv1.weight[0]=2,3 conv1.bias[0]=2,3 conv2.weight[1]=0,1
        conv2 5: conv2.weight[0] conv2.bias[0] fc.weight[1]
    """

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3)
        self.conv2 = nn.Conv2d(4, 5, 1)
        self.fc = nn.Linear(5, 2)

    def forward(self, x):
        x = self.conv1(x)
        first, second = (functional.max_pool2d(part, 2) for part in (x[:, :2], x[:, 2:]))
        return self.fc(self.conv2(torch.cat([second, first], 1)).mean((2, 3)))


class GroupsInCode(nn.Module):
    """A grouped convolution as a function, its number of groups in the call: whole groups go, and
    the number follows.

    x -> stem (4) -> F.conv2d(weight (6, 2, 3, 3), groups=2) -> conv -> fc (after the mean) ->

    Rewritten:
        stem 2: stem.weight[0]=0-1,2-3 stem.bias[0]=0-1,2-3 weight[0]=0-2,3-5 conv.weight[1]=0-2,3-5
        conv 5: conv.weight[0] conv.bias[0] fc.weight[1]
    """

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3)
        self.weight = nn.Parameter(torch.randn(6, 2, 3, 3))
        self.conv = nn.Conv2d(6, 5, 1)
        self.fc = nn.Linear(5, 2)

    def forward(self, x):
        x = functional.conv2d(self.stem(x), self.weight, groups=2)
        return self.fc(self.conv(x.relu()).mean((2, 3)))


class ZerosBehind(nn.Module):
    """An option-A shortcut written with zeros of a size: those that meet a channel go with it.

    x -> stem (2) -+-> conv (6) ------------------(+)-> fc (after the mean) ->
                   +-> cat with zeros (2 and 2) ---^

    Rewritten:
        stem 2: stem.weight[0] stem.bias[0] conv.weight[1] conv.weight[0]=2,3 conv.bias[0]=2,3
            fc.weight[1]=2,3
        conv 4: conv.weight[0]=0,1,4,5 conv.bias[0]=0,1,4,5 fc.weight[1]=0,1,4,5
    """

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 2, 3)
        self.conv = nn.Conv2d(2, 6, 3, padding=1)
        self.fc = nn.Linear(6, 2)

    def forward(self, x):
        x = self.stem(x)
        n, _, h, w = x.shape
        padded = torch.cat(
            [x.new_zeros(n, 2, h, w), x, torch.zeros(n, 2, h, w, dtype=x.dtype, device=x.device)], 1
        )
        return self.fc((self.conv(x) + padded).relu().mean((2, 3)))


class Widened(nn.Module):
    """A gate whose size is written out where it is spread over space, and a scale by half the
    number of channels.

    x -> conv (5) -+---------------------------------(x)-> fc ->
                   +-> mean -> fc1 -> expand (5, 4, 4) -^

    Rewritten:
        conv 5: conv.weight[0] conv.bias[0] fc1.weight[1] fc1.weight[0] fc1.bias[0] fc.weight[1]
    """

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 5, 3)
        self.fc1 = nn.Linear(5, 5)
        self.fc = nn.Linear(5, 2)

    def forward(self, x):
        x = self.conv(x)
        gate = self.fc1(x.mean((2, 3))).sigmoid()[:, :, None, None].expand(x.shape[0], 5, 4, 4)
        return self.fc((x * gate).mean((2, 3)) * (x.shape[1] // 2))


class Modes(nn.Module):
    """Everything that differs in training: batch norms as module and as function, dropouts, a
    stochastic depth.

    x -> conv1 (6) -> bn -> split 2 + 4 -+-> conv2, norm, dropout -(+)-> cat -> drop -> fc (after
                                         the mean) -> +-> conv3, path ----------^

    Rewritten:
        conv1 2: conv1.weight[0]=0,1 conv1.bias[0]=0,1 bn.weight[0]=0,1 bn.bias[0]=0,1
            bn.running_mean[0]=0,1 bn.running_var[0]=0,1 conv2.weight[1]
        conv1#2 4: conv1.weight[0]=2,3,4,5 conv1.bias[0]=2,3,4,5 bn.weight[0]=2,3,4,5
            bn.bias[0]=2,3,4,5 bn.running_mean[0]=2,3,4,5 bn.running_var[0]=2,3,4,5 conv3.weight[1]
        conv2 4: conv2.weight[0] conv2.bias[0] running_mean[0] running_var[0] conv3.weight[0]
            conv3.bias[0] fc.weight[1]
    """

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 6, 3)
        self.bn = nn.BatchNorm2d(6)
        self.conv2 = nn.Conv2d(2, 4, 1)
        self.conv3 = nn.Conv2d(4, 4, 1)
        self.path = StochasticDepth()
        self.drop = nn.Dropout(0.5)
        self.fc = nn.Linear(4, 2)
        self.register_buffer("running_mean", torch.zeros(4))
        self.register_buffer("running_var", torch.ones(4))

    def forward(self, x):
        a, b = self.bn(self.conv1(x)).relu().split([2, 4], 1)
        a = functional.batch_norm(
            self.conv2(a), self.running_mean, self.running_var, training=self.training
        )
        a = functional.dropout(a, 0.25, self.training)
        return self.fc(self.drop(a + self.path(self.conv3(b))).mean((2, 3)))


class StochasticDepth(nn.Module):
    """Drops whole images in training, and does nothing in eval mode."""

    def __init__(self):
        super().__init__()
        self.scale = Doubled()

    def forward(self, x):
        if not self.training:
            return x
        kept = x.new_empty(x.shape[0], 1, 1, 1).bernoulli_(0.5)
        return self.scale(x * kept)


class Doubled(nn.Module):
    """Twice what comes in, since half of it was dropped."""

    def forward(self, x):
        return x * 2
