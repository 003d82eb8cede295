"""Weights that are computed before a layer reads them."""

import torch
from torch import nn
from torch.nn import functional


class Computed(nn.Module):
    """Weights standardised over their inputs: outputs go, inputs stay; a bias and a layer that are
    never used.

    x -> conv1 -> relu -> conv2d(standardised conv2.weight) -> conv3 -> fc (after the mean) ->

    Groups:
        conv2 5: conv2.weight[0] conv2.bias[0] conv3.weight[1]
        conv3 4: conv3.weight[0] conv3.bias[0] fc.weight[1]
    Fixed:
        conv1 4/4: weights computed across all input channels: aten.conv2d
        fc 2/2: the network's output
        spare 7/7: its weights are not used by any traced convolution
    Rewritten:
        conv1 4: conv1.weight[0] conv1.bias[0] conv2.weight[1]
        conv2 5: conv2.weight[0] conv2.bias[0] conv3.weight[1]
        conv3 4: conv3.weight[0] conv3.bias[0] fc.weight[1]
    Held:
        spare 7/7: its weights are not used by any traced convolution
    """

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3)
        self.conv2 = nn.Conv2d(4, 5, 3)
        self.conv3 = nn.Conv2d(5, 4, 1)
        self.spare = nn.Linear(5, 7)
        self.fc = nn.Linear(4, 2)

    def forward(self, x):
        weight = self.conv2.weight - self.conv2.weight.mean((1, 2, 3), keepdim=True)
        x = functional.conv2d(self.conv1(x).relu(), weight)  # fixes
        return self.fc(self.conv3(x).mean((2, 3)))


class PositiveWeight(nn.Module):
    """Weights put through a function that is not zero at zero: a mask on inputs would not be a cut,
    so they stay.

    x -> conv1 -> relu -> conv2d(exp(weight)) -> conv3 -> fc (after the mean) ->

    Groups:
        weight 5: weight[0] conv3.weight[1]
        conv3 4: conv3.weight[0] conv3.bias[0] fc.weight[1]
    Fixed:
        conv1 4/4: weights computed across all input channels: aten.conv2d
        fc 2/2: the network's output
    Rewritten:
        conv1 4: conv1.weight[0] conv1.bias[0] weight[1]
        weight 5: weight[0] conv3.weight[1]
        conv3 4: conv3.weight[0] conv3.bias[0] fc.weight[1]
    """

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3)
        self.weight = nn.Parameter(torch.randn(5, 4, 3, 3))
        self.conv3 = nn.Conv2d(5, 4, 1)
        self.fc = nn.Linear(4, 2)

    def forward(self, x):
        x = functional.conv2d(self.conv1(x).relu(), self.weight.exp())  # fixes
        return self.fc(self.conv3(x).mean((2, 3)))


