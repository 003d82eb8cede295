"""Weights that are parameters of their own, read by products instead of layers."""

import torch
from torch import nn


def _weight(*shape):
    return nn.Parameter(torch.randn(shape) / 2)


class EinsumWeight(nn.Module):
    """A pointwise convolution in index notation, a weight that stands first, one that sums over
    positions too.

    x -> conv -> bchw,oc -> relu -> kc,bchw -> relu -> bchw,chwo -> fc ->

    Groups:
        conv 4: conv.weight[0] conv.bias[0] mix[1]
        mix 5: mix[0] first[1]
        first 6: first[0] pool[0]
        pool 3: pool[3] fc.weight[1]
    Fixed:
        fc 2/2: the network's output
    """

    def __init__(self):
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 4, 3), nn.Linear(3, 2)
        self.mix, self.first, self.pool = _weight(5, 4), _weight(6, 5), _weight(6, 4, 4, 3)

    def forward(self, x):
        x = torch.einsum("bchw,oc->bohw", self.conv(x), self.mix).relu()
        x = torch.einsum("kc,bchw->bkhw", self.first, x).relu()
        return self.fc(torch.einsum("bchw,chwo", x, self.pool).relu())


class MatrixWeights(nn.Module):
    """Products with a parameter on the right and on the left, turned before, with a bias, and along
    named axes.

    x -> conv -> w @ x -> relu -> x @ w -> relu -> addmm -> relu -> tensordot -> relu -> @ w.T -> fc
    ->

    Groups:
        conv 4: conv.weight[0] conv.bias[0] left[1]
        left 5: left[0] right[0]
        right 6: right[1] added[0]
        bias 4: bias[0] added[1] named[0]
        named 3: named[1] turned[1]
        turned 5: turned[0] fc.weight[1]
    Fixed:
        fc 2/2: the network's output
    """

    def __init__(self):
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 4, 3), nn.Linear(5, 2)
        self.left, self.right, self.added = _weight(5, 4), _weight(5, 6), _weight(6, 4)
        self.bias, self.named, self.turned = _weight(4), _weight(4, 3), _weight(5, 3)

    def forward(self, x):
        x = (self.left @ self.conv(x).flatten(2)).relu()
        x = (x.mean(2) @ self.right).relu()
        x = torch.addmm(self.bias, x, self.added).relu()
        x = torch.tensordot(x, self.named, ([1], [0])).relu()
        return self.fc((x @ self.turned.t()).relu())


class Heads(nn.Module):
    """A weight with an axis of heads and one of their widths: heads go whole, on the way in and on
    the way out.

    x -> conv -> mean -> bc,chd -> relu -> bhd,hdo -> relu -> fc ->

    Groups:
        conv 4: conv.weight[0] conv.bias[0] into[0]
        into 3: into[1] out[0]
        out 5: out[2] fc.weight[1]
    Fixed:
        fc 2/2: the network's output
    """

    def __init__(self):
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 4, 3), nn.Linear(5, 2)
        self.into, self.out = _weight(4, 3, 2), _weight(3, 2, 5)

    def forward(self, x):
        x = torch.einsum("bc,chd->bhd", self.conv(x).mean((2, 3)), self.into).relu()
        return self.fc(torch.einsum("bhd,hdo->bo", x, self.out).relu())


class EinsumPasses(nn.Module):
    """A weight that mixes positions, one of a channel alone, and a product of activations: channels
    pass.

    x -> conv -> bchw,hk -> bckw,ck -> relu -+-> bchw,bkw -> fc (after the mean) ->
                                    mean --^

    Groups:
        conv 4: conv.weight[0] conv.bias[0] own[0] fc.weight[1]
    Fixed:
        mean 1/1: one value broadcast to several channels
        fc 2/2: the network's output
    """

    def __init__(self):
        super().__init__()
        self.conv, self.mean, self.fc = nn.Conv2d(3, 4, 3), nn.Conv2d(3, 1, 3), nn.Linear(4, 2)
        self.mix, self.own = _weight(4, 5), _weight(4, 5)

    def forward(self, x):
        y = self.mean(x)[:, 0, :3]
        x = torch.einsum("bchw,hk->bckw", self.conv(x), self.mix)
        x = torch.einsum("bckw,ck->bckw", x, self.own).relu()
        return self.fc(torch.einsum("bchw,bkw->bchk", x, y).mean((2, 3)))  # fixes


class AttentionByEinsum(nn.Module):
    """Attention in index notation: the values' channels pass, those of queries and keys are summed
    over and stay.

    x -> conv -+-> q --> bcn,bcm -> softmax -> bnm,bcm -> fc (after the mean) ->
               +-> k --^                        ^
               +-> v ---------------------------+

    Groups:
        conv 4: conv.weight[0] conv.bias[0] q.weight[1] k.weight[1] v.weight[1]
        v 5: v.weight[0] v.bias[0] fc.weight[1]
    Fixed:
        q 3/3: a product of activations summed over channels: aten.einsum
        k 3/3: a product of activations summed over channels: aten.einsum
        fc 2/2: the network's output
    """

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.q, self.k, self.v = nn.Conv2d(4, 3, 1), nn.Conv2d(4, 3, 1), nn.Conv2d(4, 5, 1)
        self.fc = nn.Linear(5, 2)

    def forward(self, x):
        x = self.conv(x).relu()
        q, k, v = self.q(x).flatten(2), self.k(x).flatten(2), self.v(x).flatten(2)
        scores = torch.einsum("bcn,bcm->bnm", q, k).softmax(2)  # fixes
        return self.fc(torch.einsum("bnm,bcm->bcn", scores, v).mean(2))


class TwoWays(nn.Module):
    """A weight that one product reads along its channels and another as positions: it stays whole.

    x -> conv1 -> mean -> bc,co -> relu -> fc ->
    x -> conv2 -> bchw,wo -> mean --------^ (added)

    Groups:
        conv2 3: conv2.weight[0] conv2.bias[0] fc2.weight[1]
    Fixed:
        conv1 4/4: channels spread over more than one axis: aten.einsum
        shared 4/4: channels spread over more than one axis: aten.einsum
        fc1 2/2: the network's output
        fc2 2/2: the network's output
    """

    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 4, 3), nn.Conv2d(3, 3, 3)
        self.fc1, self.fc2 = nn.Linear(4, 2), nn.Linear(3, 2)
        self.shared = _weight(4, 4)

    def forward(self, x):
        first = torch.einsum("bc,co->bo", self.conv1(x).mean((2, 3)), self.shared).relu()
        second = torch.einsum("bchw,wo->bcho", self.conv2(x), self.shared)  # fixes
        return self.fc1(first) + self.fc2(second.mean((2, 3)))
