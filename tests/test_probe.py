"""The self-check: what labels can't see is found by running the slim network, and nothing wrong
gets past it.
"""

import copy

import pytest
import torch
import zoo
from torch import nn

from slimmer.errors import ModelError
from slimmer.graph import build_graph
from slimmer.pruning import self_check as module
from slimmer.pruning.apply import prune
from slimmer.pruning.masks import Masked, hard_mask
from slimmer.pruning.plan import make_plan
from slimmer.pruning.self_check import check_same, example, probe


class Counted(nn.Module):
    """Four convolutions in a row; the view behind `second` holds that there are 8 channels of
    4x4.
    """

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 6, 3)
        self.second = nn.Conv2d(6, 8, 1)
        self.third = nn.Conv2d(8, 5, 1)
        self.fourth = nn.Conv2d(5, 4, 1)
        self.fc = nn.Linear(4, 2)

    def forward(self, x):
        x = self.hold(self.second(self.first(x)))
        return self.fc(self.fourth(self.third(x)).relu().mean((2, 3)))

    def hold(self, x):
        return x.view(-1, 8, 4, 4)


class CountedInteger(Counted):
    """The count is a size that Python computed from another axis: no operation on channels shows
    it.
    """

    def hold(self, x):
        height, width = x.shape[2], x.shape[3]
        return x.flatten(1).unflatten(1, (height * 2, width, width))


class CountedTable(Counted):
    """The channels are reversed by an index that holds their number."""

    def hold(self, x):
        return x[:, [7, 6, 5, 4, 3, 2, 1, 0]]


class CountedScale(Counted):
    """The channels are scaled by as many numbers as the code counts."""

    def hold(self, x):
        return x * torch.arange(1, 9, dtype=x.dtype).view(8, 1, 1)


class InFloat(nn.Module):
    """Code that names its types: a norm and a convolution in float32, a new tensor, one that is no
    buffer.
    """

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 6, 3)
        self.norm = nn.BatchNorm2d(6)
        self.second = nn.Conv2d(6, 6, 1)
        self.fc = nn.Linear(6, 2)
        self.window = torch.ones(4, 4)

    def forward(self, x):
        x = self.norm(self.first(x).float()).to(x.dtype) + torch.zeros(1)
        with torch.autocast("cpu", enabled=False):
            x = self.second(x.float())
        return self.fc((x * self.window).mean((2, 3)))


def test_code_that_names_its_types_is_checked_in_float64_all_the_same():
    model = InFloat()
    graph = build_graph(model, zoo.SIZE)
    checked = probe(model, graph, zoo.SIZE)
    assert [group.name for group in checked.groups] == [group.name for group in graph.groups]
    assert "second" in [group.name for group in checked.groups]
    assert torch.get_default_dtype() is torch.float32


def test_a_wrong_cut_is_found_in_code_that_names_its_types():
    class Wrong(InFloat):
        def forward(self, x):
            return super().forward(x) * self.first.weight.float().shape[0]

    checked = probe(Wrong(), build_graph(Wrong(), zoo.SIZE), zoo.SIZE)
    assert [group.name for group in checked.groups] == ["second"]


def test_what_is_written_to_a_tensor_of_the_networks_own_is_read_again():
    class Wrong(InFloat):
        def __init__(self):
            super().__init__()
            self.held = torch.zeros(2, 6)

        def forward(self, x):
            x = self.second(self.norm(self.first(x))).mean((2, 3)) * self.first.weight.shape[0]
            self.held[:] = x
            return self.fc(self.held + 0)

    checked = probe(Wrong(), build_graph(Wrong(), zoo.SIZE), zoo.SIZE)
    assert "first" not in [group.name for group in checked.groups]


@pytest.mark.parametrize(
    ("said", "told"), [("not in doubles", "RuntimeError: not in doubles"), (" ", "RuntimeError")]
)
def test_a_network_that_can_not_be_checked_says_where(said, told):
    class Picky(InFloat):
        def forward(self, x):
            if x.dtype == torch.float64:
                raise RuntimeError(said)
            return super().forward(x)

    with pytest.raises(ModelError, match=rf"can't run it in float64: {told} \(test_probe.py:\d+"):
        probe(Picky(), build_graph(Picky(), zoo.SIZE), zoo.SIZE)