class GainedConv(nn.Conv2d):
    """A convolution whose weights are standardised by batch norm's own function, with a gain
    (NFNet's).
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.gain = nn.Parameter(torch.ones(self.out_channels, 1, 1, 1))

    def forward(self, x):
        rows = self.weight.reshape(1, self.out_channels, -1)
        gain = (self.gain * 0.5).view(-1)
        weight = functional.batch_norm(rows, None, None, weight=gain, training=True, momentum=0.0)
        weight = weight.reshape_as(self.weight)
        return functional.conv2d(  # fixes
            x, weight, self.bias, self.stride, self.padding, self.dilation, self.groups
        )


class Standardised(nn.Module):
    """Weights standardised over what each output reads: outputs go, inputs stay; groups go whole.

    x -> conv1 -> relu -> conv2 -> relu -> grouped (4 -> 6, groups=2) -> fc (after the mean) ->

    Groups:
        conv2 2: conv2.weight[0]=0-1,2-3 conv2.gain[0]=0-1,2-3 conv2.bias[0]=0-1,2-3
            grouped.weight[0]=0-2,3-5 grouped.gain[0]=0-2,3-5 grouped.bias[0]=0-2,3-5
            fc.weight[1]=0-2,3-5
    Fixed:
        conv1 5/5: weights computed across all input channels: aten.conv2d
        fc 2/2: the network's output
    Rewritten:
        conv1 5: conv1.weight[0] conv1.bias[0] conv2.weight[1]
        conv2 2: conv2.weight[0]=0-1,2-3 conv2.bias[0]=0-1,2-3 grouped.weight[0]=0-2,3-5
            grouped.bias[0]=0-2,3-5 fc.weight[1]=0-2,3-5
    """

    def __init__(self):
        super().__init__()
        self.conv1 = GainedConv(3, 5, 3)
        self.conv2 = GainedConv(5, 4, 3)
        self.grouped = GainedConv(4, 6, 1, groups=2)
        self.fc = nn.Linear(6, 2)

    def forward(self, x):
        return self.fc(self.grouped(self.conv2(self.conv1(x).relu()).relu()).mean((2, 3)))


class WeightNorm(nn.Module):
    """PyTorch's weight normalisation: each output's row is scaled to a length, so inputs stay and
    outputs go.

    x -> conv1 -> relu -> conv2 (weight norm) -> relu -> fc1 (weight norm, after the mean) -> relu
    -> fc2 ->

    Groups:
        fc1 6: fc1.parametrizations.weight.original1[0] fc1.parametrizations.weight.original0[0]
            fc1#out_features[0] fc1.bias[0] fc2.weight[1]
    Fixed:
        conv1 4/4: weights computed across all input channels: aten.conv2d
        conv2 5/5: weights computed across all input channels: aten.linear
        fc2 2/2: the network's output
    Rewritten:
        conv1 4: conv1.weight[0] conv1.bias[0] conv2.weight[1]
        conv2 5: conv2.weight[0] conv2.bias[0] fc1.weight[1]
        fc1 6: fc1.weight[0] fc1.bias[0] fc2.weight[1]
    """

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3)
        self.conv2 = nn.utils.parametrizations.weight_norm(nn.Conv2d(4, 5, 3))
        self.fc1 = nn.utils.parametrizations.weight_norm(nn.Linear(5, 6))
        self.fc2 = nn.Linear(6, 2)

    def forward(self, x):
        x = self.conv2(self.conv1(x).relu()).relu()  # fixes
        return self.fc2(self.fc1(x.mean((2, 3))).relu())  # fixes


class SpectralNorm(nn.Module):
    """PyTorch's spectral normalisation divides by a number that all weights make: both sides stay.

    x -> conv1 -> relu -> conv2 (spectral norm) -> relu -> conv3 -> fc (after the mean) ->

    Groups:
        conv3 6: conv3.weight[0] conv3.bias[0] fc.weight[1]
    Fixed:
        conv1 4/4: an unsupported operation: aten.mv
        conv2 5/5: an unsupported operation: aten.mv
        fc 2/2: the network's output
    """

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3)
        self.conv2 = nn.utils.parametrizations.spectral_norm(nn.Conv2d(4, 5, 3))
        self.conv3 = nn.Conv2d(5, 6, 1)
        self.fc = nn.Linear(6, 2)

    def forward(self, x):
        x = self.conv2(self.conv1(x).relu())  # fixes
        return self.fc(self.conv3(x.relu()).mean((2, 3)))


class ScaledWeights(nn.Module):
    """Weights times a number (equalised learning rates), times one number an output, times one an
    input.

    x -> conv1 -> relu -> conv2d(weight * 0.3) -> relu -> conv2d(rows * out) -> relu ->
    conv2d(columns * in) -> fc ->

    Groups:
        conv1 4: conv1.weight[0] conv1.bias[0] plain[1]
        plain 5: plain[0] rows[1]
        rows 6: rows[0] out[0] columns[1] entering[1]
        columns 4: columns[0] fc.weight[1]
    Fixed:
        fc 2/2: the network's output
    """

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3)
        self.plain = nn.Parameter(torch.randn(5, 4, 1, 1))
        self.rows = nn.Parameter(torch.randn(6, 5, 1, 1))
        self.out = nn.Parameter(torch.ones(6, 1, 1, 1))
        self.columns = nn.Parameter(torch.randn(4, 6, 1, 1))
        self.entering = nn.Parameter(torch.ones(1, 6, 1, 1))
        self.fc = nn.Linear(4, 2)

    def forward(self, x):
        x = functional.conv2d(self.conv1(x).relu(), self.plain * 0.3).relu()
        x = functional.conv2d(x, self.rows * self.out).relu()
        x = functional.conv2d(x, self.columns * self.entering)
        return self.fc(x.relu().mean((2, 3)))


class RightHand(nn.Module):
    """A parameter (in, out) on the right of a matrix product, and one turned around in front of a
    linear layer.

    x -> conv -> mean -> (@ right) -> relu -> linear(turned transposed) -> relu -> fc ->

    Groups:
        conv 4: conv.weight[0] conv.bias[0] right[0]
        right 5: right[1] turned[0]
        turned 6: turned[1] fc.weight[1]
    Fixed:
        fc 2/2: the network's output
    """

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.right = nn.Parameter(torch.randn(4, 5))
        self.turned = nn.Parameter(torch.randn(5, 6))
        self.fc = nn.Linear(6, 2)

    def forward(self, x):
        x = (self.conv(x).mean((2, 3)) @ self.right).relu()
        return self.fc(functional.linear(x, self.turned.t()).relu())


class TiedDecoder(nn.Module):
    """One weight read by a convolution and, transposed, by the one that undoes it: what both touch
    goes together.

    x -> stem -> relu -> conv -> relu -> conv_transpose2d(conv.weight) -> head -> fc (after the
    mean) ->

    Groups:
        stem 4: stem.weight[0] stem.bias[0] conv.weight[1] head.weight[1]
        conv 5: conv.weight[0] conv.bias[0]
        head 3: head.weight[0] head.bias[0] fc.weight[1]
    Fixed:
        fc 2/2: the network's output
    """

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3)
        self.conv = nn.Conv2d(4, 5, 2)
        self.head = nn.Conv2d(4, 3, 1)
        self.fc = nn.Linear(3, 2)

    def forward(self, x):
        x = functional.conv_transpose2d(self.conv(self.stem(x).relu()).relu(), self.conv.weight)
        return self.fc(self.head(x).mean((2, 3)))


class TwiceWeighted(nn.Module):
    """A layer with a normalised weight that is called twice, and one whose weight is a sum of
    parts.

    x -> stem (4) -> relu -> loop (weight norm, 4) -> relu -> loop -> relu -> conv2d(large + down x
    up) -> fc1 -> fc2 ->

    Groups:
        fc1 6: fc1.weight[0] fc1.bias[0] fc2.weight[1]
    Fixed:
        stem 4/4: weights computed across all input channels: aten.conv2d
        loop 4/4: weights computed across all input channels: aten.conv2d
        large 5/5: a tensor computed from parameters: aten.matmul
        fc2 2/2: the network's output
    Rewritten:
        stem 4: stem.weight[0] stem.bias[0] loop.weight[0] loop.bias[0] loop.weight[1] large[1]
        large 5: large[0] fc1.weight[1]
        fc1 6: fc1.weight[0] fc1.bias[0] fc2.weight[1]
    """

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3)
        self.loop = nn.utils.parametrizations.weight_norm(nn.Conv2d(4, 4, 3, padding=1))
        self.large = nn.Parameter(torch.randn(5, 4, 1, 1))
        self.down = nn.Parameter(torch.randn(5, 2))
        self.up = nn.Parameter(torch.randn(2, 4))
        self.fc1 = nn.Linear(5, 6)
        self.fc2 = nn.Linear(6, 2)

    def forward(self, x):
        x = self.loop(self.loop(self.stem(x).relu()).relu()).relu()  # fixes
        x = functional.conv2d(x, self.large + (self.down @ self.up)[:, :, None, None])  # fixes
        return self.fc2(self.fc1(x.mean((2, 3))).relu())


class WeightParts(nn.Module):
    """One weight whose four parts are layers of their own, as in octave convolutions: the numbers
    that cut it fix it.

    x -> conv1 -+-> conv2d(weight[:2, :3]) -+-> cat with the same of weight[2:, :3], weight[2:, 3:]
    -> x -> conv2 -+-> conv2d(weight[:2, 3:]) -+ (added)         relu -> conv3 -> fc (after the
    mean) ->

    Groups:
        conv3 4: conv3.weight[0] conv3.bias[0] fc.weight[1]
    Fixed:
        conv1 3/3: hard-coded channel indices: aten.slice
        conv2 2/2: hard-coded channel indices: aten.slice
        weight 5/5: hard-coded channel indices: aten.slice
        fc 2/2: the network's output
    Rewritten:
        conv1 3: conv1.weight[0] conv1.bias[0] weight[1]
        conv2 2: conv2.weight[0] conv2.bias[0] weight[1]=3,4
        weight 2: weight[0] bias[0] conv3.weight[1]
        weight#2 3: weight[0]=2,3,4 bias[0]=2,3,4 conv3.weight[1]=2,3,4
        conv3 4: conv3.weight[0] conv3.bias[0] fc.weight[1]
    """

    def __init__(self):
        super().__init__()
        self.conv1, self.conv2, self.conv3 = (
            nn.Conv2d(3, 3, 3),
            nn.Conv2d(3, 2, 3),
            nn.Conv2d(5, 4, 3),
        )
        self.fc = nn.Linear(4, 2)
        self.weight, self.bias = nn.Parameter(torch.randn(5, 5, 1, 1)), nn.Parameter(torch.randn(5))

    def forward(self, x):
        first, second = self.conv1(x).relu(), self.conv2(x).relu()
        high = functional.conv2d(first, self.weight[:2, :3], self.bias[:2])  # fixes
        high = high + functional.conv2d(second, self.weight[:2, 3:])
        low = functional.conv2d(first, self.weight[2:, :3], self.bias[2:])
        low = low + functional.conv2d(second, self.weight[2:, 3:])
        return self.fc(self.conv3(torch.cat([high, low], 1).relu()).mean((2, 3)))
