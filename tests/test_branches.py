"""Residual branches that are removed whole."""

import json
from dataclasses import replace
from itertools import chain
from types import SimpleNamespace

import hypothesis.strategies as st
import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import zoo
from hypothesis import given, settings
from interrupted import stopped_at
from onnx import helper
from torch import nn

import slimmer
from slimmer.costs import Budget
from slimmer.errors import BudgetError, RecipeError, RunError
from slimmer.exporting.constant_maps import shrink_constant_maps_
from slimmer.exporting.onnx import export_onnx, load_file
from slimmer.latency import build as latency_build
from slimmer.latency.build import MeasuredLatency
from slimmer.latency.kept import Kept
from slimmer.latency.sliced_file import dense_file
from slimmer.models import build
from slimmer.models.checkpoint import read_weights, save_weights
from slimmer.pipeline import latency_plan
from slimmer.pipeline.change_by_plan import changes_by_plans
from slimmer.pipeline.choose_plan import training_inputs
from slimmer.pipeline.job import examine, prepare
from slimmer.pipeline.recount import recount, subject_of
from slimmer.pipeline.stages import resume, start
from slimmer.pruning.branches import candidates, find_branches
from slimmer.pruning.composed_plan import compose
from slimmer.pruning.emptied import Emptied
from slimmer.pruning.masks import Masked, hard_mask
from slimmer.pruning.plan import Plan, full_plan, make_plan, read_plan
from slimmer.pruning.slim_file import Identity
from slimmer.recipe import read_recipe
from slimmer.recipe.budget import BudgetSection
from slimmer.recipe.sections import ModelSection
from slimmer.runs.directory import Run

BLOCKS = {  # networks with branches, and how many
    "cifar_resnet20": 9,
    "cifar_resnet20_b": 9,
    "cifar_preresnet11": 3,
    "cifar_wrn10_1": 3,
    "resnet18": 8,
    "resnet50": 16,
    "cifar_vgg16_bn": 0,
}


def examined(model, size, **budget):
    """The network, its graph with branches, its costs, its cut and its scope."""
    section = BudgetSection(depth=True, **budget)
    return examine(model.eval(), Identity("", 10, size), budget=section)


def lively(name):
    torch.manual_seed(0)
    model = build(name)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias)
            nn.init.normal_(module.running_mean)
    return model.eval()


@st.composite
def convolutions(draw):
    padding, dilation = draw(st.sampled_from(["same", "valid", 0, 1, 2])), draw(st.integers(1, 2))
    kernel = draw(st.sampled_from([1, 3] if padding == "same" else [1, 2, 3, 4]))
    stride = 1 if padding == "same" else draw(st.integers(1, 3))
    bias = draw(st.booleans())
    return nn.Conv2d(2, 3, kernel, stride, padding, dilation, bias=bias)


@given(convolutions(), st.integers(7, 12), st.integers(7, 12))
@settings(deadline=None)
def test_a_layer_without_inputs_is_a_convolution_with_zero_weights(conv, height, width):
    images = torch.randn(2, 2, height, width)
    with torch.no_grad():
        conv.weight.zero_()
        wanted = conv(images)
        assert torch.equal(Emptied(conv, [0, 1, 2])(images[:, :0]), wanted)
        assert torch.equal(Emptied(conv, [2])(images[:, :0]), wanted[:, 2:])
        assert Emptied(conv, [])(images).shape == (2, 0, *wanted.shape[2:])


@pytest.mark.parametrize("bias", [True, False])
def test_a_linear_layer_without_inputs_returns_its_bias(bias):
    linear = nn.Linear(4, 3, bias=bias)
    with torch.no_grad():
        linear.weight.zero_()
    found = Emptied(linear, [0, 1, 2])(torch.randn(2, 5, 0))
    assert torch.equal(found, linear(torch.randn(2, 5, 4)))


@pytest.mark.parametrize("name", BLOCKS)
def test_every_residual_block_is_a_branch(name):
    _, graph, *_ = examined(build(name), zoo.ARCHITECTURES[name])
    assert len(graph.branches) == BLOCKS[name]
    sets = [{each.rsplit(".", 1)[0] for each in branch} for branch in graph.branches]
    assert all(len(blocks) == 1 for blocks in sets)


