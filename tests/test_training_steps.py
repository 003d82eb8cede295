"""Accumulated and clipped gradients, averaged weights and fp16: by hand, and a run in two parts."""

import copy
from functools import partial

import pytest
import torch
import zoo
from hypothesis import given
from hypothesis import strategies as st
from lightning_fabric import Fabric
from lightning_fabric.plugins import MixedPrecision
from noise import noise
from plain_training import training
from torch import nn
from torch.nn.utils import parameters_to_vector

from slimmer.data import Data, InMemory, evaluation_batches, load
from slimmer.errors import RecipeError, RuntimeUnavailableError
from slimmer.methods import MaskConvNet, Taylor
from slimmer.models import build
from slimmer.models.checkpoint import read_weights, save_weights
from slimmer.pipeline.stages import resume, start
from slimmer.pruning.masks import Masked
from slimmer.pruning.slim_file import load_network
from slimmer.recipe.recipe import make_recipe
from slimmer.runs.directory import Run
from slimmer.tasks import classification
from slimmer.training.devices import make_engine, precision_state, restore_precision_
from slimmer.training.evaluate import accuracy
from slimmer.training.learner import make_learner
from slimmer.training.loop import train_
from slimmer.training.steps import check_compiler


@pytest.fixture(scope="module")
def fabric():
    return make_engine("cpu", "32-true")


@pytest.fixture
def data():
    """32 random images for the zoo's networks: 4 batches of 8 an epoch."""
    return classification(noise())


def chain():
    return zoo.make("Chain", torch.float32).train()


def without_norms():
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3)
    )


def trained(fabric, data, network, plan, steps):
    """The learner after `steps` steps from a copy of the network."""
    learner = make_learner(copy.deepcopy(network), plan)
    train_(fabric, learner, chain().eval(), data, plan, stop=steps)
    return learner


def movement(before, after):
    """The change of all parameters, in one vector."""
    vectors = [parameters_to_vector(each.parameters()).detach() for each in (before, after)]
    return vectors[1] - vectors[0]


# Several batches per step


def test_four_batches_of_eight_make_the_step_of_one_batch_of_32(fabric, data):
    network = without_norms()
    parts = training(batch_size=8, accumulate=4, epochs=6)
    whole = training(batch_size=32, epochs=6)
    assert parts.steps(data) == whole.steps(data) == 6
    ours, theirs = (trained(fabric, data, network, plan, 6).network for plan in (parts, whole))
    alone = trained(fabric, data, network, training(epochs=1.5), 6).network
    ours, theirs, alone = (parameters_to_vector(net.parameters()) for net in (ours, theirs, alone))
    assert torch.allclose(ours, theirs, rtol=1e-4, atol=1e-6)
    assert not torch.allclose(ours, alone, rtol=1e-2, atol=1e-3)


def test_the_loss_of_a_step_is_the_mean_over_its_batches(fabric, data):
    """Without updates, since the rate is nearly zero."""
    losses = {1: [], 4: []}
    for accumulate, told in losses.items():
        plan = training(accumulate=accumulate, lr=1e-12, momentum=0.0)
        learner = make_learner(without_norms(), plan)
        train_(fabric, learner, chain(), data, plan, stop=4 // accumulate, observe=told.append)
    (event,) = losses[4]
    assert event["loss"] == pytest.approx(sum(each["loss"] for each in losses[1]) / 4, rel=1e-5)
    assert event["batch_accuracy"] == pytest.approx(
        sum(each["batch_accuracy"] for each in losses[1]) / 4, rel=1e-5
    )
    assert event["epoch"] == losses[1][-1]["epoch"] == 1.0
    assert event["lr"] == pytest.approx(1e-12)


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 6))
def test_an_epoch_ends_with_the_step_that_takes_its_last_batch(batches, accumulate, epochs):
    images = InMemory(torch.zeros(batches, 1, 1, 1), torch.zeros(batches, dtype=torch.int64))
    data = classification(Data("zeros", images, images, ("a", "b"), (0.5,), (0.5,), (1, 1)))
    plan = training(batch_size=1, accumulate=accumulate)
    step, ends = 0, []
    while len(ends) < epochs:
        step = plan.end_of_epoch(step, data)
        ends.append(step)
    assert ends == sorted(set(ends))
    for end in ends:  # the step before it left its epoch open
        before, after = (end - 1) * accumulate // batches, end * accumulate // batches
        assert after > before
        assert plan.epoch(end, data) == end * accumulate / batches


