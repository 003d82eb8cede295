"""Channels taken apart, and put in another order."""

import torch
from torch import nn
from torch.nn import functional


class Chunk(nn.Module):
    """Two halves by number, each with its own use: the i-th channel of both goes, so that the
    halves stay equal.

    x -> conv1 (6) -> chunk -+-> a -> conv2 -> (+) -> fc (after the mean) ->
                             +-> b -> conv3 --^

    Groups:
        conv1 3: conv1.weight[0]=0+3,1+4,2+5 conv1.bias[0]=0+3,1+4,2+5 conv2.weight[1]
            conv3.weight[1]
        conv2 4: conv2.weight[0] conv2.bias[0] conv3.weight[0] conv3.bias[0] fc.weight[1]
    Fixed:
        fc 2/2: the network's output
    Rewritten:
        conv1 3: conv1.weight[0]=0,1,2 conv1.bias[0]=0,1,2 conv2.weight[1]
        conv1#2 3: conv1.weight[0]=3,4,5 conv1.bias[0]=3,4,5 conv3.weight[1]
        conv2 4: conv2.weight[0] conv2.bias[0] conv3.weight[0] conv3.bias[0] fc.weight[1]
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


class CrossStage(nn.Module):
    """Two halves by number, one of which goes on, and all of them side by side again (C2f).

    x -> cv1 (4) -> chunk -+-> a ---------------> cat (6) -> cv2 -> fc (after the mean) ->
                           +-> b -+---------------^
                                  +-> m -> (+ b) -^

    Groups:
        cv1 2: cv1.weight[0]=0+2,1+3 cv1.bias[0]=0+2,1+3 m.weight[1] m.weight[0] m.bias[0]
            cv2.weight[1]=0+2+4,1+3+5
        cv2 5: cv2.weight[0] cv2.bias[0] fc.weight[1]
    Fixed:
        fc 2/2: the network's output
    Rewritten:
        cv1 2: cv1.weight[0]=0,1 cv1.bias[0]=0,1 cv2.weight[1]=0,1
        cv1#2 2: cv1.weight[0]=2,3 cv1.bias[0]=2,3 m.weight[1] m.weight[0] m.bias[0]
            cv2.weight[1]=2+4,3+5
        cv2 5: cv2.weight[0] cv2.bias[0] fc.weight[1]
    """

    def __init__(self):
        super().__init__()
        self.cv1 = nn.Conv2d(3, 4, 1)
        self.m = nn.Conv2d(2, 2, 3, padding=1)
        self.cv2 = nn.Conv2d(6, 5, 1)
        self.fc = nn.Linear(5, 2)

    def forward(self, x):
        parts = list(self.cv1(x).relu().chunk(2, 1))
        parts.append(parts[-1] + self.m(parts[-1]).relu())
        return self.fc(self.cv2(torch.cat(parts, 1)).mean((2, 3)))


class ShuffleUnit(nn.Module):
    """ShuffleNetV2's unit: one half passes, the other is worked on, and the two are shuffled.

    x -> stem (4) -> chunk -+-> a -----------> cat -> shuffle in 2 -> head -> fc (after the mean) ->
                            +-> b -> branch --^

    Groups:
        stem 2: stem.weight[0]=0+2,1+3 stem.bias[0]=0+2,1+3 branch.weight[1] branch.weight[0]
            branch.bias[0] head.weight[1]=0-1,2-3
        head 5: head.weight[0] head.bias[0] fc.weight[1]
    Fixed:
        fc 2/2: the network's output
    Rewritten:
        stem 2: stem.weight[0]=0,1 stem.bias[0]=0,1 branch.weight[0] branch.bias[0]
            head.weight[1]=0-1,2-3
        stem#2 2: stem.weight[0]=2,3 stem.bias[0]=2,3 branch.weight[1]
        head 5: head.weight[0] head.bias[0] fc.weight[1]
    """

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 1)
        self.branch = nn.Conv2d(2, 2, 3, padding=1)
        self.head = nn.Conv2d(4, 5, 3)
        self.fc = nn.Linear(5, 2)

    def forward(self, x):
        a, b = self.stem(x).chunk(2, dim=1)
        x = torch.cat([a, self.branch(b).relu()], 1)
        n, c, h, w = x.shape
        x = x.view(n, 2, c // 2, h, w).transpose(1, 2).contiguous().view(n, c, h, w)
        return self.fc(self.head(x).mean((2, 3)))


class Gated(nn.Module):
    """A gated linear unit: half of the channels times the sigmoid of the other half.

    x -> conv1 (6) -> glu (3) -> conv2 -> fc (after the mean) ->

    Groups:
        conv1 3: conv1.weight[0]=0+3,1+4,2+5 conv1.bias[0]=0+3,1+4,2+5 conv2.weight[1]
        conv2 4: conv2.weight[0] conv2.bias[0] fc.weight[1]
    Fixed:
        fc 2/2: the network's output
    """

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 6, 3)
        self.conv2 = nn.Conv2d(3, 4, 3)
        self.fc = nn.Linear(4, 2)

    def forward(self, x):
        return self.fc(self.conv2(functional.glu(self.conv1(x), 1)).mean((2, 3)))


class Shuffle(nn.Module):
    """A channel shuffle: channels as 2 rows, read by columns. A column goes whole, so that there
    stay 2 rows.

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