@pytest.mark.parametrize("name", sorted(zoo.PATTERNS))
def test_removed_branches_of_every_pattern_compute_what_masks_do(name):
    model, graph, _, cut, _ = examined(zoo.make(name), zoo.size_of(name))
    images = zoo.images(name)
    for number in range(1 + len(graph.branches)):
        gone = chain.from_iterable(graph.branches[:number])
        plan = make_plan(graph, dict.fromkeys(gone, ()))
        with torch.no_grad():
            slim = zoo.outputs(cut(model, plan).eval()(images))
            masked = zoo.outputs(Masked(model, graph, hard_mask(plan, torch.float64))(images))
        assert torch.allclose(slim, masked, rtol=0, atol=1e-9 * float(masked.abs().max()))


@pytest.mark.parametrize("name", [name for name, number in BLOCKS.items() if number])
def test_without_branches_and_channels_all_counts_hold(name, tmp_path):
    """Every second branch is removed, and half of every other group: outputs, costs, training, the
    file and ONNX Runtime.
    """
    size = zoo.ARCHITECTURES[name]
    model, graph, costs, cut, scope = examined(lively(name), size)
    gone = frozenset().union(*graph.branches[::2])
    keep = {}
    for group in graph.groups:
        keep[group.name] = () if group.name in gone else range(0, group.size, 2)
    plan = make_plan(graph, keep)
    assert Plan.from_json(plan.to_json()) == plan
    slim = cut(model, plan)
    recount(subject_of(slim, model, graph, scope, cut), costs, plan)
    images = torch.randn(3, *size)
    with torch.no_grad():
        wanted = Masked(model, graph, hard_mask(plan)).eval()(images)
        assert torch.allclose(slim(images), wanted, atol=1e-4 * float(wanted.abs().max()))
    export_onnx(slim, tmp_path / "slim.onnx", size, metadata={})
    file = load_file(tmp_path / "slim.onnx", weights=True)
    assert not [node for node in file.graph.node if node.op_type == "ConstantOfShape"]
    session = onnxruntime.InferenceSession(tmp_path / "slim.onnx")
    (found,) = session.run(None, {"input": images.numpy()})
    assert np.abs(found - wanted.numpy()).max() <= 1e-4 * float(wanted.abs().max())
    slim.train()(images).square().sum().backward()
    assert all(each.grad is not None for each in slim.conv1.parameters())


@pytest.mark.parametrize("name", ["cifar_resnet8", "resnet18", "cifar_preresnet11"])
def test_sliced_files_without_branches_compute_what_exported_ones_do(name, tmp_path):
    size = (3, 32, 32)
    model, graph, _, cut, scope = examined(lively(name), size)
    subject = subject_of(model, model, graph, scope, cut)
    gone = frozenset().union(*graph.branches[1:])
    widths = [0 if group.name in gone else group.size for group in graph.groups]
    dense_file(subject, size).write(widths, tmp_path / "mine.onnx")
    export_onnx(subject.with_widths(widths), tmp_path / "theirs.onnx", size, metadata={})
    images = np.random.default_rng(0).standard_normal((2, *size), dtype=np.float32)
    found, kinds = [], []
    for file in ("mine.onnx", "theirs.onnx"):
        session = onnxruntime.InferenceSession(tmp_path / file)
        found.append(session.run(None, {"input": images})[0])
        nodes = load_file(tmp_path / file).graph.node
        kinds.append(sorted(node.op_type for node in nodes if node.op_type != "BatchNormalization"))
    assert kinds[0] == kinds[1]
    assert np.abs(found[0] - found[1]).max() <= 1e-4 * np.abs(found[1]).max()


def test_groups_with_a_minimum_width_stay():
    size = zoo.ARCHITECTURES["cifar_resnet20"]
    _, graph, *_ = examined(build("cifar_resnet20"), size, min_width={"layer1.*": 4})
    assert len(graph.branches) == 6
    _, graph, *_ = examined(build("cifar_resnet20"), size, max_sparsity=0.5)
    assert graph.branches == ()


def test_a_group_that_is_no_branch_must_keep_a_unit():
    _, graph, *_ = examined(build("cifar_resnet8"), (3, 32, 32))
    stream = next(iter(graph.streams))
    with pytest.raises(RunError, match="at least one unit"):
        make_plan(graph, {stream: ()})
    with pytest.raises(RunError, match="at least one unit"):
        make_plan(replace(graph, branches=()), {min(graph.branches[0]): ()})
    data = json.loads(make_plan(graph, dict.fromkeys(graph.branches[0], ())).to_json())
    assert [group["name"] for group in data["groups"] if "removed" in group] == ["layer1.0.conv1"]
    for group in data["groups"]:
        group.pop("removed", None)
    with pytest.raises(RunError, match="at least one unit"):
        Plan.from_json(json.dumps(data))


