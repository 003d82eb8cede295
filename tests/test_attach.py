"""Gradual pruning in a training loop of the user's; the network under its masks, the network whose
weights are set to zero by hand, and the unbroken loop are what it is held against.
"""

import io
import os
import pickle
import subprocess
import sys
from copy import deepcopy

import pytest
import torch
import zoo
from by_hand import mask_
from fvcore.nn import FlopCountAnalysis
from main_job import PYTHON
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.checkpoint import checkpoint as checkpointed

import slimmer
from slimmer.errors import SlimmerError, TrainingError
from slimmer.models import build
from slimmer.pruning.live_masks import Hooks, LiveMasks
from slimmer.pruning.masks import Masked

SIZE = (1, 16, 16)


def drawn(number=8, seed=0, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(number, *SIZE, generator=generator).to(dtype)
    return images, torch.arange(number) % 10


@pytest.fixture
def net():
    torch.manual_seed(0)
    return build("cifar_resnet8", in_channels=1).train()


def sgd(model):
    return torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-3)


def train_(model, optimizer, pruned, steps, first=0, dtype=torch.float32):
    """Somebody's loop: `steps` steps, each on images of its own."""
    for step in range(first, first + steps):
        images, labels = drawn(seed=step, dtype=dtype)
        optimizer.zero_grad()
        cross_entropy(model(images), labels).backward()
        optimizer.step()
        if pruned is not None and pruned.left:
            pruned.step()


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def computed(model, dtype=torch.float32):
    with torch.no_grad():
        return model.eval()(drawn(seed=99, dtype=dtype)[0])


def test_attaching_changes_neither_parameters_nor_names_nor_outputs(net):
    before, held = computed(net), dict(net.named_parameters())
    state = {key: each.clone() for key, each in net.state_dict().items()}
    pruned = slimmer.attach(net, drawn()[0], flops=0.5, steps=4)
    assert torch.equal(computed(net), before)
    assert all(each is held[name] for name, each in net.named_parameters())
    assert same(net.state_dict(), state)
    assert pruned.remaining == {"flops": 1.0, "params": 1.0}
    train_(net.train(), sgd(net), pruned, 2)
    assert all(each is held[name] for name, each in net.named_parameters())
    assert list(net.state_dict()) == list(state)


@pytest.mark.parametrize(("dtype", "off"), [(torch.float32, 1e-6), (torch.float64, 1e-12)])
def test_the_masked_network_is_the_slim_one_inside_its_budgets(net, dtype, off, tmp_path):
    net = net.to(dtype)
    whole = FlopCountAnalysis(deepcopy(net).eval(), drawn(1, dtype=dtype)[0]).total()
    params = sum(each.numel() for each in net.parameters())
    pruned = slimmer.attach(net, drawn(dtype=dtype)[0], flops=0.5, params=0.6, steps=6, interval=2)
    train_(net, sgd(net), pruned, 8, dtype=dtype)  # two more under the final masks
    under_masks = computed(net, dtype)
    result = pruned.finish(out=tmp_path / "run")
    slim = computed(result.model, dtype)
    assert float((slim - under_masks).abs().max()) <= off * float(under_masks.abs().max())
    mask_(net, result.plan)  # the trained network, no longer under masks
    by_hand = computed(net, dtype)
    assert float((slim - by_hand).abs().max()) <= off * float(by_hand.abs().max())
    left = FlopCountAnalysis(result.model, drawn(1, dtype=dtype)[0]).total()
    assert 0.45 * whole < left <= 0.5 * whole
    assert sum(each.numel() for each in result.model.parameters()) <= 0.6 * params
    assert pruned.remaining["flops"] == pytest.approx(result.report["flops"]["ratio"])
    assert same(slimmer.load(tmp_path / "run", net).state_dict(), result.model.state_dict())
    assert "a training loop under masks, 6 steps" in (tmp_path / "run" / "report.md").read_text()
    later = slimmer.finish(result, out=tmp_path / "later")
    assert (later.report["method"], later.plan) == ("taylor", result.plan)


