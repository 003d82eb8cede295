"""Networks made of random blocks: each block is a pattern, written so that it takes whatever comes
before it.
"""

import torch
from torch import nn
from torch.nn import functional

SIZE = (3, 8, 8)


def divisor(number, wish):
    """A divisor of `number`, chosen by `wish`."""
    divisors = [part for part in range(1, number + 1) if number % part == 0]
    return divisors[wish % len(divisors)]


def norm_of(kind, width):
    """A norm over `width` channels; kind 5 is none."""
    groups = divisor(width, 1 + kind)
    makers = (
        lambda: nn.BatchNorm2d(width),
        lambda: nn.GroupNorm(groups, width),
        lambda: nn.InstanceNorm2d(width, affine=True),
        lambda: nn.InstanceNorm2d(width),
        lambda: nn.PReLU(width),
        nn.Identity,
    )
    return makers[kind % len(makers)]()


class Block(nn.Module):
    """A block for maps of `width` channels and side `side`; `a`, `b` and `c` are its random
    numbers.
    """

    def __init__(self, width, side, a, b, c):
        super().__init__()
        self.width, self.out, self.side = width, width, side
        self.build(2 + a, b, c)

    def conv(self, entering, leaving, size=3, **options):
        return nn.Conv2d(entering, leaving, size, padding=size // 2, **options)


class Conv(Block):
    def build(self, a, b, c):
        self.out = a
        self.body = self.conv(self.width, a, 1 + 2 * (b % 2), bias=b % 3 > 0)
        self.norm = norm_of(c, a)

    def forward(self, x):
        return self.norm(self.body(x)).relu()


class Residual(Block):
    def build(self, a, b, c):
        self.first, self.norm = self.conv(self.width, a), norm_of(b, a)
        self.second, self.after = self.conv(a, self.width, 1), norm_of(c, self.width)

    def forward(self, x):
        return (x + self.after(self.second(self.norm(self.first(x)).relu()))).relu()


class Projection(Block):
    def build(self, a, b, _c):
        self.out = a
        self.body, self.side_way = self.conv(self.width, a), self.conv(self.width, a, 1)
        self.norm = norm_of(b, a)

    def forward(self, x):
        return self.norm(self.body(x)).sigmoid() + self.side_way(x)


class Padded(Block):
    """Option A: the shortcut has every second position, and zeros for the channels that it
    lacks.
    """

    def build(self, a, b, _c):
        self.before, self.behind = a % 3, b % 3
        self.out = self.before + self.width + self.behind
        self.stride = 2 if self.side > 2 else 1
        self.body = self.conv(self.width, self.out, stride=self.stride)
        self.side = self.side // self.stride

    def forward(self, x):
        shortcut = functional.pad(
            x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.before, self.behind)
        )
        return (self.body(x).relu() + shortcut).relu()


class Dense(Block):
    def build(self, a, b, _c):
        self.out = self.width + a
        self.norm, self.body = norm_of(b, self.width), self.conv(self.width, a)

    def forward(self, x):
        return torch.cat([x, self.body(self.norm(x).relu())], 1)


class Parallel(Block):
    def build(self, a, b, _c):
        self.out = a + 2 + b
        self.one, self.three = self.conv(self.width, a, 1), self.conv(self.width, 2 + b, 3)

    def forward(self, x):
        return torch.cat([self.one(x), self.three(x).tanh()], 1)


class Gate(Block):
    def build(self, a, b, _c):
        self.flat = b % 2
        make = nn.Linear if self.flat else lambda one, other: nn.Conv2d(one, other, 1)
        self.reduce, self.expand = make(self.width, a), make(a, self.width)

    def forward(self, x):
        pooled = x.mean((2, 3)) if self.flat else functional.adaptive_avg_pool2d(x, 1)
        gate = functional.hardsigmoid(self.expand(self.reduce(pooled).relu()))
        return x * (gate[:, :, None, None] if self.flat else gate)


class Map(Block):
    def build(self, _a, b, _c):
        self.map, self.stretch = self.conv(self.width, 1), b % 2

    def forward(self, x):
        gate = self.map(x).sigmoid()
        return x * (gate.expand_as(x) if self.stretch else gate)


