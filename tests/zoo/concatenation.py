"""Channels side by side."""

import torch
from torch import nn
from torch.nn import functional


class Concatenation(nn.Module):
    """Two branches side by side, as in DenseNet: each channel keeps its own place behind the join.

    x -> stem -+-> conv1 -> cat -> bn -> relu -> conv2 -> pool -> fc ->
               +------------^

    Groups:
        stem 3: stem.weight[0] stem.bias[0] conv1.weight[1] bn.weight[0] bn.bias[0]
            bn.running_mean[0] bn.running_var[0] conv2.weight[1]
        conv1 4: conv1.weight[0] conv1.bias[0] bn.weight[0]=3,4,5,6 bn.bias[0]=3,4,5,6
            bn.running_mean[0]=3,4,5,6 bn.running_var[0]=3,4,5,6 conv2.weight[1]=3,4,5,6
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


class DenseBlock(nn.Module):
    """Two joins, each of all that came before, as in DenseNet: a channel is read at its own place
    by every later layer.

    x -> stem -+-> cat -> bn1 -> conv1 -+-> cat -> bn2 -> conv2 -+-> cat -> fc (after the mean) ->
               +------------------------^                        |
               +-------------------------------------------------^

    Groups:
        stem 4: stem.weight[0] stem.bias[0] bn1.weight[0] bn1.bias[0] bn1.running_mean[0]
            bn1.running_var[0] conv1.weight[1] bn2.weight[0] bn2.bias[0] bn2.running_mean[0]
            bn2.running_var[0] conv2.weight[1] fc.weight[1]
        conv1 2: conv1.weight[0] conv1.bias[0] bn2.weight[0]=4,5 bn2.bias[0]=4,5
            bn2.running_mean[0]=4,5 bn2.running_var[0]=4,5 conv2.weight[1]=4,5 fc.weight[1]=4,5
        conv2 3: conv2.weight[0] conv2.bias[0] fc.weight[1]=6,7,8
    Fixed:
        fc 2/2: the network's output
    """

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3)
        self.bn1 = nn.BatchNorm2d(4)
        self.conv1 = nn.Conv2d(4, 2, 3, padding=1)
        self.bn2 = nn.BatchNorm2d(6)
        self.conv2 = nn.Conv2d(6, 3, 3, padding=1)
        self.fc = nn.Linear(9, 2)

    def forward(self, x):
        found = [self.stem(x)]
        for norm, conv in ((self.bn1, self.conv1), (self.bn2, self.conv2)):
            found.append(conv(norm(torch.cat(found, 1)).relu()))
        return self.fc(torch.cat(found, 1).mean((2, 3)))


class Inception(nn.Module):
    """Four branches of one map side by side, one of them pooled, as in GoogLeNet.

    x -> stem -+-> one (1x1) ----------------------> cat -> head -> fc (after the mean) ->
               +-> three_reduce -> bn -> three (3x3) --^
               +-> five_reduce -> five (5x5) ----------^
               +-> max pool -> pooled (1x1) -----------^

    Groups:
        stem 4: stem.weight[0] stem.bias[0] one.weight[1] three_reduce.weight[1]
            five_reduce.weight[1] pooled.weight[1]
        one 2: one.weight[0] one.bias[0] head.weight[1]
        three_reduce 3: three_reduce.weight[0] three_reduce.bias[0] bn.weight[0] bn.bias[0]
            bn.running_mean[0] bn.running_var[0] three.weight[1]
        three 4: three.weight[0] three.bias[0] head.weight[1]=2,3,4,5
        five_reduce 2: five_reduce.weight[0] five_reduce.bias[0] five.weight[1]
        five 3: five.weight[0] five.bias[0] head.weight[1]=6,7,8
        pooled 2: pooled.weight[0] pooled.bias[0] head.weight[1]=9,10
        head 5: head.weight[0] head.bias[0] fc.weight[1]
    Fixed:
        fc 2/2: the network's output
    """

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 1)
        self.one = nn.Conv2d(4, 2, 1)
        self.three_reduce = nn.Conv2d(4, 3, 1)
        self.bn = nn.BatchNorm2d(3)
        self.three = nn.Conv2d(3, 4, 3, padding=1)
        self.five_reduce = nn.Conv2d(4, 2, 1)
        self.five = nn.Conv2d(2, 3, 5, padding=2)
        self.pooled = nn.Conv2d(4, 2, 1)
        self.head = nn.Conv2d(11, 5, 1)
        self.fc = nn.Linear(5, 2)

    def forward(self, x):
        x = self.stem(x).relu()
        three = self.three(self.bn(self.three_reduce(x)).relu())
        five = self.five(self.five_reduce(x).relu())
        pooled = self.pooled(functional.max_pool2d(x, 3, stride=1, padding=1))
        x = torch.cat([self.one(x), three, five, pooled], 1).relu()
        return self.fc(self.head(x).relu().mean((2, 3)))


class Fire(nn.Module):
    """Two convolutions of one map side by side, as in SqueezeNet and Inception.

    x -> squeeze -> relu -+-> one (1x1) ---> cat -> relu -> head -> fc (after the mean) ->
                          +-> three (3x3) --^

    Groups:
        squeeze 3: squeeze.weight[0] squeeze.bias[0] one.weight[1] three.weight[1]
        one 4: one.weight[0] one.bias[0] head.weight[1]
        three 2: three.weight[0] three.bias[0] head.weight[1]=4,5
        head 5: head.weight[0] head.bias[0] fc.weight[1]
    Fixed:
        fc 2/2: the network's output
    """

    def __init__(self):
        super().__init__()
        self.squeeze = nn.Conv2d(3, 3, 1)
        self.one = nn.Conv2d(3, 4, 1)
        self.three = nn.Conv2d(3, 2, 3, padding=1)
        self.head = nn.Conv2d(6, 5, 1)
        self.fc = nn.Linear(5, 2)

    def forward(self, x):
        x = self.squeeze(x).relu()
        x = torch.cat([self.one(x), self.three(x)], 1).relu()
        return self.fc(self.head(x).mean((2, 3)))


class UNet(nn.Module):
    """Down and up again, with what was before put beside what comes back.

    x -> enter -> relu -+-> pool -> deep -> relu -> up (transposed) -> cat -> leave -> fc (after the
                        mean) -> +----------------------------------------------^

    Groups:
        enter 3: enter.weight[0] enter.bias[0] deep.weight[1] leave.weight[1]=2,3,4
        deep 5: deep.weight[0] deep.bias[0] up.weight[0]
        up 2: up.weight[1] up.bias[0] leave.weight[1]
        leave 4: leave.weight[0] leave.bias[0] fc.weight[1]
    Fixed:
        fc 2/2: the network's output
    """

    def __init__(self):
        super().__init__()
        self.enter = nn.Conv2d(3, 3, 3, padding=1)
        self.deep = nn.Conv2d(3, 5, 3, padding=1)
        self.up = nn.ConvTranspose2d(5, 2, 2, stride=2)
        self.leave = nn.Conv2d(5, 4, 3)
        self.fc = nn.Linear(4, 2)

    def forward(self, x):
        skip = self.enter(x).relu()
        x = self.up(self.deep(functional.max_pool2d(skip, 2)).relu())
        return self.fc(self.leave(torch.cat([x, skip], 1)).relu().mean((2, 3)))


class Stacked(nn.Module):
    """Two maps stacked on an axis of their own and summed with weights: what lies at one place goes
    together.

    x -+-> conv1 -> stack (2, C) -> (* softmax of two numbers) -> sum -> conv3 -> fc (after the
       mean) -> +-> conv2 --^

    Groups:
        conv1 4: conv1.weight[0] conv1.bias[0] conv2.weight[0] conv2.bias[0] conv3.weight[1]
        conv3 5: conv3.weight[0] conv3.bias[0] fc.weight[1]
    Fixed:
        fc 2/2: the network's output
    """

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3, padding=1)
        self.conv2 = nn.Conv2d(3, 4, 1)
        self.mix = nn.Parameter(torch.zeros(2))
        self.conv3 = nn.Conv2d(4, 5, 3)
        self.fc = nn.Linear(5, 2)

    def forward(self, x):
        x = torch.stack([self.conv1(x), self.conv2(x)], 1)
        x = (x * self.mix.softmax(0).view(1, 2, 1, 1, 1)).sum(1)
        return self.fc(self.conv3(x.relu()).mean((2, 3)))


class Rows(nn.Module):
    """Maps laid below each other: their channels meet behind the join; a part of the rows is cut
    off again.

    x -+-> conv1 -> cat over rows -> [:, :, 1:] -> split rows -> first -> conv3 -> fc (after the
       mean) -> +-> conv2 --^

    Groups:
        conv1 4: conv1.weight[0] conv1.bias[0] conv2.weight[0] conv2.bias[0] conv3.weight[1]
        conv3 5: conv3.weight[0] conv3.bias[0] fc.weight[1]
    Fixed:
        fc 2/2: the network's output
    """

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3)
        self.conv2 = nn.Conv2d(3, 4, 3)
        self.conv3 = nn.Conv2d(4, 5, 2)
        self.fc = nn.Linear(5, 2)

    def forward(self, x):
        x = torch.cat([self.conv1(x), self.conv2(x)], 2)[:, :, 1:]
        x = x.split([5, 2], 2)[0] + x.select(3, 0).unsqueeze(3)[:, :, :5]
        return self.fc(self.conv3(x.relu()).mean((2, 3)))


class Repeated(nn.Module):
    """Channels written several times over, in blocks and side by side.

    x -> conv1 (3) -> repeat (2, blocks) -> conv2 (2) -> repeat_interleave (3) -> conv3 -> fc (after
    the mean) ->

    Groups:
        conv1 3: conv1.weight[0] conv1.bias[0] conv2.weight[1]=0+3,1+4,2+5
        conv2 2: conv2.weight[0] conv2.bias[0] conv3.weight[1]=0-2,3-5
        conv3 5: conv3.weight[0] conv3.bias[0] fc.weight[1]
    Fixed:
        fc 2/2: the network's output
    """

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 3, 3)
        self.conv2 = nn.Conv2d(6, 2, 3)
        self.conv3 = nn.Conv2d(6, 5, 1)
        self.fc = nn.Linear(5, 2)

    def forward(self, x):
        x = self.conv2(self.conv1(x).repeat(1, 2, 1, 1)).relu()
        return self.fc(self.conv3(x.repeat_interleave(3, 1)).mean((2, 3)))


class Maxout(nn.Module):
    """The larger of two convolutions, and the larger of two halves.

    x -+-> conv1 -> max -> conv2 (6) -> view (2, 3) -> maximum of the halves -> conv3 -> fc (after
       the mean) -> +-> conv0 --^

    Groups:
        conv0 4: conv0.weight[0] conv0.bias[0] conv1.weight[0] conv1.bias[0] conv2.weight[1]
        conv2 3: conv2.weight[0]=0+3,1+4,2+5 conv2.bias[0]=0+3,1+4,2+5 conv3.weight[1]
        conv3 5: conv3.weight[0] conv3.bias[0] fc.weight[1]
    Fixed:
        fc 2/2: the network's output
    """

    def __init__(self):
        super().__init__()
        self.conv0 = nn.Conv2d(3, 4, 1)
        self.conv1 = nn.Conv2d(3, 4, 1)
        self.conv2 = nn.Conv2d(4, 6, 3)
        self.conv3 = nn.Conv2d(3, 5, 3)
        self.fc = nn.Linear(5, 2)

    def forward(self, x):
        x = self.conv2(torch.max(self.conv0(x), self.conv1(x)))
        n, c, h, w = x.shape
        x = x.view(n, 2, c // 2, h, w)
        return self.fc(self.conv3(torch.maximum(x[:, 0], x[:, 1])).mean((2, 3)))