def test_hooks_compute_what_the_masked_network_computes(pattern):
    """For every pattern of the zoo, with soft masks; outputs and gradients, in float64."""
    model, graph = zoo.traced(pattern)
    if not graph.units:
        return
    image = zoo.images(pattern)
    draw = torch.Generator().manual_seed(4)
    mask = torch.rand(graph.units, generator=draw, dtype=torch.float64).float().double()
    held = Masked(model, graph, mask)
    wanted = zoo.outputs(held(image))
    (slope,) = torch.autograd.grad(wanted.square().sum(), held.variables)
    attached = deepcopy(model)
    masks = LiveMasks(graph, torch.device("cpu"))
    hooks = Hooks(attached, masks)
    masks.set_(mask)
    found = zoo.outputs(attached(image))
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-12)
    found.square().sum().backward()
    torch.testing.assert_close(masks.take_gradient().double(), slope, rtol=1e-5, atol=1e-5)
    hooks.remove()
    unmasked = zoo.outputs(model(image))
    torch.testing.assert_close(zoo.outputs(attached(image)), unmasked, rtol=1e-12, atol=1e-12)


def test_the_budget_falls_along_the_cubic_schedule(net):
    pruned = slimmer.attach(net, drawn()[0], flops=0.4, steps=8, interval=1)
    optimizer = sgd(net)
    for step in range(8):
        train_(net, optimizer, pruned, 1, first=step)
        limit = 1 - 0.6 * (1 - (1 - (step + 1) / 8) ** 3)
        assert limit - 0.03 < pruned.remaining["flops"] <= limit
    assert pruned.left == 0


def test_scores_are_a_running_average_of_squared_gradients(net):
    """By hand: the squares over their mean, and the share of the last one is 1 - memory."""
    pruned = slimmer.attach(net, drawn()[0], flops=0.9, steps=9, memory=0.5, interval=9)
    images, labels = drawn()
    squares = []
    for each in (0, 1):
        cross_entropy(net(images), labels).backward()
        if each == 0:
            cross_entropy(net(images) / 2, labels).backward()  # accumulated
        gradient = pruned.state_dict()["gradient"].double()
        squares.append(gradient.square() / gradient.square().mean())
        pruned.step()
    wanted = 0.25 * squares[0] + 0.5 * squares[1]
    torch.testing.assert_close(pruned.state_dict()["scores"], wanted)


def test_a_loop_that_was_stopped_goes_on_to_the_same_bytes(net):
    def begun():
        model = deepcopy(net)
        return model, slimmer.attach(model, drawn()[0], flops=0.5, steps=7, interval=2)

    whole, pruned = begun()
    train_(whole, sgd(whole), pruned, 9)
    wanted = pruned.finish()

    first, pruned = begun()
    optimizer = sgd(first)
    train_(first, optimizer, pruned, 4)
    state = {
        "model": first.state_dict(),
        "optimizer": optimizer.state_dict(),
        "pruned": pruned.state_dict(),
    }
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    state = torch.load(file, weights_only=True)
    second, pruned = begun()
    optimizer = sgd(second)
    second.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    pruned.load_state_dict(state["pruned"])
    assert pruned.left == 3
    train_(second, optimizer, pruned, 5, first=4)
    found = pruned.finish()
    assert found.plan == wanted.plan
    assert same(found.model.state_dict(), wanted.model.state_dict())


def test_a_state_after_the_last_step_still_knows_the_plan(net):
    given = deepcopy(net)
    pruned = slimmer.attach(net, drawn()[0], flops=0.5, steps=3)
    train_(net, sgd(net), pruned, 3)
    again = slimmer.attach(given, drawn()[0], flops=0.5, steps=3)
    again.load_state_dict(pruned.state_dict())
    assert again.plan == pruned.plan
    assert again.remaining == pruned.remaining


@pytest.mark.parametrize("kind", ["SGD", "AdamW"])
def test_the_sliced_optimizer_goes_on_as_the_masked_network_would(net, kind):
    """Three more steps of the slim network are those of the network under its final masks."""

    def optimizer_of(model):
        options = {"SGD": {"lr": 0.01, "momentum": 0.9}, "AdamW": {"lr": 0.01, "eps": 1e-4}}
        return getattr(torch.optim, kind)(model.parameters(), **options[kind])

    net = net.double()
    pruned = slimmer.attach(net, drawn()[0].double(), flops=0.5, steps=4)
    optimizer = optimizer_of(net)
    train_(net, optimizer, pruned, 4, dtype=torch.float64)
    masked = deepcopy(net)  # runs under the same masks
    other = optimizer_of(masked)
    other.load_state_dict(deepcopy(optimizer.state_dict()))
    result = pruned.finish()
    slim = result.model.train()
    new = optimizer_of(slim)
    new.load_state_dict(pruned.optimizer_state(optimizer))
    train_(slim, new, None, 3, first=4, dtype=torch.float64)
    train_(masked.train(), other, None, 3, first=4, dtype=torch.float64)
    torch.testing.assert_close(
        computed(slim, torch.float64), computed(masked, torch.float64), rtol=1e-9, atol=1e-9
    )


