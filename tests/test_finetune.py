"""The training loop: its curve and its loss by hand, and a run in two parts against a run in
one.
"""

import copy
import math

import numpy as np
import plain_training
import pytest
import torch
import zoo
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from noise import noise
from torch import nn

from slimmer.data import Data, evaluation_batches, load
from slimmer.errors import TrainingError
from slimmer.methods import MaskConvNet
from slimmer.pruning.masks import Masked
from slimmer.tasks import Task, classification
from slimmer.tasks.classification import loss as class_loss
from slimmer.tasks.distill import squared_difference
from slimmer.training.devices import make_engine
from slimmer.training.evaluate import accuracy
from slimmer.training.learner import make_learner
from slimmer.training.loop import objective, train_
from slimmer.training.schedule import learning_rate


def training(**changes):
    return plain_training.training(**{"warmup": 0.1, "mask_decay": 0.5, **changes})


@pytest.fixture(scope="module")
def fabric():
    return make_engine("cpu", "32-true")


@pytest.fixture
def data():
    """32 random images for the zoo's networks: 4 steps an epoch of 8."""
    return noise()


def chain():
    return zoo.make("Chain", torch.float32).train()


class Dropping(nn.Module):
    """A network that draws random numbers at every step."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3)
        self.norm = nn.BatchNorm2d(6)
        self.drop = nn.Dropout(0.5)
        self.fc = nn.Linear(6, 3)

    def forward(self, x):
        return self.fc(self.drop(self.norm(self.conv(x)).relu().mean((2, 3))))


# The learning rate


@pytest.mark.parametrize(("warmup", "rise"), [(0.0, 1), (0.1, 10), (0.03, 3), (1.0, 100)])
def test_the_rate_rises_along_a_line_times_a_cosine_that_ends_at_zero(warmup, rise):
    plan = training(warmup=warmup, lr=0.4)
    rates = [learning_rate(step, 100, plan) for step in range(101)]
    cosine = [0.2 * (1 + math.cos(math.pi * step / 100)) for step in range(101)]
    assert rates[0] == pytest.approx(0.4 / rise)
    assert rates[rise - 1 :] == pytest.approx(cosine[rise - 1 :])
    assert [
        rate / whole for rate, whole in zip(rates[:rise], cosine[:rise], strict=True)
    ] == pytest.approx([(step + 1) / rise for step in range(rise)])
    assert rates[100] == pytest.approx(0, abs=1e-15)
    assert max(rates) <= 0.4


def test_it_rises_to_its_peak_and_only_falls_from_there():
    rates = [learning_rate(step, 200, training(warmup=0.05, lr=1.0)) for step in range(200)]
    peak = rates.index(max(rates))
    assert peak == 9
    assert max(rates) > 0.99
    assert rates[: peak + 1] == sorted(rates[: peak + 1])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)
    assert rates[100] == pytest.approx(0.5)


@pytest.mark.parametrize("total", [0, 1, 2])
def test_the_shortest_runs_have_a_rate(total):
    assert learning_rate(0, total, training(lr=0.5)) == 0.5


# The loss

CLASSIFYING = Task([], loss=class_loss, logits=True)


def softmax(values, temperature):
    powers = [math.exp(value / temperature) for value in values]
    return [power / sum(powers) for power in powers]


@pytest.mark.parametrize(
    ("distill", "temperature"), [(0.9, 2.0), (0.5, 1.0), (0.0, 4.0), (1.0, 3.0)]
)
def test_the_loss_by_hand(distill, temperature):
    logits, target, labels = (
        [[2.0, 0.0, -1.0], [0.5, 0.5, 3.0]],
        [[0.0, 1.0, 0.0], [1.0, 2.0, 3.0]],
        [0, 1],
    )
    job = distance = 0.0
    for row, wanted, label in zip(logits, target, labels, strict=True):
        job -= math.log(softmax(row, 1.0)[label]) / 2
        ours, theirs = softmax(row, temperature), softmax(wanted, temperature)
        distance += sum(q * math.log(q / p) for p, q in zip(ours, theirs, strict=True)) / 2
    found = objective(
        CLASSIFYING,
        torch.tensor(logits),
        (None, torch.tensor(labels)),
        torch.tensor(target),
        training(distill=distill, temperature=temperature),
    )
    assert float(found) == pytest.approx(
        (1 - distill) * job + distill * temperature**2 * distance, rel=1e-5
    )


def test_without_a_temperature_it_is_the_squared_difference_of_centred_scores_by_hand():
    found = objective(
        CLASSIFYING,
        torch.tensor([[2.0, 0.0, -1.0], [0.5, 0.5, 3.0]]),
        (None, torch.tensor([0, 1])),
        torch.tensor([[0.0, 1.0, 0.0], [1.5, 1.5, 4.0]]),
        training(distill=1.0, temperature=None),
    )
    # The first row differs by 2, -1, -1, whose mean is 0; the second by a constant.
    assert float(found) == pytest.approx((4 + 1 + 1) / 6)


def test_the_squared_difference_of_maps_takes_the_mean_over_the_classes_of_each_pixel():
    """Scores (1, 2, 1, 2): the first pixel differs by 2 and 0, the second by 5 and 5."""
    ours = torch.tensor([[[[2.0, 5.0]], [[0.0, 5.0]]]])
    assert float(squared_difference(ours, torch.zeros(1, 2, 1, 2))) == pytest.approx(0.5)


@given(
    scores=arrays(np.float32, (3, 5), elements=st.floats(-8, 8, width=32)),
    wanted=arrays(np.float32, (3, 5), elements=st.floats(-8, 8, width=32)),
)
def test_the_squared_difference_is_twice_the_divergence_at_a_high_temperature(scores, wanted):
    ours, theirs = torch.from_numpy(scores).double(), torch.from_numpy(wanted).double()
    heat = 1e4
    soft, target = ((each / heat).log_softmax(1) for each in (ours, theirs))
    limit = (target.exp() * (target - soft)).sum(1).mean() * heat**2
    found = float(squared_difference(ours, theirs))
    assert found == pytest.approx(2 * float(limit), rel=1e-2, abs=1e-3)


def test_without_a_target_it_is_cross_entropy():
    logits, labels = torch.tensor([[1.0, 2.0], [0.0, 0.0]]), torch.tensor([0, 1])
    by_hand = -(math.log(softmax([1, 2], 1)[0]) + math.log(0.5)) / 2
    assert float(
        objective(CLASSIFYING, logits, (None, labels), None, training(distill=0.9))
    ) == pytest.approx(by_hand)


def test_equal_outputs_diverge_by_nothing_and_pull_nowhere():
    logits = torch.randn(4, 5, generator=torch.Generator().manual_seed(0)).requires_grad_()
    labelled = (None, torch.zeros(4, dtype=torch.int64))
    loss = objective(CLASSIFYING, logits, labelled, logits.detach() + 3.0, training(distill=1.0))
    (gradient,) = torch.autograd.grad(loss, logits)
    assert float(loss.detach()) == pytest.approx(0, abs=1e-6)
    assert gradient.abs().max() < 1e-6


def test_the_loss_is_single_precision_whatever_the_outputs_are():
    logits = torch.tensor([[1.0, 2.0]])
    loss = objective(
        CLASSIFYING, logits.bfloat16(), (None, torch.tensor([0])), logits.bfloat16(), training()
    )
    assert loss.dtype == torch.float32
    assert float(loss) == pytest.approx(
        float(objective(CLASSIFYING, logits, (None, torch.tensor([0])), logits, training())),
        rel=1e-5,
    )


# The optimizer


def step_on_zero_gradients(learner):
    for parameter in learner.network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    learner.optimizer.step()


def test_matrices_decay_and_vectors_do_not():
    model = chain()
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    step_on_zero_gradients(make_learner(model, training(momentum=0.0)))
    for name, parameter in model.named_parameters():
        if parameter.dim() > 1:
            assert torch.allclose(parameter, before[name] * (1 - 0.1 * 1e-2), rtol=1e-6)
        else:
            assert torch.equal(parameter, before[name])


def test_mask_variables_move_at_their_own_pace_or_not_at_all():
    graph = zoo.traced("Chain")[1]
    for trained, wanted in ((True, 0.3 * (1 - 0.05 * 0.5)), (False, 0.3)):
        network = Masked(
            chain(),
            graph,
            torch.full((graph.units,), 0.3),
            MaskConvNet(graph.units, [], start=0.5, warmup=0).gate,
        )
        learner = make_learner(network, training(momentum=0.0), train_masks=trained)
        for group in learner.optimizer.param_groups:
            group["lr"] = 0.1 * group["pace"]
        step_on_zero_gradients(learner)
        assert network.variables.tolist() == pytest.approx([wanted] * graph.units)


def test_frozen_parameters_are_not_trained(fabric, data):
    model = chain()
    model.conv1.requires_grad_(requires_grad=False)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    train_(
        fabric, make_learner(model, training()), chain(), classification(data), training(), stop=2
    )
    moved = {
        name
        for name, parameter in model.named_parameters()
        if not torch.equal(parameter, before[name])
    }
    assert moved == set(before) - {"conv1.weight"}


# The loop


def test_every_step_is_told_and_none_is_taken_twice(fabric, data):
    told, saved = [], []
    plan = training(epochs=1.5)
    learner = make_learner(chain(), plan)
    train_(
        fabric,
        learner,
        chain(),
        classification(data),
        plan,
        stop=3,
        observe=told.append,
        save=lambda: saved.append(learner.step),
    )
    train_(fabric, learner, chain(), classification(data), plan, stop=6, observe=told.append)
    assert [event["step"] for event in told] == [1, 2, 3, 4, 5, 6]
    assert saved == [1, 2, 3]
    assert {event["steps"] for event in told} == {plan.steps(classification(data))} == {6}
    assert [event["epoch"] for event in told] == [0.25, 0.5, 0.75, 1.0, 1.25, 1.5]
    assert all(0 <= event["batch_accuracy"] <= 1 and event["images_per_s"] > 0 for event in told)
    train_(fabric, learner, chain(), classification(data), plan, stop=6, observe=told.append)
    assert len(told) == 6


def test_the_last_steps_of_a_run_hardly_move_anything(fabric, data):
    """The rate of each step is that of the curve, not the one that the optimizer was made with."""
    plan = training(epochs=10, momentum=0.0, warmup=0.0)
    moved = {}
    for start in (0, 39):
        model = chain()
        learner = make_learner(model, plan)
        learner.step = start
        before = model.fc.weight.detach().clone()
        train_(fabric, learner, chain(), classification(data), plan, stop=start + 1)
        moved[start] = float((model.fc.weight.detach() - before).norm())
    assert moved[39] < 0.01 * moved[0]


def test_a_run_in_two_parts_is_a_run_in_one(fabric, data):
    """Momentum, batch-norm statistics, the order of images, crops and dropout go on as if nothing
    had happened.
    """
    plan = training(epochs=2)
    data = Data(**{**vars(data), "augment": "crop"})
    teacher = chain().eval()
    torch.manual_seed(0)
    whole = make_learner(Dropping().train(), plan)
    first = make_learner(copy.deepcopy(whole.network), plan)
    fresh = Dropping().train()
    train_(fabric, whole, teacher, classification(data), plan, stop=8)
    train_(fabric, first, teacher, classification(data), plan, stop=5)
    state = {name: tensor.clone() for name, tensor in first.state().items()}
    assert {name.partition(".")[0] for name in state} == {"network", "optimizer"}
    assert sum(name.startswith("optimizer.momentum_buffer.") for name in state) == len(
        list(fresh.parameters())
    )
    torch.manual_seed(12345)
    second = make_learner(fresh, plan)
    second.restore_(state, 5)
    assert all(torch.equal(tensor, state[name]) for name, tensor in second.state().items())
    train_(fabric, second, teacher, classification(data), plan, stop=8)
    ours, theirs = second.state(), whole.state()
    assert list(ours) == list(theirs)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_without_its_momentum_a_run_goes_elsewhere(fabric, data):
    """So that the test above can fail."""
    plan = training()
    first = make_learner(chain(), plan)
    train_(fabric, first, chain(), classification(data), plan, stop=3)
    ends = []
    for kept in ("", "network."):
        learner = make_learner(chain(), plan)
        learner.restore_(
            {name: t.clone() for name, t in first.state().items() if name.startswith(kept)}, 3
        )
        train_(fabric, learner, chain(), classification(data), plan, stop=5)
        ends.append(learner.network.fc.weight)
    assert not torch.allclose(ends[0], ends[1], rtol=1e-3)


def test_under_masks_of_one_a_network_trains_as_without(fabric, data):
    graph = zoo.traced("Chain")[1]
    bare, masked = chain(), Masked(chain(), graph, torch.ones(graph.units))
    for network in (bare, masked):
        train_(
            fabric,
            make_learner(network, training()),
            chain(),
            classification(data),
            training(),
            stop=6,
        )
    assert not torch.equal(bare.conv1.weight, chain().conv1.weight)
    for name, tensor in masked.model.state_dict().items():
        assert torch.allclose(tensor, bare.state_dict()[name], rtol=1e-6, atol=1e-7)
    assert torch.equal(masked.variables, torch.ones(graph.units))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_loss_that_is_no_number_ends_the_run_before_it_is_saved(fabric, data, value):
    model, told, saved = chain(), [], []
    plan = training(distill=0.0)
    learner = make_learner(model, plan)
    train_(fabric, learner, chain(), classification(data), plan, stop=2, observe=told.append)
    with torch.no_grad():
        model.fc.bias[0] = value
    with pytest.raises(TrainingError, match=r"the loss is (nan|inf)") as error:
        train_(
            fabric,
            learner,
            chain(),
            classification(data),
            plan,
            stop=8,
            observe=told.append,
            save=lambda: saved.append(1),
        )
    assert error.value.where == "step 2"
    assert len(told) == 2
    assert saved == []


def test_the_teacher_is_not_asked_where_nothing_is_learned_from_it(fabric, data):
    plan = training(distill=0.0)
    losses = []
    train_(
        fabric,
        make_learner(chain(), plan),
        None,
        classification(data),
        plan,
        stop=1,
        observe=lambda e: losses.append(e["loss"]),
    )
    assert losses[0] > 0


def test_a_network_learns_digits_from_nothing(fabric):
    digits = load("digits", size=8)
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(256, 10),
    )
    plan = training(epochs=3, batch_size=64, distill=0.0, weight_decay=1e-4)
    assert accuracy(model, evaluation_batches(digits.test, digits, 360)) < 0.3
    train_(fabric, make_learner(model, plan), model, classification(digits), plan, stop=40)
    assert accuracy(model, evaluation_batches(digits.test, digits, 360)) > 0.8


def test_a_network_comes_nearer_to_its_teacher(fabric, data):
    plan = training(epochs=20, distill=1.0, weight_decay=0.0)
    torch.manual_seed(1)
    teacher, student = zoo.make("Chain", torch.float32).eval(), Dropping()
    student.drop = nn.Identity()
    losses = []
    train_(
        fabric,
        make_learner(student, plan),
        teacher,
        classification(data),
        plan,
        stop=80,
        observe=lambda e: losses.append(e["loss"]),
    )
    assert sum(losses[-4:]) < 0.2 * sum(losses[:4])