@pytest.fixture(params=[Counted, CountedInteger, CountedTable, CountedScale])
def counted(request):
    torch.manual_seed(0)
    return request.param().double().eval()


def test_a_count_in_the_code_is_found_held_and_listed_and_the_others_are_pruned(counted):
    """Whether labels see it or only the self-check does: `second` stays, each of the others can be
    cut.
    """
    before = copy.deepcopy(counted.state_dict())
    graph = probe(counted, build_graph(counted, zoo.SIZE), zoo.SIZE)
    assert [group.name for group in graph.groups] == ["first", "third", "fourth"]
    [row] = [row for row in graph.fixed if row.layer == "second"]
    assert (row.channels, row.of) == (8, 8)
    assert row.reason
    assert all(torch.equal(tensor, before[name]) for name, tensor in counted.state_dict().items())
    plan = make_plan(graph, {"first": [1, 4], "third": [0], "fourth": [2, 3]})
    image = torch.randn(3, *zoo.SIZE, dtype=torch.float64)
    slim = prune(counted, plan)
    assert [layer.out_channels for layer in (slim.first, slim.second, slim.third, slim.fourth)] == [
        2,
        8,
        1,
        2,
    ]
    masked = Masked(counted, graph, hard_mask(plan, torch.float64))
    with torch.no_grad():
        assert torch.allclose(slim(image), masked(image), rtol=1e-12)
    check_same(counted, graph, plan, zoo.SIZE)


def test_the_reason_of_what_was_found_by_running_is_the_error():
    torch.manual_seed(0)
    model = Counted().eval()
    plain = build_graph(model, zoo.SIZE)
    assert "second" in {group.name for group in plain.groups}  # labels alone do not see it
    graph = probe(model, plain, zoo.SIZE)
    [row] = [row for row in graph.fixed if row.layer == "second"]
    assert row.reason.startswith(
        "the code depends on the number of channels; when pruned: RuntimeError: shape '[-1, 8"
    )
    assert "(test_probe.py:" in row.reason  # its line
    assert "view(" in row.reason
    assert graph.fixed[: len(plain.fixed)] == plain.fixed


class Hidden(nn.Module):
    """A count behind a norm that starts at zero, as pretrainers leave them, and an output that is
    tiny.
    """

    def __init__(self, scale):
        super().__init__()
        self.scale = scale
        self.first = nn.Conv2d(3, 9, 3)
        self.second = nn.Conv2d(9, 9, 1)
        self.norm = nn.BatchNorm2d(9)
        self.fc = nn.Linear(9, 2)
        nn.init.zeros_(self.norm.weight)

    def forward(self, x):
        x = self.first(x)
        x = x + self.norm(self.second(x)) * float(x.shape[1] // 2)
        return self.fc(x.mean((2, 3))) * self.scale


@pytest.mark.parametrize(("scale", "head"), [(1.0, 1), (1e-3, 1), (1.0, 0)])
def test_what_weights_of_zero_or_small_outputs_would_hide_is_found(scale, head):
    torch.manual_seed(0)
    model = Hidden(scale).eval()
    with torch.no_grad():
        model.fc.weight.mul_(head)
    graph = probe(model, build_graph(model, zoo.SIZE), zoo.SIZE)
    assert not graph.groups
    assert "outputs differ by" in next(row.reason for row in graph.fixed if row.layer == "second")
    assert float(model.norm.weight.detach().abs().max()) == 0  # the model itself is left as it was


class Multihead(nn.Module):
    """PyTorch's own module for attention inside a convnet, which wants its inputs as wide as its
    heads together.
    """

    def __init__(self):
        super().__init__()
        self.patch = nn.Conv2d(3, 4, 2, stride=2)
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)
        self.conv = nn.Conv2d(4, 5, 1)
        self.fc = nn.Linear(5, 2)

    def forward(self, x):
        x = self.patch(x)
        n, channels, height, width = x.shape
        tokens = x.flatten(2).transpose(1, 2)
        seen, _ = self.attention(tokens, tokens, tokens, need_weights=False)
        x = (tokens + seen).transpose(1, 2).reshape(n, channels, height, width)
        return self.fc(self.conv(x).relu().mean((2, 3)))


