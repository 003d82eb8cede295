"""Pruning around a training loop of one's own: prune by the loss, train, finish."""

import copy

import drawn_tasks
import pytest
import torch
from torch.nn.functional import cross_entropy

import slimmer
from slimmer.criteria import taylor_scores
from slimmer.criteria.taylor import loss_scores, output_scores
from slimmer.errors import RecipeError, TaskError
from slimmer.graph import build_graph
from slimmer.tasks import Task

IMAGE = torch.zeros(1, 1, drawn_tasks.SIZE, drawn_tasks.SIZE)


def by_loss(outputs, batch):
    return cross_entropy(outputs, batch[1])


@pytest.fixture
def net():
    torch.manual_seed(0)
    return drawn_tasks.UNet()


def loader(number=24):
    return drawn_tasks.Shapes(number=number).train


def test_three_calls_make_a_run_like_any_other(net, tmp_path):
    before = copy.deepcopy(net.state_dict())
    pruned = slimmer.prune(net, IMAGE, flops=0.5, loss=by_loss, batches=loader())
    assert all(torch.equal(before[name], each) for name, each in net.state_dict().items())
    assert pruned.report["flops"]["ratio"] <= 0.5
    assert (pruned.report["method"], pruned.report["epochs"]) == ("taylor", 0)
    optimizer = torch.optim.SGD(pruned.model.train().parameters(), lr=0.1)
    for images, masks in loader():
        optimizer.zero_grad()
        cross_entropy(pruned.model(images), masks).backward()
        optimizer.step()
    finished = slimmer.finish(pruned, out=tmp_path / "run")
    found = slimmer.export(tmp_path / "run", model=net)
    assert found["networks"]["slim"]["parity"]["random"]["max_rel"] < 1e-4
    assert torch.equal(finished.model(IMAGE), pruned.model.eval()(IMAGE))


def test_the_users_loss_decides_which_channels_are_kept(net):
    plans = []
    for loss in (by_loss, lambda outputs, batch: outputs[:, 0].mean(), None):
        options = {"loss": loss, "batches": loader(), "method.order": "taylor"}
        plans.append(slimmer.prune(net, IMAGE, flops=0.5, **options).plan)
    assert len({plan.hash for plan in plans}) == 3


def test_batch_norms_take_the_statistics_of_the_batches(net):
    """Of the first layer, whose inputs no channel was removed from, in float64 by hand."""
    batches = [(images + 3.0, masks) for images, masks in loader()]
    pruned = slimmer.prune(net, IMAGE, flops=0.9, loss=by_loss, batches=batches)
    kept = pruned.model.down
    with torch.no_grad():
        means = [kept[0](images).double().mean((0, 2, 3)) for images, _ in batches]
    assert torch.allclose(kept[1].running_mean.double(), torch.stack(means).mean(0), atol=1e-5)


def test_scores_by_a_loss_are_its_squared_gradients(net):
    """The gradient by a mask is that of scaling the channel where it is read, by differences."""
    net = net.double().eval()
    graph = build_graph(net, (1, drawn_tasks.SIZE, drawn_tasks.SIZE))
    images, masks = drawn_tasks.shapes(4, 3)
    batch = (images.double(), masks)
    task = Task([batch], loss=by_loss)
    scores = loss_scores(net, graph, task, [batch])
    group = graph.groups[-1]
    start = graph.units - group.size
    readers = {layer.in_axis for layer in graph.layers} & {part.axis for part in group.slices}
    for unit in range(2):
        losses = []
        for step in (1e-5, -1e-5):
            moved = copy.deepcopy(net)
            for part in group.slices:
                if part.axis in readers:
                    weight = moved.get_parameter(part.axis.tensor).data
                    places = torch.tensor(part.index[unit])
                    weight.movedim(part.axis.dim, 0)[places] *= 1 + step
            with torch.no_grad():
                losses.append(float(by_loss(moved(batch[0]), batch)))
        slope = (losses[0] - losses[1]) / 2e-5
        assert float(scores[start + unit]) == pytest.approx(slope**2, rel=1e-3)


def test_scores_of_outputs_are_the_curvature_of_the_distillation_loss():
    """In expectation: the diagonal of J^T J over the outputs, here of a network whose Jacobian is
    known: two channels that are read with weights 1 and 3.
    """
    net = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 1, bias=False), torch.nn.Conv2d(2, 1, 1))
    with torch.no_grad():
        net[0].weight.fill_(1.0)
        net[1].weight.copy_(torch.tensor([1.0, 3.0]).reshape(1, 2, 1, 1))
    graph = build_graph(net.eval(), (1, 4, 4))
    images = [torch.ones(2, 1, 4, 4)] * 400
    scores = output_scores(net, graph, images) / 400
    assert scores.tolist() == pytest.approx([1.0, 9.0], rel=0.2)
    assert float(scores[1] / scores[0]) == pytest.approx(9.0)  # one direction serves both


def test_classification_keeps_its_own_scores(net):
    """Labels drawn from the outputs, as before tasks."""
    flat = torch.nn.Sequential(net, torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()).eval()
    graph = build_graph(flat, (1, drawn_tasks.SIZE, drawn_tasks.SIZE))
    images = [drawn_tasks.shapes(4, 0)[0]]
    assert taylor_scores(flat, graph, images, 0).sum() > 0


def test_a_network_of_two_arguments_goes_through_three_calls(tmp_path):
    class Added(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.one = torch.nn.Conv2d(1, 8, 3, padding=1)
            self.two = torch.nn.Conv2d(1, 8, 3, padding=1)
            self.out = torch.nn.Conv2d(8, 1, 1)

        def forward(self, left, right):
            return self.out((self.one(left) + self.two(right)).relu())

    torch.manual_seed(0)
    net, example = Added(), (torch.zeros(1, 1, 8, 8), torch.zeros(1, 1, 8, 8))
    batches = [((torch.rand(2, 1, 8, 8), torch.rand(2, 1, 8, 8)), torch.rand(2, 1, 8, 8))] * 2
    loss = lambda outputs, batch: (outputs - batch[1]).square().mean()  # noqa: E731
    pruned = slimmer.prune(net, example, flops=0.5, loss=loss, batches=batches)
    finished = slimmer.finish(pruned, out=tmp_path / "run")
    assert finished.report["flops"]["ratio"] <= 0.5
    assert finished.model(*batches[0][0]).shape == (2, 1, 8, 8)


def test_an_example_alone_says_the_size_of_an_image(net):
    pruned = slimmer.prune(net, IMAGE, flops=0.5)
    assert pruned.report["input_size"] == [1, drawn_tasks.SIZE, drawn_tasks.SIZE]
    assert pruned.report["method"] == "magnitude"


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"loss": by_loss}, TaskError, "batches: is missing"),
        ({"batches": [1], "epochs": 2}, RecipeError, "only score channels"),
        ({"batches": [1], "task": "segmentation"}, TaskError, "and batches too"),
    ],
)
def test_arguments_that_contradict_each_other_are_refused(net, options, error, words):
    with pytest.raises(error, match=words):
        slimmer.prune(net, IMAGE, flops=0.5, **options)