def test_a_branch_that_two_layers_need_is_none():
    """What only one branch reads goes with it; what others read too does not."""

    class Shared(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.shared = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1)
            self.one, self.two = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 6, 1)
            self.back, self.head = nn.Conv2d(4, 4, 1), nn.Conv2d(6, 4, 1)

        def forward(self, x):
            x = self.stem(x)
            y = torch.relu(self.shared(x))
            z = x + self.back(torch.relu(self.one(y)))
            return (z + self.head(torch.relu(self.two(y)))).mean((2, 3))

    model, graph, _, _, scope = examine(Shared().eval(), Identity("", 4, (3, 6, 6)))
    assert {"one"} in candidates(graph)
    assert {"two"} in candidates(graph)
    floors = {group.name: 1 for group in graph.groups}
    assert frozenset({"one"}) in find_branches(model, graph, floors, scope).branches


def useless_blocks():
    """A ResNet-20 in which two branches add almost nothing, trained for digits on no image."""
    torch.manual_seed(0)
    model = build("cifar_resnet20", in_channels=1)
    with torch.no_grad():
        for block in (model.layer1[1], model.layer3[2]):
            block.bn2.weight.fill_(1e-6)
            block.bn2.bias.zero_()
    return model


ASKED = {"epochs": 0, "data.trust": True, "budget.depth": True}


def test_branches_that_change_nothing_go_first(tmp_path):
    events = []
    dense = useless_blocks()
    result = slimmer.prune(
        dense, "digits", flops=0.75, out=tmp_path / "run", observe=events.append, **ASKED
    )
    widths = dict(zip(result.plan.gone, result.plan.widths, strict=True))
    gone = [name for name, width in widths.items() if width == 0]
    assert {"layer1.1.conv1", "layer3.2.conv1"} <= set(gone)
    assert result.report["flops"]["ratio"] <= 0.75
    (note,) = [each["text"] for each in events if "removed whole" in str(each.get("text"))]
    assert "layer1.1.conv1" in note
    tried = [each["change"] for each in events if each["event"] == "depth"]
    assert [each["branches"] for each in events if each["event"] == "depth"][:3] == [0, 1, 2]
    assert tried[2] < tried[0]
    again = slimmer.load(tmp_path / "run", dense)
    images = torch.randn(2, 1, 8, 8)
    assert torch.equal(again(images), result.model.eval()(images))
    for file in ("report.html", "report.md"):
        text = (tmp_path / "run" / file).read_text(encoding="utf-8")
        assert f"Removed whole, with the layers that only they feed: {gone[0]}" in text