class Depthwise(Block):
    def build(self, _a, b, c):
        self.out = self.width * (1 + b % 2)
        self.body = self.conv(self.width, self.out, groups=self.width, bias=c % 2 > 0)
        self.norm = norm_of(c, self.out)

    def forward(self, x):
        return functional.relu6(self.norm(self.body(x)))


class Grouped(Block):
    def build(self, a, b, c):
        groups = divisor(self.width, b)
        self.out = groups * (1 + a % 3)
        self.body, self.norm = self.conv(self.width, self.out, groups=groups), norm_of(c, self.out)

    def forward(self, x):
        return self.norm(self.body(x)).relu()


class CrossStage(Block):
    def build(self, a, _b, c):
        self.first = self.conv(self.width, 2 * a, 1)
        self.middle, self.norm = self.conv(a, a), norm_of(c, a)
        self.out = 3 * a

    def forward(self, x):
        parts = list(self.first(x).relu().chunk(2, 1))
        parts.append(parts[-1] + self.norm(self.middle(parts[-1])))
        return torch.cat(parts, 1)


class HalfWorked(Block):
    def build(self, a, b, _c):
        self.first = self.conv(self.width, 2 * a, 1)
        self.branch, self.rows = self.conv(a, a, groups=divisor(a, b)), divisor(a, b)
        self.out = 2 * a

    def forward(self, x):
        a, b = self.first(x).chunk(2, 1)
        x = torch.cat([a, self.branch(b).relu()], 1)
        n, c, h, w = x.shape
        return x.view(n, self.rows, c // self.rows, h, w).transpose(1, 2).reshape(n, c, h, w)


class Shuffle(Block):
    def build(self, a, _b, _c):
        self.body = nn.ChannelShuffle(divisor(self.width, a))

    def forward(self, x):
        return self.body(x)


class Gated(Block):
    def build(self, a, _b, _c):
        self.out, self.body = a, self.conv(self.width, 2 * a)

    def forward(self, x):
        return functional.glu(self.body(x), 1)


class Larger(Block):
    def build(self, a, _b, _c):
        self.out, self.one, self.other = a, self.conv(self.width, a, 1), self.conv(self.width, a)

    def forward(self, x):
        return torch.max(self.one(x), self.other(x))


class Pool(Block):
    def build(self, a, _b, _c):
        self.kind = a % 3 if self.side > 2 else 3
        self.side = self.side // 2 if self.side > 2 else 2 * self.side

    def forward(self, x):
        if self.kind == 3:
            return functional.interpolate(x, scale_factor=2, mode="nearest")
        if self.kind == 2:
            return functional.avg_pool2d(
                functional.pad(x, (1, 1, 1, 1), mode="reflect"), 4, stride=2
            )
        return (functional.max_pool2d if self.kind else functional.avg_pool2d)(x, 2)


class Pixels(Block):
    def build(self, a, _b, _c):
        if self.side > 2:
            self.body, self.out, self.side = nn.PixelUnshuffle(2), 4 * self.width, self.side // 2
        else:
            self.body, self.out = nn.Sequential(self.conv(self.width, 4 * a), nn.PixelShuffle(2)), a
            self.side = 2 * self.side

    def forward(self, x):
        return self.body(x)


class Transposed(Block):
    def build(self, a, b, c):
        groups = divisor(self.width, b)
        self.out = groups * (1 + a % 3) if c % 2 else a
        self.body = nn.ConvTranspose2d(
            self.width, self.out, 3, padding=1, groups=groups if c % 2 else 1
        )

    def forward(self, x):
        return self.body(x).relu()


class Scale(Block):
    def build(self, _a, b, _c):
        self.gamma = nn.Parameter(
            torch.ones(self.width, 1, 1) if b % 2 else torch.ones(1, self.width, 1, 1)
        )
        self.position = nn.Parameter(torch.ones(1, self.width, self.side, self.side))

    def forward(self, x):
        return x * self.gamma + self.position


class Standardised(Block):
    def build(self, a, b, _c):
        groups = divisor(self.width, b)
        self.out = groups * (1 + a % 3)
        self.body = self.conv(self.width, self.out, groups=groups)

    def forward(self, x):
        weight = self.body.weight
        weight = weight - weight.mean((1, 2, 3), keepdim=True)
        return functional.conv2d(
            x, weight, self.body.bias, padding=1, groups=self.body.groups
        ).relu()


class Parametrised(Block):
    def build(self, a, b, c):
        groups = divisor(self.width, b) if c % 2 else 1
        self.out = groups * a
        self.body = nn.utils.parametrizations.weight_norm(
            self.conv(self.width, groups * a, groups=groups)
        )

    def forward(self, x):
        return self.body(x).relu()


class Attention(Block):
    def build(self, a, b, _c):
        self.q, self.k, self.v = (
            nn.Conv2d(self.width, width, 1) for width in (2 + b % 2, 2 + b % 2, a)
        )
        self.back = nn.Conv2d(a, self.width, 1)

    def forward(self, x):
        q, k, v = (layer(x).flatten(2) for layer in (self.q, self.k, self.v))
        places = (q.transpose(1, 2) @ k).softmax(-1)
        return x + self.back((v @ places.transpose(1, 2)).view(*v.shape[:2], *x.shape[2:]))


class Tokens(Block):
    def build(self, a, b, _c):
        self.norm = nn.LayerNorm(self.width) if b % 2 else nn.Identity()
        self.up, self.down = nn.Linear(self.width, a), nn.Linear(a, self.width)

    def forward(self, x):
        inner = self.down(functional.gelu(self.up(self.norm(x.permute(0, 2, 3, 1)))))
        return x + inner.permute(0, 3, 1, 2)


class Twice(Block):
    def build(self, _a, b, _c):
        self.body, self.norm = self.conv(self.width, self.width), norm_of(b, self.width)

    def forward(self, x):
        for _ in range(2):
            x = self.norm(self.body(x)).relu()
        return x


class Counted(Block):
    """Channels that the code counts, or mixes: they stay."""

    def build(self, a, b, _c):
        self.kind, self.part = b % 4, 1 + a % self.width
        self.out = self.part if self.kind == 0 else self.width

    def forward(self, x):
        if self.kind == 0:
            return x[:, : self.part]
        if self.kind == 1:
            return x.softmax(1)
        if self.kind == 2:
            return x.roll(1, 1)
        return x * x.square().mean(1, keepdim=True).add(1).rsqrt()


class Repeated(Block):
    def build(self, _a, b, _c):
        self.blocks, self.out = b % 2, 2 * self.width

    def forward(self, x):
        return x.repeat(1, 2, 1, 1) if self.blocks else x.repeat_interleave(2, 1)


BLOCKS = (
    Conv, Residual, Projection, Padded, Dense, Parallel, Gate, Map, Depthwise, Grouped, CrossStage,
    HalfWorked, Shuffle, Gated, Larger, Pool, Pixels, Transposed, Scale, Standardised, Parametrised,
    Attention, Tokens, Twice, Counted,
    Repeated,
)  # fmt: skip
WIDEST, ASKED = 24, 4


class Generated(nn.Module):
    """Blocks one behind the other, from rows (block, a, b, c) of whole numbers, and a classifier on
    what is left.

    With `asked` it takes a vector beside the image, whose features are laid on the stem's, and
    answers with both.
    """

    def __init__(self, rows, flat, asked):
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, padding=1)
        self.asked = nn.Linear(ASKED, 6) if asked else None
        self.blocks = nn.ModuleList()
        width, side = 6, SIZE[1]
        for kind, a, b, c in rows:
            if width > WIDEST:
                kind = Conv  # noqa: PLW2901
            block = kind(width, side, a, b, c)
            self.blocks.append(block)
            width, side = block.out, block.side
        self.flat = flat
        self.fc = nn.Linear(width * side**2 if flat else width, 3)

    def forward(self, x, vector=None):
        x = self.stem(x)
        if self.asked is not None:
            features = self.asked(vector).relu()
            x = x + features[:, :, None, None]
        for block in self.blocks:
            x = block(x)
        answer = self.fc(x.flatten(1) if self.flat else x.mean((2, 3)))
        return answer if self.asked is None else {"answer": answer, "features": features.sum(1)}
