"""Products of activations."""

import torch
from torch import nn
from torch.nn import functional


class NonLocal(nn.Module):
    """Attention over places: what queries and keys sum over stays, the values' channels pass
    through.

    x -> stem -+-> q -> (N, L, 2) -> bmm -> softmax -> bmm -> (N, 4, H, W) -> out -> (+) -> fc
               (after the mean) -> +-> k -> (N, 2, L) --^                  ^
               ^ +-> v -> (N, 4, L) ---------------------+                              |
               +----------------------------------------------------------------------+

    Groups:
        stem 5: stem.weight[0] stem.bias[0] q.weight[1] k.weight[1] v.weight[1] out.weight[0]
            out.bias[0] fc.weight[1]
        v 4: v.weight[0] v.bias[0] out.weight[1]
    Fixed:
        q 2/2: a product of activations summed over channels: aten.bmm
        k 2/2: a product of activations summed over channels: aten.bmm
        fc 2/2: the network's output
    """

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 5, 3)
        self.q = nn.Conv2d(5, 2, 1)
        self.k = nn.Conv2d(5, 2, 1)
        self.v = nn.Conv2d(5, 4, 1)
        self.out = nn.Conv2d(4, 5, 1)
        self.fc = nn.Linear(5, 2)

    def forward(self, x):
        x = self.stem(x)
        n, _, h, w = x.shape
        q, k, v = self.q(x).flatten(2).transpose(1, 2), self.k(x).flatten(2), self.v(x).flatten(2)
        places = torch.bmm(q, k).softmax(2)  # fixes
        seen = torch.bmm(v, places.transpose(1, 2)).view(n, -1, h, w)
        return self.fc((x + self.out(seen)).mean((2, 3)))


class ScaledDot(nn.Module):
    """The same in PyTorch's own function, on tokens.

    x -> patch -> tokens (N, L, 4) -+-> q -> attention -> out -> (+) -> fc (after the mean) ->
                                    +-> k ---^                    ^
                                    +-> v ---^                    |
                                    +-----------------------------+

    Groups:
        patch 4: patch.weight[0] patch.bias[0] q.weight[1] k.weight[1] v.weight[1] out.weight[0]
            out.bias[0] fc.weight[1]
        v 6: v.weight[0] v.bias[0] out.weight[1]
    Fixed:
        q 3/3: a product of activations summed over channels: aten.scaled_dot_product_attention
        k 3/3: a product of activations summed over channels: aten.scaled_dot_product_attention
        fc 2/2: the network's output
    """

    def __init__(self):
        super().__init__()
        self.patch = nn.Conv2d(3, 4, 2, stride=2)
        self.q, self.k, self.v = nn.Linear(4, 3), nn.Linear(4, 3), nn.Linear(4, 6)
        self.out = nn.Linear(6, 4)
        self.fc = nn.Linear(4, 2)

    def forward(self, x):
        x = self.patch(x).flatten(2).transpose(1, 2)
        seen = functional.scaled_dot_product_attention(self.q(x), self.k(x), self.v(x))  # fixes
        return self.fc((x + self.out(seen)).mean(1))


class FusedHeads(nn.Module):
    """Queries, keys and values from one layer, in two heads: they stay together; the hidden width
    behind them goes.

    x -> patch -> tokens (N, L, 4) -+-> qkv (12) -> (3, 2 heads, 2) -> attention -> out -> (+) ->
                                    fc1 -> fc2 -> fc ->
                                    +------------------------------------------------------^

    Groups:
        patch 4: patch.weight[0] patch.bias[0] qkv.weight[1] out.weight[0] out.bias[0] fc1.weight[1]
        fc1 6: fc1.weight[0] fc1.bias[0] fc2.weight[1]
        fc2 3: fc2.weight[0] fc2.bias[0] fc.weight[1]
    Fixed:
        qkv 12/12: a product of activations summed over channels: aten.scaled_dot_product_attention
        fc 2/2: the network's output
    """

    def __init__(self):
        super().__init__()
        self.patch = nn.Conv2d(3, 4, 2, stride=2)
        self.qkv = nn.Linear(4, 12)
        self.out = nn.Linear(4, 4)
        self.fc1 = nn.Linear(4, 6)
        self.fc2 = nn.Linear(6, 3)
        self.fc = nn.Linear(3, 2)

    def forward(self, x):
        x = self.patch(x).flatten(2).transpose(1, 2)
        n, places, _ = x.shape
        q, k, v = self.qkv(x).reshape(n, places, 3, 2, 2).permute(2, 0, 3, 1, 4).unbind(0)
        seen = functional.scaled_dot_product_attention(q, k, v)  # fixes
        x = x + self.out(seen.transpose(1, 2).reshape(n, places, -1))
        return self.fc(self.fc2(functional.gelu(self.fc1(x))).mean(1))