def test_attentions_module_that_wants_one_width_keeps_it_and_the_rest_is_pruned():
    torch.manual_seed(0)
    model = Multihead().eval()
    graph = probe(model, build_graph(model, zoo.SIZE), zoo.SIZE)
    assert [group.name for group in graph.groups] == ["conv"]
    reasons = {row.layer: row.reason for row in graph.fixed}
    assert "embed_dim 4 didn't match" in reasons["patch"]
    assert "seen, _ = self.attention(" in reasons["patch"]
    check_same(model, graph, make_plan(graph, {"conv": [1, 3]}), zoo.SIZE)


class TwoCounts(nn.Module):
    """Two faults at once, and a group of one channel that is not tried."""

    def __init__(self):
        super().__init__()
        self.a = nn.Conv2d(3, 4, 3)
        self.b = nn.Conv2d(4, 1, 1)
        self.c = nn.Conv2d(1, 6, 1)
        self.d = nn.Conv2d(6, 3, 1)
        self.fc = nn.Linear(3, 2)

    def forward(self, x):
        x = self.b(self.a(x).view(-1, 4, 4, 4))
        return self.fc(self.d(self.c(x).view(-1, 6, 4, 4)).mean((2, 3)))


def test_several_faults_are_all_found():
    torch.manual_seed(0)
    model = TwoCounts().eval()
    graph = probe(model, build_graph(model, zoo.SIZE), zoo.SIZE)
    assert [group.name for group in graph.groups] == ["b", "d"]
    assert {row.layer for row in graph.fixed} == {"a", "c", "fc"}