def test_the_weights_of_a_moving_average_are_taken(net):
    pruned = slimmer.attach(net, drawn()[0], flops=0.5, steps=4)
    average = torch.optim.swa_utils.AveragedModel(net)  # copied with its masks
    optimizer = sgd(net)
    for step in range(4):
        train_(net, optimizer, pruned, 1, first=step)
        average.update_parameters(net)
    under_masks = computed(average)
    result = pruned.finish(average)
    assert not torch.allclose(under_masks, computed(net), rtol=1e-3)
    torch.testing.assert_close(computed(result.model), under_masks, rtol=1e-5, atol=1e-5)


def test_a_pickled_network_computes_under_the_masks_it_had(net):
    pruned = slimmer.attach(net, drawn()[0], flops=0.5, steps=4)
    train_(net, sgd(net), pruned, 3)
    wanted = computed(net)
    again = pickle.loads(pickle.dumps(net))
    train_(net.train(), sgd(net), pruned, 1)
    assert torch.equal(computed(again), wanted)


def test_a_part_that_runs_alone_and_recomputed_activations_are_masked(net):
    pruned = slimmer.attach(net, drawn()[0], flops=0.3, steps=1)
    train_(net, sgd(net), pruned, 1)
    net.eval().zero_grad()
    x = torch.relu(net.bn1(net.conv1(drawn()[0])))
    part = net.layer1(x).sum()
    part.backward()
    alone = net.layer1[0].conv2.weight.grad.clone()
    plan = pruned.plan
    net.zero_grad()
    checkpointed(net.layer1, x.detach(), use_reentrant=False).sum().backward()
    torch.testing.assert_close(net.layer1[0].conv2.weight.grad, alone)
    net.zero_grad()
    pruned.finish()
    mask_(net, plan)
    torch.testing.assert_close(net.layer1(x).sum(), part, rtol=1e-5, atol=1e-5)


def test_a_forward_that_fails_leaves_the_parameters_in_their_places(net):
    slimmer.attach(net, drawn()[0], flops=0.5, steps=4)
    held = dict(net.named_parameters())
    with pytest.raises(RuntimeError):
        net(torch.zeros(1, 2, 16, 16))
    assert all(each is held[name] for name, each in net.named_parameters())
    assert len(held) == len(dict(net.named_parameters()))


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")  # dynamo reads it
def test_a_compiled_network_runs_under_the_masks(net):
    pruned = slimmer.attach(net, drawn()[0], flops=0.5, steps=3)
    compiled = torch.compile(net, backend="aot_eager")
    train_(compiled, sgd(net), pruned, 3)
    torch.testing.assert_close(computed(compiled), computed(net), rtol=1e-5, atol=1e-5)
    whole = computed(deepcopy(net))
    pruned.finish()
    assert not torch.allclose(computed(net), whole, rtol=1e-3)


def test_autocast_and_steps_that_overflowed(net):
    """As GradScaler skips a step with infinite gradients, the scores do."""
    pruned = slimmer.attach(net, drawn()[0], flops=0.5, steps=3)
    images, labels = drawn()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = cross_entropy(net(images), labels)
    loss.backward()
    pruned.step()
    before = pruned.state_dict()["scores"]
    (cross_entropy(net(images), labels) * float("inf")).backward()
    pruned.step()
    assert torch.equal(pruned.state_dict()["scores"], before)
    assert pruned.left == 1


def test_prune_train_attach_and_prune_again(net, digits, tmp_path):
    """The calls one after the other, each on what the one before returned; the last network is the
    dense one without all channels that any of them removed.
    """
    pruned = slimmer.prune(net, input_size=SIZE, flops=0.8)
    train_(pruned.model.train(), sgd(pruned.model), None, 2)
    first = slimmer.finish(pruned, out=tmp_path / "first")
    attached = slimmer.attach(first.model.train(), drawn()[0], flops=0.8, steps=3)
    train_(first.model, sgd(first.model), attached, 3)
    second = attached.finish()
    third = slimmer.prune(second.model, digits, flops=0.8, epochs=0, **{"data.trust": True})
    for one, other in ((first, second), (second, third)):
        assert other.report["flops"]["dense"] == one.report["flops"]["slim"]
    wanted = 0.8**3 * first.report["flops"]["dense"]
    assert 0.9 * wanted < third.report["flops"]["slim"] <= wanted
    counted = FlopCountAnalysis(third.model, torch.zeros(1, *SIZE)).total()
    assert counted == third.report["flops"]["slim"]