class OwnMaps(nn.Module):
    """Attention between the rows of every channel's own map: a channel is a head, and whole heads
    go.

    x -> stem -+-> q (depthwise) -> attention over rows -> conv -> fc (after the mean) ->
               +-> k (depthwise) ----^
               +-> v (depthwise) ----^

    Groups:
        stem 4: stem.weight[0] stem.bias[0] q.weight[0] q.bias[0] k.weight[0] k.bias[0] v.weight[0]
            v.bias[0] conv.weight[1]
        conv 5: conv.weight[0] conv.bias[0] fc.weight[1]
    Fixed:
        fc 2/2: the network's output
    """

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.q = nn.Conv2d(4, 4, 3, padding=1, groups=4)
        self.k = nn.Conv2d(4, 4, 3, padding=1, groups=4)
        self.v = nn.Conv2d(4, 4, 3, padding=1, groups=4)
        self.conv = nn.Conv2d(4, 5, 1)
        self.fc = nn.Linear(5, 2)

    def forward(self, x):
        x = self.stem(x)
        x = functional.scaled_dot_product_attention(self.q(x), self.k(x), self.v(x))
        return self.fc(self.conv(x).mean((2, 3)))


class Bilinear(nn.Module):
    """Every channel times every other, laid out in front of a linear layer: all of them stay.

    x -> conv1 -> conv2 (3) -> (3, 1) * (1, 3) -> (9) -> fc1 -> relu -> fc2 ->

    Groups:
        conv1 4: conv1.weight[0] conv1.bias[0] conv2.weight[1]
        fc1 5: fc1.weight[0] fc1.bias[0] fc2.weight[1]
    Fixed:
        conv2 3/3: one value broadcast to several channels: aten.mul.Tensor
        fc2 2/2: the network's output
    """

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3)
        self.conv2 = nn.Conv2d(4, 3, 3)
        self.fc1 = nn.Linear(9, 5)
        self.fc2 = nn.Linear(5, 2)

    def forward(self, x):
        x = self.conv2(self.conv1(x).relu()).mean((2, 3))
        x = x.unsqueeze(2) * x.unsqueeze(1)  # fixes
        return self.fc2(self.fc1(x.flatten(1)).relu())


class Einsum(nn.Module):
    """A product of activations in index notation that sums over channels: what enters it stays.

    x -> conv1 -> conv2 -+-> bchw,bc->bhw -> conv3 -> fc (after the mean) ->
                         +-> mean --^

    Groups:
        conv1 4: conv1.weight[0] conv1.bias[0] conv2.weight[1]
        conv3 5: conv3.weight[0] conv3.bias[0] fc.weight[1]
    Fixed:
        conv2 3/3: a product of activations summed over channels: aten.einsum
        fc 2/2: the network's output
    """

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3)
        self.conv2 = nn.Conv2d(4, 3, 1)
        self.conv3 = nn.Conv2d(1, 5, 3)
        self.fc = nn.Linear(5, 2)

    def forward(self, x):
        x = self.conv2(self.conv1(x).relu())
        x = torch.einsum("bchw,bc->bhw", x, x.mean((2, 3))).unsqueeze(1)  # fixes
        return self.fc(self.conv3(x).mean((2, 3)))