# Clipped gradients


@pytest.mark.parametrize("largest", [1e-3, 0.05])
def test_a_clipped_step_moves_the_weights_by_the_norm_times_the_rate(fabric, data, largest):
    network = without_norms()
    plan = training(clip=largest, momentum=0.0, weight_decay=0.0)
    moved = movement(network, trained(fabric, data, network, plan, 1).network)
    assert float(moved.norm()) == pytest.approx(0.1 * largest, rel=1e-3)
    free = trained(fabric, data, network, training(momentum=0.0, weight_decay=0.0), 1).network
    wanted = movement(network, free)
    assert torch.cosine_similarity(moved, wanted, dim=0) > 0.9999


def test_a_norm_that_no_gradient_reaches_changes_nothing(fabric, data):
    ends = [trained(fabric, data, chain(), training(clip=clip), 5).state() for clip in (1e6, None)]
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[1])


def test_mask_variables_are_not_clipped(fabric, data):
    """Their gradients would shrink those of the weights, and have a rate of their own."""
    graph = zoo.traced("Chain")[1]
    ends = []
    for clip in (None, 1e-3):
        method = MaskConvNet(graph.units, [], start=0.5, warmup=0)
        network = Masked(chain(), graph, torch.full((graph.units,), 0.3), method.gate)
        plan = training(clip=clip, momentum=0.0, weight_decay=0.0)
        learner = make_learner(network, plan, train_masks=True)
        before = parameters_to_vector(network.model.parameters()).detach().clone()
        train_(fabric, learner, chain(), data, plan, stop=1, method=method)
        moved = parameters_to_vector(network.model.parameters()).detach() - before
        ends.append((network.variables.detach().clone(), float(moved.norm())))
    assert torch.equal(ends[0][0], ends[1][0])
    assert not torch.equal(ends[0][0], torch.full((graph.units,), 0.3))
    assert ends[1][1] == pytest.approx(0.1 * 1e-3, rel=1e-3)


# Averaged weights


@pytest.mark.parametrize("decay", [0.5, 0.15])
def test_the_average_by_hand(fabric, data, decay):
    """The first average is the network after the first step; then the decay rises to its value."""
    plan = training(ema=decay)
    learner = make_learner(chain(), plan)
    assert learner.result is learner.network
    wanted = {}
    for step in range(6):
        train_(fabric, learner, chain(), data, plan, stop=step + 1)
        now = min(decay, (1 + step) / (10 + step)) if step else 0.0
        for name, tensor in learner.network.state_dict().items():
            if tensor.is_floating_point():
                before = wanted.get(name, torch.zeros_like(tensor, dtype=torch.float64))
                wanted[name] = now * before + (1 - now) * tensor.double()
    found = learner.result.state_dict()
    assert learner.result is not learner.network
    assert found["bn1.num_batches_tracked"] == 6
    for name, tensor in wanted.items():
        assert torch.allclose(found[name].double(), tensor, rtol=1e-5, atol=1e-7), name
    assert not torch.allclose(found["conv1.weight"], learner.network.conv1.weight)
    assert not torch.allclose(found["bn1.running_mean"], learner.network.bn1.running_mean)
    assert all(not each.requires_grad for each in learner.result.parameters())


def test_averaging_does_not_change_the_training(fabric, data):
    averaged, plain = (
        trained(fabric, data, chain(), training(ema=ema), 5).state() for ema in (0.9, 0.0)
    )
    assert all(torch.equal(averaged[name], tensor) for name, tensor in plain.items())


def test_masks_are_not_averaged():
    graph = zoo.traced("Chain")[1]
    masked = Masked(chain(), graph, torch.ones(graph.units))
    assert make_learner(masked, training(ema=0.9)).average is None


# A run in two parts