@pytest.fixture
def digits():
    from slimmer.data import load

    return load("digits")


def replaced_(model):
    model.linear.weight = nn.Parameter(model.linear.weight.detach().clone())


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (replaced_, "linear.weight"),
        (lambda model: setattr(model, "linear", nn.Linear(64, 10)), "linear.weight"),
        (lambda model: setattr(model, "more", nn.Linear(1, 1)), "more.weight"),
    ],
)
def test_parameters_that_are_replaced_are_named(net, change, found):
    pruned = slimmer.attach(net, drawn()[0], flops=0.5, steps=4)
    change(net)
    net(drawn()[0]).sum().backward()
    with pytest.raises(TrainingError, match=rf"after slimmer\.attach: {found}"):
        pruned.step()


def test_calls_in_the_wrong_order_each_have_one_message(net):
    pruned = slimmer.attach(net, drawn()[0], flops=0.5, steps=2)
    with pytest.raises(TrainingError, match="no gradient has reached the masks"):
        pruned.step()
    with pytest.raises(
        TrainingError, match=r"2 of 2 steps are left, and flops are at 100\.0% of dense, the budget"
    ):
        pruned.finish()
    with pytest.raises(TrainingError, match="the channels are not chosen yet"):
        pruned.optimizer_state(sgd(net))
    train_(net, sgd(net), pruned, 2)
    with pytest.raises(TrainingError, match=r"was called more often than the 2 steps"):
        pruned.step()
    assert pruned.finish().report["flops"]["ratio"] <= 0.5
    for call in (pruned.step, pruned.finish, lambda: pruned.load_state_dict({})):
        with pytest.raises(TrainingError, match=r"was called after finish\(\)"):
            call()


def test_the_rest_is_removed_at_once_where_asked(net):
    pruned = slimmer.attach(net, drawn()[0], flops=0.5, steps=100)
    train_(net, sgd(net), pruned, 2)
    assert pruned.finish(now=True).report["flops"]["ratio"] <= 0.5


@pytest.mark.parametrize(
    "call",
    [
        lambda net: slimmer.attach(net, drawn()[0], flops=0.5, steps=2),
        lambda net: slimmer.attach(deepcopy(net), drawn()[0], flops=0.5, steps=2),
        lambda net: slimmer.prune(net, flops=0.5, input_size=SIZE),
        lambda net: slimmer.inspect(net, input_size=SIZE),
    ],
)
def test_an_attached_network_is_refused_elsewhere(net, call):
    slimmer.attach(net, drawn()[0], flops=0.5, steps=2)
    with pytest.raises(SlimmerError, match=r"runs under the masks of slimmer\.attach"):
        call(net)


@pytest.mark.parametrize(
    ("settings", "found"),
    [
        ({"steps": 0}, "steps: is 0"),
        ({"steps": 2, "interval": 0}, "interval: is 0"),
        ({"steps": 2, "memory": 1}, "memory: is 1"),
        ({"steps": 2, "rewrite": True}, "masks act in yours"),
        ({"steps": 2, "method.name": "l1"}, "scores channels by Taylor"),
        ({"steps": 2, "method.search": 60}, "method.search: is 60, which slimmer.attach does not"),
        ({"steps": 2, "method.sparsify": 0.5}, "method.sparsify: is 0.5, which slimmer.attach"),
        ({"steps": 2, "method.order": "taylor"}, "method.order: is taylor, which slimmer.attach"),
        ({"steps": 2, "flops": None}, "no budget given"),
        ({"steps": 2, "flops": 0.0001}, "can't be met"),
    ],
)
def test_settings_that_do_not_fit_are_refused_and_the_network_is_as_it_was(net, settings, found):
    with pytest.raises(SlimmerError, match=found):
        slimmer.attach(net, drawn()[0], **{"flops": 0.5, **settings})
    slimmer.attach(net, drawn()[0], flops=0.5, steps=1)