class RoundedCount(nn.Module):
    """The output is scaled by half the number of channels, rounded down: of nine and of eight it is
    four.
    """

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 9, 3)
        self.second = nn.Conv2d(9, 4, 1)
        self.fc = nn.Linear(4, 2)

    def forward(self, x):
        x = self.first(x)
        return self.fc(self.second(x).relu().mean((2, 3)) * (x.shape[1] // 2))


def test_a_rounded_count_survives_the_loss_of_one_channel_and_not_of_half():
    torch.manual_seed(0)
    model = RoundedCount().eval()
    graph = probe(model, build_graph(model, zoo.SIZE), zoo.SIZE)
    assert [group.name for group in graph.groups] == ["second"]
    [row] = [row for row in graph.fixed if row.layer == "first"]
    assert "outputs differ by" in row.reason


# The check of a plan


def tampered(tamper):
    """`prune`, with something done to what it gives."""

    def pruned(model, plan):
        slim = prune(model, plan)
        tamper(slim)
        return slim

    return pruned


def nudge(slim):
    slim.conv2.weight.data *= 1 + 1e-6


def shift_norm(slim):
    slim.bn1.running_mean.data[1] += 1e-6


def swap_channels(slim):
    slim.conv1.weight.data = slim.conv1.weight.data.flip(0)


def not_a_number(slim):
    slim.fc.bias.data[0] = float("nan")


def other_outputs(slim):
    slim.fc = nn.Linear(2, 2).double()


def fail(slim):
    slim.fc = nn.Linear(7, 3).double()


@pytest.mark.parametrize(
    ("tamper", "found"),
    [
        (nudge, "outputs differ by"),
        (shift_norm, "outputs differ by"),
        (swap_channels, "outputs differ by"),
        (not_a_number, "outputs differ by nan"),
        (other_outputs, r"an output of shape \(2, 2\) instead of \(2, 3\)"),
        (fail, "RuntimeError: mat1 and mat2"),
    ],
)
def test_a_slim_network_that_is_not_the_masked_one_is_refused(monkeypatch, tamper, found):
    model, graph = zoo.traced("Chain")
    plan = make_plan(graph, {"conv1": [0, 2], "conv2": [1, 3]})
    check_same(model, graph, plan, zoo.SIZE)
    monkeypatch.setattr(module, "prune", tampered(tamper))
    with pytest.raises(ModelError, match=found) as error:
        check_same(model, graph, plan, zoo.SIZE)
    assert error.value.where == "Chain"


def test_single_precision_is_checked_in_double_and_left_as_it_is():
    model = zoo.make("Chain", torch.float32)
    graph = build_graph(model, zoo.SIZE)
    before = copy.deepcopy(model.state_dict())
    check_same(model.train(), graph, make_plan(graph, {"conv1": [1]}), zoo.SIZE)
    assert model.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert next(model.parameters()).dtype == torch.float32


def test_the_images_are_the_same_at_every_call_whatever_was_drawn_before():
    model = zoo.make("Chain", torch.float32)
    (first,) = example(model, zoo.SIZE)
    torch.manual_seed(5)
    torch.rand(3)
    (again,) = example(model, zoo.SIZE, images=3)
    assert first.shape == (2, *zoo.SIZE)
    assert again.shape == (3, *zoo.SIZE)
    assert first.dtype == torch.float32
    assert torch.equal(first, example(model, zoo.SIZE)[0])
    assert torch.equal(example(model.double(), zoo.SIZE)[0].float(), first)


class Between(nn.Module):
    """Two convolutions, and a linear layer; what stands between the convolutions is a
    subclass's.
    """

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 6, 3)
        self.second = nn.Conv2d(6, 4, 1)
        self.fc = nn.Linear(4, 2)

    def forward(self, x):
        return self.fc(self.second(self.between(self.first(x))).mean((2, 3)))

    def between(self, x):
        return x


class TrainedCount(Between):
    """Noise in training alone, for as many channels as the code holds."""

    def between(self, x):
        return x + torch.rand(6, 1, 1) if self.training else x


class TrainedNever(Between):
    """Training fails with six channels as with five."""

    def between(self, x):
        return x + torch.rand(7, 1, 1) if self.training else x


@pytest.mark.parametrize(
    ("kind", "held"), [(Between, set()), (TrainedCount, {"first"}), (TrainedNever, set())]
)
def test_what_only_training_counts_is_fixed_with_its_line(kind, held):
    model, drawn = kind().eval(), torch.get_rng_state()
    plain = build_graph(model, zoo.SIZE)
    found = probe(model, plain, zoo.SIZE)
    rows = found.fixed[len(plain.fixed) :]
    assert {row.layer for row in rows} == held
    assert all(
        "in training, RuntimeError: " in row.reason and "(test_probe.py:" in row.reason
        for row in rows
    )
    assert not model.training
    assert torch.equal(torch.get_rng_state(), drawn)


class Truths(Between):
    def forward(self, x):
        logits = super().forward(x)
        return logits, logits > 0


def test_truths_are_compared_too():
    model = Truths().eval()
    graph = build_graph(model, zoo.SIZE)
    assert probe(model, graph, zoo.SIZE) == graph


class Forgetful(Between):
    """Dropout that eval mode does not turn off."""

    def between(self, x):
        return nn.functional.dropout(x)


class Rooted(Between):
    def between(self, x):
        return x.sqrt()


@pytest.mark.parametrize(
    ("kind", "found"), [(Forgetful, "outputs differ between calls"), (Rooted, "contains NaN")]
)
def test_a_network_that_can_not_be_compared_is_refused_with_the_reason(kind, found):
    model = kind().eval()
    with pytest.raises(ModelError, match=found):
        probe(model, build_graph(model, zoo.SIZE), zoo.SIZE)


class Counting(nn.Module):
    """A block whose code holds a number of channels, which stays between its two layers."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(4, 6, 1), nn.Conv2d(6, 4, 1)

    def forward(self, x):
        y = self.first(x)
        return x + self.second(y.view(len(y), 6, *y.shape[2:]).relu())


def test_the_groups_at_fault_are_looked_for_in_the_module_that_fails():
    blocks = 12
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3), *(Counting() for _ in range(blocks)), nn.Conv2d(4, 2, 1)
    )
    cuts = []

    def counted(*given):
        cuts.append(given)
        return prune(*given)

    checked = probe(model, build_graph(model, zoo.SIZE), zoo.SIZE, counted)
    assert [group.name for group in checked.groups] == ["0"]
    assert {row.layer for row in checked.fixed if "the number of channels" in row.reason} == {
        f"{number}.first" for number in range(1, blocks + 1)
    }
    assert (
        len(cuts) <= 2 * blocks + 3
    )  # all together and one alone for each, then the checks that nothing fails