FOUR = {"accumulate": 2, "clip": 0.5, "ema": 0.9, "precision": "bf16-mixed"}
METHODS = {
    "one-shot": {"name": "magnitude"},
    "taylor": {"name": "taylor", "sparsify": 0.5, "batches": 1},
    "maskconvnet": {"name": "maskconvnet", "sparsify": 0.5},
    "network_slimming": {"name": "network_slimming", "sparsify": 0.5},
    "bar": {"name": "bar", "sparsify": 0.5},
}


def recipe_of(folder, method, **tuned):
    weights = folder / "dense.safetensors"
    if not weights.exists():
        torch.manual_seed(0)
        save_weights(weights, build("cifar_resnet8", in_channels=1), {})
    common = {"epochs": 2, "batch_size": 60, "save_every": 1e-6, "recalibrate": 1}
    return {
        "model": {"checkpoint": str(weights), "arch": "cifar_resnet8"},
        "data": {"name": "digits", "trust": True, "size": 8},
        "budget": {"flops": 0.5},
        "method": method,
        "finetune": {**common, **tuned},
    }


class Stop(Exception):  # noqa: N818
    """Raised in the middle of a run."""


def stopping_at(step, told):
    def observe(event):
        told.append(event)
        if event["event"] == "step" and event["step"] == step:
            raise Stop

    return observe


slow = partial(pytest.param, marks=pytest.mark.slow)


@pytest.mark.parametrize(
    ("method", "stopped"),  # of 23 steps; masks are removed after 12
    [
        slow("one-shot", 5),
        ("one-shot", 17),
        ("taylor", 5),
        slow("taylor", 17),
        slow("maskconvnet", 5),
        ("maskconvnet", 17),
        slow("network_slimming", 5),
        slow("network_slimming", 17),
        slow("bar", 5),
        slow("bar", 17),
    ],
)
def test_a_run_in_two_parts_is_a_run_in_one(tmp_path, method, stopped):
    recipe = make_recipe(recipe_of(tmp_path, METHODS[method], **FOUR), "here")
    whole, report = start(recipe, tmp_path / "whole")
    with pytest.raises(Stop):
        start(recipe, tmp_path / "parts", stopping_at(stopped, []))
    parts = Run(tmp_path / "parts")
    saved = read_weights(parts.state)
    averages = [name for name in saved if name.startswith("average.network.")]
    assert bool(averages) == parts.plan.is_file() == (stopped == 17 or method == "one-shot")
    resume(parts)
    assert parts.plan.read_bytes() == whole.plan.read_bytes()
    ours, theirs = read_weights(parts.slim), read_weights(whole.slim)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert parts.read_report()["accuracy"] == report["accuracy"]


def test_without_the_average_of_its_first_part_a_run_ends_elsewhere(tmp_path, monkeypatch):
    """So that the test above can fail."""
    recipe = make_recipe(recipe_of(tmp_path, METHODS["one-shot"], **FOUR), "here")
    start(recipe, tmp_path / "whole")
    with pytest.raises(Stop):
        start(recipe, tmp_path / "parts", stopping_at(17, []))
    monkeypatch.setattr("slimmer.training.averaging.Average.restore_", lambda *_: None)
    resume(Run(tmp_path / "parts"))
    ours, theirs = (read_weights(Run(tmp_path / name).slim) for name in ("parts", "whole"))
    assert not all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_the_averaged_network_is_the_one_that_is_measured_and_saved(tmp_path):
    tuned = {"ema": 0.8, "epochs": 1}
    recipe = make_recipe(recipe_of(tmp_path, METHODS["one-shot"], **tuned), "here")
    told = []
    run, report = start(recipe, tmp_path / "run", told.append)
    saved = load_network(run.slim)
    digits = load("digits", size=8)
    top1 = accuracy(saved, evaluation_batches(digits.test, digits, 360))
    epochs = [event["accuracy"] for event in told if event["event"] == "epoch"]
    assert epochs == [report["accuracy"]["slim"]] == [top1]
    plain = make_recipe(recipe_of(tmp_path, METHODS["one-shot"], epochs=1), "here")
    other, _ = start(plain, tmp_path / "plain")
    last = read_weights(other.slim)
    assert not torch.equal(read_weights(run.slim)["conv1.weight"], last["conv1.weight"])