def test_a_compiled_network_is_refused(net):
    with pytest.raises(SlimmerError, match="attach first, and compile afterwards"):
        slimmer.attach(torch.compile(net), drawn()[0], flops=0.5, steps=2)


def test_a_replica_of_data_parallel_is_refused(net):
    """As nn.DataParallel makes them for each GPU; their weights are not parameters."""
    slimmer.attach(net, drawn()[0], flops=0.5, steps=2)
    with pytest.raises(SlimmerError, match=r"masks do not act in nn\.DataParallel"):
        net._replicate_for_data_parallel()(drawn()[0])


def test_a_state_of_another_network_or_of_other_settings_is_refused(net):
    given = deepcopy(net)
    state = slimmer.attach(net, drawn()[0], flops=0.5, steps=2).state_dict()
    torch.manual_seed(1)
    others = {
        "another set of weights": (build("cifar_resnet8", in_channels=1), {}),
        "another number of steps": (given, {"steps": 3}),
        "another recipe": (deepcopy(given), {"flops": 0.6}),
    }
    for found, (model, settings) in others.items():
        pruned = slimmer.attach(model, drawn()[0], **{"flops": 0.5, "steps": 2, **settings})
        with pytest.raises(TrainingError, match=found):
            pruned.load_state_dict(state)
    with pytest.raises(TrainingError, match=r"is not a state of slimmer\.attach"):
        pruned.load_state_dict({"step": 3})


def test_weights_of_another_network_are_refused_and_the_masks_stay(net):
    pruned = slimmer.attach(net, drawn()[0], flops=0.5, steps=2)
    train_(net, sgd(net), pruned, 2)
    with pytest.raises(SlimmerError, match="does not have the weights of the attached network"):
        pruned.finish(build("cifar_resnet20", in_channels=1))
    under_masks = computed(net)
    torch.testing.assert_close(computed(pruned.finish().model), under_masks, rtol=1e-5, atol=1e-5)


def test_networks_with_inputs_of_their_own_are_attached():
    class Two(nn.Module):
        """Adds two images, each through a convolution."""

        def __init__(self):
            super().__init__()
            self.one, self.two = nn.Conv2d(1, 16, 3), nn.Conv2d(2, 16, 3)
            self.last = nn.Conv2d(16, 3, 1)

        def forward(self, image, mask):
            return self.last(torch.relu(self.one(image) + self.two(mask)))

    model, given = Two(), (torch.rand(2, 1, 8, 8), torch.rand(2, 2, 8, 8))
    pruned = slimmer.attach(model, given, flops=0.5, steps=1)
    model(*given).square().mean().backward()
    pruned.step()
    wanted = model(*given)
    result = pruned.finish()
    assert result.model.one.out_channels == 8
    torch.testing.assert_close(result.model(*given), wanted)


TWO_PROCESSES = """
import sys, torch, slimmer
from pathlib import Path
from torch import distributed
from slimmer.models import build
distributed.init_process_group("gloo")
rank = distributed.get_rank()
torch.manual_seed(0)
model = build("cifar_resnet8", in_channels=1).train()
pruned = slimmer.attach(model, torch.rand(2, 1, 16, 16), flops=0.5, steps=3)
parallel = torch.nn.parallel.DistributedDataParallel(model)
optimizer = torch.optim.SGD(parallel.parameters(), lr=0.05, momentum=0.9)
torch.manual_seed(rank)  # every process has images of its own
for _ in range(3):
    optimizer.zero_grad()
    parallel(torch.rand(4, 1, 16, 16)).square().mean().backward()
    optimizer.step()
    pruned.step()
result = pruned.finish(out=Path(sys.argv[1]) / "run")
Path(sys.argv[1], f"plan{rank}").write_text(result.plan.hash)
weights = torch.cat([each.flatten() for each in result.model.parameters()])
Path(sys.argv[1], f"sum{rank}").write_text(repr(float(weights.double().sum())))
distributed.destroy_process_group()
"""


def test_two_processes_hold_the_same_masks(tmp_path):
    (tmp_path / "job.py").write_text(TWO_PROCESSES)
    run = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*run, str(tmp_path / "job.py"), str(tmp_path)],
        env={**os.environ, **PYTHON, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    for name in ("plan", "sum"):
        assert (tmp_path / f"{name}0").read_text() == (tmp_path / f"{name}1").read_text()
    assert (tmp_path / "run" / "report.json").is_file()