class ConstantSlice(nn.Module):
    """A part of the channels by bounds that stand in the code: all of them stay.

    x -> conv1 (6) -> [:, :2] -> conv2 -> fc (after the mean) ->

    Groups:
        conv2 4: conv2.weight[0] conv2.bias[0] fc.weight[1]
    Fixed:
        conv1 6/6: hard-coded channel indices: aten.slice
        fc 2/2: the network's output
    Rewritten:
        conv1 2: conv1.weight[0]=0,1 conv1.bias[0]=0,1 conv2.weight[1]
        conv1#2 4: conv1.weight[0]=2,3,4,5 conv1.bias[0]=2,3,4,5
        conv2 4: conv2.weight[0] conv2.bias[0] fc.weight[1]
    """

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 6, 3)
        self.conv2 = nn.Conv2d(2, 4, 3)
        self.fc = nn.Linear(4, 2)

    def forward(self, x):
        x = self.conv1(x)[:, :2]  # fixes
        return self.fc(self.conv2(x).mean((2, 3)))


class ConstantSplit(nn.Module):
    """Parts of the channels by sizes that stand in the code: all of them stay.

    x -> conv1 (6) -> split 2 + 4 -+-> conv2 -> cat -> conv3 -> fc (after the mean) ->
                                   +------------^

    Groups:
        conv2 3: conv2.weight[0] conv2.bias[0] conv3.weight[1]
        conv3 5: conv3.weight[0] conv3.bias[0] fc.weight[1]
    Fixed:
        conv1 6/6: hard-coded channel indices
        fc 2/2: the network's output
    Rewritten:
        conv1 2: conv1.weight[0]=0,1 conv1.bias[0]=0,1 conv2.weight[1]
        conv1#2 4: conv1.weight[0]=2,3,4,5 conv1.bias[0]=2,3,4,5 conv3.weight[1]=3,4,5,6
        conv2 3: conv2.weight[0] conv2.bias[0] conv3.weight[1]=0,1,2
        conv3 5: conv3.weight[0] conv3.bias[0] fc.weight[1]
    """

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 6, 3)
        self.conv2 = nn.Conv2d(2, 3, 3, padding=1)
        self.conv3 = nn.Conv2d(7, 5, 1)
        self.fc = nn.Linear(5, 2)

    def forward(self, x):
        a, b = self.conv1(x).split([2, 4], 1)  # fixes
        return self.fc(self.conv3(torch.cat([self.conv2(a), b], 1)).mean((2, 3)))


class Roll(nn.Module):
    """Channels moved on by a number that stands in the code: all of them stay. Over space it does
    no harm.

    x -> conv1 -> roll rows -> conv2 -> roll channels -> conv3 -> fc (after the mean) ->

    Groups:
        conv1 4: conv1.weight[0] conv1.bias[0] conv2.weight[1]
        conv3 4: conv3.weight[0] conv3.bias[0] fc.weight[1]
    Fixed:
        conv2 5/5: hard-coded channel indices: aten.roll
        fc 2/2: the network's output
    Rewritten:
        conv1 4: conv1.weight[0] conv1.bias[0] conv2.weight[1]
        conv2 5: conv2.weight[0] conv2.bias[0] conv3.weight[1]=2,3,4,0,1
        conv3 4: conv3.weight[0] conv3.bias[0] fc.weight[1]
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


class IndexSelect(nn.Module):
    """Channels picked by a stored list of numbers: all of them stay.

    x -> conv1 -> index_select(order) -> conv2 -> fc (after the mean) ->

    Groups:
        conv2 5: conv2.weight[0] conv2.bias[0] fc.weight[1]
    Fixed:
        conv1 4/4: an unsupported operation: aten.index_select
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