def test_an_average_of_no_training_is_refused(tmp_path):
    recipe = recipe_of(tmp_path, {"name": "taylor", "sparsify": 1.0}, ema=0.9)
    with pytest.raises(
        RecipeError, match=r"finetune\.ema averages the weights of the slim network"
    ):
        make_recipe(recipe, "here")


# fp16


def test_fp16_on_the_cpu_is_refused():
    with pytest.raises(RuntimeUnavailableError, match="16-mixed trains on GPUs only") as error:
        make_engine("cpu", "16-mixed")
    assert error.value.where == "finetune.precision"


@pytest.fixture
def fp16():
    """An engine that scales gradients, as on a GPU, with scales that overflow at first."""
    scaler = partial(torch.amp.GradScaler, "cpu", init_scale=2.0**40, growth_interval=3)
    return lambda: Fabric(accelerator="cpu", plugins=MixedPrecision("16-mixed", "cpu", scaler()))


@pytest.mark.parametrize("clip", [None, 0.5])
def test_the_scale_of_fp16_gradients_goes_on_where_it_was(fp16, data, clip):
    plan = training(clip=clip)
    whole = make_learner(chain(), plan)
    one, two, three = fp16(), fp16(), fp16()
    train_(one, whole, chain(), data, plan, stop=8)
    first = make_learner(chain(), plan)
    train_(two, first, chain(), data, plan, stop=5)
    tensors = {name: tensor.clone() for name, tensor in first.state().items()}
    scaling = precision_state(two)
    assert scaling["scale"] < 2.0**40
    second = make_learner(chain(), plan)
    second.restore_(tensors, 5)
    restore_precision_(three, scaling)
    train_(three, second, chain(), data, plan, stop=8)
    ours, theirs = second.state(), whole.state()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert precision_state(three) == precision_state(one)


def test_scores_leave_out_gradients_that_overflowed():
    method = Taylor(torch.tensor([1.0, 3.0]), lambda scores, way: scores.sign(), 100)
    before = method.scores(torch.zeros(2)).clone()
    variables = nn.Parameter(torch.ones(2))
    variables.grad = torch.tensor([float("inf"), 1.0])
    method.after_backward_(variables, 1)
    assert torch.equal(method.scores(variables), before)
    variables.grad = torch.tensor([2.0, 1.0])
    method.after_backward_(variables, 1)
    assert not torch.equal(method.scores(variables), before)


# torch.compile


def test_a_machine_without_a_compiler_is_told_before_anything_is_written(tmp_path):
    from torch._inductor import config

    recipe = make_recipe(recipe_of(tmp_path, METHODS["one-shot"], compile=True), "here")
    missing = config.patch({"cpp.cxx": ("no-such-compiler",)})
    with missing, pytest.raises(RuntimeUnavailableError) as error:
        start(recipe, tmp_path / "run")
    assert error.value.where == "finetune.compile"
    assert "No working C++ compiler" in error.value.found
    assert "\n" not in error.value.found
    assert not (tmp_path / "run").exists()


def test_errors_of_the_network_are_not_blamed_on_the_compiler(fabric, data):
    class Broken(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(3, 3)

        def forward(self, x):
            raise RuntimeError("mine")

    plan = training()
    with pytest.raises(RuntimeError, match="mine"):
        train_(fabric, make_learner(Broken(), plan), chain(), data, plan, stop=1)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["one-shot", "taylor", "maskconvnet"])
def test_a_compiled_run_is_the_eager_one_to_rounding_and_resumes(tmp_path, fabric, method):
    check_compiler(fabric)
    tuned = {"epochs": 0.3, "lr": 1e-3, "ema": 0.9}
    ends = []
    for place, compile_it in (("eager", False), ("compiled", True)):
        made = recipe_of(tmp_path, METHODS[method], **tuned, compile=compile_it)
        told = []
        start(make_recipe(made, "here"), tmp_path / place, told.append)
        ends.append([event["loss"] for event in told if event["event"] == "step"])
    assert ends[0] == pytest.approx(ends[1], rel=1e-3)
    with pytest.raises(Stop):
        start(make_recipe(made, "here"), tmp_path / "parts", stopping_at(5, []))
    resume(Run(tmp_path / "parts"))
    ours, theirs = (read_weights(Run(tmp_path / name).slim) for name in ("parts", "compiled"))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