def test_the_change_by_a_plan_does_not_depend_on_the_plans_before():
    made = read_recipe(
        None,
        [
            ("model.arch", "cifar_resnet8"),
            ("model.scratch", True),
            ("data.name", "digits"),
            ("finetune.distill", 0),
            ("budget.flops", 0.5),
        ],
    )
    job = prepare(made)
    images = list(training_inputs(job.task, made, 2))
    plans = []
    for part in (2, 4):
        kept = {group.name: range(group.size // part) for group in job.graph.groups}
        plans.append(make_plan(job.graph, kept))
    before = {name: tensor.clone() for name, tensor in job.model.state_dict().items()}
    change = changes_by_plans(job, made, images)
    both = [change(plan) for plan in plans]
    assert [change(plan) for plan in reversed(plans)] == both[::-1]
    assert both == [changes_by_plans(job, made, images)(plan) for plan in plans]
    assert 0 < both[0] != both[1]
    assert change(full_plan(job.graph)) == pytest.approx(0, abs=1e-12)
    for name, tensor in job.model.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_a_budget_that_channels_alone_miss_is_met_without_branches():
    dense = useless_blocks()
    _, graph, (flops, _), *_ = examined(useless_blocks(), (1, 8, 8))
    narrowest = flops.exact([1] * len(graph.groups))
    gone = frozenset().union(*graph.branches)
    without = flops.exact([int(group.name not in gone) for group in graph.groups])
    share = (narrowest + without) / 2 / flops.dense
    with pytest.raises(BudgetError):
        slimmer.prune(dense, "digits", flops=share, **{**ASKED, "budget.depth": False})
    result = slimmer.prune(dense, "digits", flops=share, **ASKED)
    assert result.report["flops"]["ratio"] <= share
    with pytest.raises(BudgetError):
        slimmer.prune(dense, "digits", flops=0.9 * without / flops.dense, **ASKED)


def test_branches_are_looked_for_with_data_and_scores_only():
    dense = build("cifar_resnet8", in_channels=1)
    with pytest.raises(RecipeError, match="--data"):
        slimmer.prune(dense, flops=0.5, input_size=(1, 8, 8), **{"budget.depth": True})
    options = {**ASKED, "epochs": 1, "method.name": "maskconvnet"}
    with pytest.raises(RecipeError, match="without masks"):
        slimmer.prune(dense, "digits", flops=0.5, **options)


def test_a_stopped_run_goes_on_without_its_branches(tmp_path):
    torch.manual_seed(0)
    save_weights(tmp_path / "dense.safetensors", useless_blocks(), {})
    settings = [
        ("model.checkpoint", str(tmp_path / "dense.safetensors")),
        ("model.arch", "cifar_resnet20"),
        ("data.name", "digits"),
        ("data.trust", True),
        ("budget.flops", 0.7),
        ("budget.depth", True),
        ("method.batches", 2),
        ("finetune.epochs", 0.5),
        ("finetune.batch_size", 64),
        ("finetune.save_every", 0.01),
    ]
    recipe = read_recipe(None, settings)
    start(recipe, tmp_path / "unbroken", latest=False)
    stopped = stopped_at(recipe, tmp_path / "stopped", 6)
    assert 0 in read_plan(stopped.plan).widths
    resume(stopped)
    ours, theirs = read_weights(stopped.slim), read_weights(Run(tmp_path / "unbroken").slim)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def constant_map(reader, extra=()):
    """A file: images (N, 2, 3, 3), and a map of zeros of their shape which `reader` reads."""
    tensor, ints = helper.make_tensor_value_info, onnx.TensorProto.INT64
    shape = ["batch", 2, 3, 3]
    nodes = [
        helper.make_node("Shape", ["x"], ["n"], start=0, end=1),
        helper.make_node("Concat", ["n", "two", "three", "three"], ["shape"], axis=0),
        helper.make_node("ConstantOfShape", ["shape"], ["zeros"]),
        reader,
        *extra,
    ]
    weights = [helper.make_tensor(name, ints, [1], [size]) for name, size in SIZES.items()]
    weights.append(helper.make_tensor("one", onnx.TensorProto.FLOAT, [1], [1.0]))
    channels = "batch", 4 if reader.op_type == "Concat" else 2, 3, 3
    graph = helper.make_graph(
        nodes,
        "map",
        [tensor("x", onnx.TensorProto.FLOAT, shape)],
        [tensor("y", onnx.TensorProto.FLOAT, channels)],
        weights,
        value_info=[tensor("sum", onnx.TensorProto.FLOAT, shape)] if extra else [],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


SIZES = {"two": 2, "three": 3}


@pytest.mark.parametrize("op", ["Add", "Concat"])
def test_a_constant_map_becomes_one_position_where_its_reader_broadcasts(op):
    options = {"axis": 1} if op == "Concat" else {}
    file = constant_map(helper.make_node(op, ["x", "zeros"], ["y"], **options))
    images = np.random.default_rng(0).standard_normal((2, 2, 3, 3), dtype=np.float32)
    before = onnxruntime.InferenceSession(file.SerializeToString()).run(None, {"x": images})[0]
    shrink_constant_maps_(file)
    onnx.checker.check_model(file, full_check=True)
    after = onnxruntime.InferenceSession(file.SerializeToString()).run(None, {"x": images})[0]
    assert np.array_equal(before, after)
    assert ("ConstantOfShape" in [node.op_type for node in file.graph.node]) == (op == "Concat")


def test_what_only_an_inner_graph_reads_stays():
    """The branches of an If read `one`, which no node outside does."""
    value = helper.make_tensor_value_info("z", onnx.TensorProto.FLOAT, None)
    inner = helper.make_graph([helper.make_node("Add", ["sum", "one"], ["z"])], "in", [], [value])
    truth = helper.make_tensor("t", onnx.TensorProto.BOOL, [], [True])
    extra = [
        helper.make_node("Constant", [], ["yes"], value=truth),
        helper.make_node("If", ["yes"], ["y"], then_branch=inner, else_branch=inner),
    ]
    file = constant_map(helper.make_node("Add", ["x", "zeros"], ["sum"]), extra)
    shrink_constant_maps_(file)
    assert [node.op_type for node in file.graph.node] == ["Add", "Constant", "If"]
    images = np.zeros((1, 2, 3, 3), dtype=np.float32)
    (found,) = onnxruntime.InferenceSession(file.SerializeToString()).run(None, {"x": images})
    assert (found == 1).all()


class TwoPaths(nn.Module):
    """Two branches that no path goes around, and two heads on one trunk."""

    def __init__(self):
        super().__init__()
        self.one = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Conv2d(4, 4, 1))
        self.two = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Conv2d(4, 4, 1))
        self.head = nn.Sequential(nn.Conv2d(4, 6, 1), nn.ReLU(), nn.Conv2d(6, 2, 1))
        self.other = nn.Sequential(nn.Conv2d(4, 6, 1), nn.ReLU(), nn.Conv2d(6, 2, 1))

    def forward(self, x):
        x = self.one(x) + self.two(x)
        return self.head(x).mean((2, 3)), self.other(x).mean((2, 3))


def test_one_path_and_every_head_stay():
    _, graph, *_ = examined(TwoPaths(), (3, 6, 6))
    assert graph.branches == (frozenset({"one.0"}),)


class Dense(nn.Module):
    """Two layers whose outputs are put beside their inputs, with SiLU after a norm."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.a0, self.a1 = nn.Conv2d(8, 6, 1), nn.Conv2d(6, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.last = nn.Conv2d(12, 8, 3, padding=1)

    def forward(self, x):
        x = self.stem(x)
        y = nn.functional.silu(self.norm(self.a1(torch.relu(self.a0(x)))))
        return self.last(torch.cat([x, y], 1)).mean((2, 3))


def test_constants_that_are_put_beside_others_keep_their_size(tmp_path):
    """The sliced file can't have them, so such networks are exported one by one."""
    size = (3, 8, 8)
    torch.manual_seed(0)
    kept, section = ModelSection(keep=("a1",)), BudgetSection(depth=True)
    model, graph, _, cut, scope = examine(Dense().eval(), Identity("", 8, size), kept, section)
    assert frozenset({"a0"}) in graph.branches
    slim = cut(model, make_plan(graph, {"a0": ()}))
    export_onnx(slim, tmp_path / "slim.onnx", size, metadata={})
    images = torch.randn(2, *size)
    session = onnxruntime.InferenceSession(tmp_path / "slim.onnx")
    (found,) = session.run(None, {"input": images.numpy()})
    assert np.abs(found - slim(images).detach().numpy()).max() <= 1e-5
    section = BudgetSection(latency=0.5, timing={"threads": 1})
    subject = replace(subject_of(model, model, graph, scope, cut), budget=section)
    assert latency_build.bench_of(subject).export is not None


@pytest.mark.parametrize("name", ["cifar_resnet8", "cifar_resnet8_b", "resnet18"])
def test_a_network_without_branches_is_pruned_again(name, tmp_path):
    size = (3, 32, 32)
    model, graph, _, cut, _ = examined(lively(name), size)
    first = make_plan(graph, dict.fromkeys(chain(*graph.branches[1::2]), ()))
    slim = cut(model, first)
    slim, again, _, cut, _ = examined(slim, size)
    second = make_plan(again, {group.name: range(0, group.size, 2) for group in again.groups})
    composed = compose(first, second)
    assert Plan.from_json(composed.to_json()) == composed
    ours, theirs = cut(model, composed), cut(slim, second)
    assert ours.state_dict().keys() == theirs.state_dict().keys()
    images = torch.randn(2, *size)
    with torch.no_grad():
        assert torch.equal(ours.eval()(images), theirs.eval()(images))


def test_a_depth_that_can_not_be_kept_when_measured_is_followed_by_the_next(monkeypatch):
    """The rounds of the first depth fail, as if its measured plans were all too slow."""
    depths = []

    def kept(budget, searches, score, observe):
        plan = searches[0](budget)
        depths.append(plan.widths.count(0))
        if len(depths) == 1:
            raise BudgetError("budget.latency", "too slow", "more")
        record = {"ratio": 0.4}
        return Kept(plan, budget.cost, record)

    job = SimpleNamespace(
        budgets=(Budget(MeasuredLatency("latency", 1, None), 1.0),),
        costs=(SimpleNamespace(name="flops"),),
    )
    same = Plan((), ())
    monkeypatch.setattr(latency_plan, "keep", kept)
    monkeypatch.setattr(latency_plan, "depths", lambda *_: [job, job])
    monkeypatch.setattr(latency_plan, "target_plan", lambda *_: same)
    monkeypatch.setattr(latency_plan, "replace", lambda given, **_: given)
    plan, found = latency_plan.plan_in_time(job, None, torch.zeros(1), lambda _: None)
    assert plan is same
    assert len(depths) == 2
    assert found == {"latency_measured": {"ratio": 0.4}}
