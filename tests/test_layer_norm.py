"""Layer norms over channels: hidden widths between two linear layers go exactly, whatever norm
stands around them.
"""

import pytest
import torch
from torch import nn
from torch.nn import functional

from slimmer.pipeline.job import examine
from slimmer.pruning.apply import prune
from slimmer.pruning.masks import Masked, hard_mask
from slimmer.pruning.plan import make_plan
from slimmer.pruning.slim_file import Identity

WIDTH, HIDDEN, TOKENS = 8, 12, 4
SIZE = (3, 4, 4)


class Tokens(nn.Module):
    """Four patches as tokens, a mixer in the middle, a norm and a head."""

    def __init__(self, middle):
        super().__init__()
        self.patch = nn.Conv2d(3, WIDTH, 2, 2)
        self.middle = middle
        self.norm = nn.LayerNorm(WIDTH)
        self.head = nn.Linear(WIDTH, 5)

    def forward(self, x):
        x = self.middle(self.patch(x).flatten(2).transpose(1, 2))
        return self.head(self.norm(x).mean(1))


class Around(nn.Module):
    """x + inside(norm(x)), or norm(x + inside(x))."""

    def __init__(self, inside, norm, behind=False):
        super().__init__()
        self.inside, self.norm, self.behind = inside, norm, behind

    def forward(self, x):
        return self.norm(x + self.inside(x)) if self.behind else x + self.inside(self.norm(x))


class Gated(nn.Module):
    """Two linear layers side by side, one the gate of the other; or one of twice the width, in
    halves.
    """

    def __init__(self, packed):
        super().__init__()
        self.packed = packed
        self.up = nn.Linear(WIDTH, 2 * HIDDEN if packed else HIDDEN)
        self.gate = None if packed else nn.Linear(WIDTH, HIDDEN)
        self.down = nn.Linear(HIDDEN, WIDTH)

    def forward(self, x):
        value, gate = self.up(x).chunk(2, -1) if self.packed else (self.up(x), self.gate(x))
        return self.down(value * functional.silu(gate))


class OverTokens(nn.Module):
    """An MLP over the tokens, each channel for itself (a mixer's)."""

    def __init__(self):
        super().__init__()
        self.mlp = mlp(TOKENS)

    def forward(self, x):
        return self.mlp(x.transpose(1, 2)).transpose(1, 2)


def mlp(width=WIDTH):
    return nn.Sequential(
        nn.Linear(width, HIDDEN), nn.GELU(), nn.Dropout(), nn.Linear(HIDDEN, width)
    )


NETWORKS = {
    "before": lambda: Tokens(Around(mlp(), nn.LayerNorm(WIDTH))),
    "behind": lambda: Tokens(Around(mlp(), nn.LayerNorm(WIDTH), behind=True)),
    "root mean square": lambda: Tokens(Around(mlp(), nn.RMSNorm(WIDTH))),
    "gated": lambda: Tokens(Around(Gated(packed=False), nn.LayerNorm(WIDTH))),
    "gated, packed": lambda: Tokens(Around(Gated(packed=True), nn.LayerNorm(WIDTH))),
    "over tokens": lambda: Tokens(Around(OverTokens(), nn.LayerNorm(WIDTH))),
    "PyTorch's encoder": lambda: Tokens(
        nn.TransformerEncoderLayer(WIDTH, 2, HIDDEN, batch_first=True)
    ),
    "PyTorch's encoder, norm first": lambda: Tokens(
        nn.TransformerEncoderLayer(WIDTH, 2, HIDDEN, batch_first=True, norm_first=True)
    ),
    "linear layers alone": lambda: nn.Sequential(
        *(
            nn.Flatten(),
            nn.LayerNorm(48),
            nn.Linear(48, HIDDEN),
            nn.ReLU(),
            nn.Linear(HIDDEN, WIDTH),
        ),
        *(nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 5)),
    ),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_the_hidden_width_between_two_linear_layers_goes_exactly(name):
    torch.manual_seed(0)
    model = NETWORKS[name]().eval().double()
    graph = examine(model, Identity("", 5, SIZE))[1]
    assert [group.size for group in graph.groups] == [HIDDEN]
    plan = make_plan(graph, {graph.groups[0].name: (0, 3, 4, 11)})
    slim, x = prune(model, plan), torch.rand(2, *SIZE, dtype=torch.float64)
    fewer = sum(p.numel() for p in model.parameters()) - sum(p.numel() for p in slim.parameters())
    pairs = {"gated": 2, "gated, packed": 2}.get(
        name, 1
    )  # layers that make a hidden channel; one reads it
    entering = {"over tokens": TOKENS, "linear layers alone": 48}.get(name, WIDTH)
    leaving = TOKENS if name == "over tokens" else WIDTH
    assert fewer == (HIDDEN - 4) * (pairs * (entering + 1) + leaving)
    with torch.no_grad():
        assert torch.allclose(
            slim(x), Masked(model, graph, hard_mask(plan, x.dtype))(x), rtol=1e-12, atol=1e-12
        )


def test_what_a_layer_norm_takes_statistics_of_stays_since_fewer_channels_have_others():
    torch.manual_seed(0)
    model = (
        nn.Sequential(nn.Flatten(), nn.Linear(48, WIDTH), nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 5))
        .eval()
        .double()
    )
    graph = examine(model, Identity("", 5, SIZE))[1]
    assert graph.groups == ()
    assert [row.reason.partition(":")[0] for row in graph.fixed] == [
        "normalization statistics over several channels",
        "the network's output",
    ]
    x = torch.rand(2, *SIZE, dtype=torch.float64)
    with torch.no_grad():
        hidden = model[1](x.flatten(1))
        masked = model[3](
            model[2](hidden) * torch.tensor([1.0] * 7 + [0])
        )  # without its last channel
        cut = functional.layer_norm(hidden[:, :7], (7,), model[2].weight[:7], model[2].bias[:7])
        assert not torch.allclose(model[3](functional.pad(cut, (0, 1))), masked, rtol=0.01)
