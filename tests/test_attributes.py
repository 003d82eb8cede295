"""Numbers in users' modules that name a width: methods that rely on them compute what forward does,
or it is said.
"""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import slimmer
from slimmer.errors import RunError
from slimmer.pipeline.job import examine
from slimmer.pruning.apply import prune
from slimmer.pruning.masks import Masked, hard_mask
from slimmer.pruning.plan import Plan, make_plan
from slimmer.pruning.rewrite import read_program
from slimmer.pruning.slim_file import Identity
from slimmer.recipe.sections import ModelSection
from slimmer.reports.hints import attribute_notes
from slimmer.reports.report_data import attribute_report
from slimmer.reports.run_report import to_markdown

CALM = settings(deadline=None, derandomize=True, max_examples=15)
SIZE = (3, 8, 8)
ONE = torch.rand(2, *SIZE, generator=torch.Generator().manual_seed(1))


class Halves(nn.Module):
    """Halves by number in forward, and by its own `width` in another method; a branch as wide
    inside.
    """

    def __init__(self, width=8):
        super().__init__()
        self.width = width
        self.kernel_size = width
        self.enter = nn.Conv2d(6, 2 * width, 1)
        self.inner = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, width, 1)
        )
        self.leave = nn.Conv2d(3 * width, 5, 1)

    def forward(self, x):
        first, second = self.enter(x).chunk(2, 1)
        return self.leave(torch.cat([first, second, self.inner(second)], 1))

    def forward_by_width(self, x):
        first, second = self.enter(x).split((self.width, self.width), 1)
        return self.leave(torch.cat([first, second, self.inner(second)], 1))


class Net(nn.Module):
    """A stem, a block and a head; `last_width` names what the head reads, and the block's output is
    as wide.
    """

    def __init__(self, block, classes=4):
        super().__init__()
        self.last_width = 5
        self.stem = nn.Conv2d(3, 6, 3)
        self.block = block
        self.head = nn.Linear(5, classes)

    def forward(self, x):
        return self.head(self.block(self.stem(x).relu()).relu().mean((2, 3)))


def made(block=None):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Net(Halves() if block is None else block).eval()


def graph_of(model, **options):
    return examine(model, Identity("", 4, SIZE), ModelSection(**options))[1]


def cut_at(graph, layer, *units):
    """The plan that takes `units` off the group that holds the outputs of a layer."""
    axes = {each.out_axis for each in graph.layers if each.name == layer}
    [group] = [
        group for group in graph.groups if axes.intersection(part.axis for part in group.slices)
    ]
    return make_plan(graph, {group.name: set(range(group.size)).difference(units)})


@pytest.fixture(scope="module")
def halves():
    """A network with a block of halves, and its graph."""
    model = made()
    return model, graph_of(model)


@CALM
@given(st.data())
def test_a_method_that_splits_by_width_computes_what_forward_does(halves, data):
    model, graph = halves
    keep = {
        g.name: data.draw(st.sets(st.integers(0, g.size - 1), min_size=1)) for g in graph.groups
    }
    slim = prune(model, make_plan(graph, keep))
    x = torch.rand(2, 6, 8, 8)[:, : slim.block.enter.in_channels]
    with torch.no_grad():
        assert torch.equal(slim.block.forward_by_width(x), slim.block(x))
    assert 2 * slim.block.width == slim.block.enter.out_channels
    assert slim.block.kernel_size == 8
    assert slim.last_width == slim.head.in_features
    assert model.block.width == 8


def test_a_split_of_the_module_decides_though_another_width_of_the_value_became_another():
    graph = graph_of(made())
    plan = cut_at(graph, "block.inner.0", 0, 1)
    assert plan.attributes == ()
    assert cut_at(graph, "block.enter", 0, 1, 2).attributes == (("block#width", 5),)


class Two(nn.Module):
    """Two layers of one width, and a number that names it; `scale` is the same number, and forward
    counts with it.
    """

    def __init__(self, factor=1):
        super().__init__()
        self.features = 7
        self.scale = 7
        self.num_classes = 7
        self.a = nn.Conv2d(6, 7, 1)
        self.b = nn.Conv2d(7, 7, 1)
        self.c = nn.Conv2d(7, 5, 1)

    def forward(self, x):
        return self.c(self.b(self.a(x).relu()).relu()) * self.scale


@pytest.mark.parametrize(
    ("widths", "features"), [((4, 4), 4), ((4, 6), None), ((7, 7), 7), ((7, 3), None)]
)
def test_a_number_follows_where_all_that_it_may_name_became_one_width_and_is_listed_otherwise(
    widths, features
):
    model = made(Two())
    graph = graph_of(model)
    plan = make_plan(graph, {"block.a": range(widths[0]), "block.b": range(widths[1])})
    slim, found = prune(model, plan), attribute_report(graph, plan)
    assert slim.block.features == (7 if features is None else features)
    assert slim.block.scale == slim.block.num_classes == 7
    stayed = [row for row in found["stayed"] if row["attribute"] == "block.features"]
    assert stayed == (
        [] if features else [{"attribute": "block.features", "dense": 7, "widths": sorted(widths)}]
    )
    followed = [row for row in found["followed"] if row["attribute"] == "block.features"]
    assert followed == (
        [{"attribute": "block.features", "dense": 7, "slim": 4}] if features == 4 else []
    )
    assert [row["attribute"] for row in (*found["followed"], *found["stayed"])] in (
        [],
        ["block.features"],
    )
    with torch.no_grad():
        wanted = Masked(model, graph, hard_mask(plan))(ONE)
        assert torch.allclose(slim(ONE), wanted, atol=1e-5)


def test_the_numbers_of_pytorchs_own_layers_are_no_attributes_also_in_a_subclass():
    class Own(nn.Conv2d):
        def __init__(self, *sizes):
            super().__init__(*sizes)
            self.mine = self.out_channels

    model = made(nn.Sequential(Own(6, 9, 1), nn.Conv2d(9, 5, 1)))
    graph = graph_of(model)
    assert {str(each) for each in graph.attributes} == {"block.0.mine", "last_width"}
    slim = prune(model, cut_at(graph, "block.0", 1, 2))
    assert (slim.block[0].mine, slim.block[0].out_channels, slim.block[0].in_channels) == (7, 7, 6)


def test_a_plan_carries_its_numbers_through_its_file_and_refuses_what_the_network_has_not():
    model = made()
    plan = cut_at(graph_of(model), "block.enter", 0)
    again = Plan.from_json(plan.to_json())
    assert again == plan
    assert again.attributes == (("block#width", 7),)
    without = json.loads(plan.to_json())
    del without["attributes"]
    assert Plan.from_json(json.dumps(without)).attributes == ()
    for name, number in (
        ("block#width", 9),
        ("block#forward", 2),
        ("gone#width", 2),
        ("block#training", 1),
    ):
        with pytest.raises(RunError, match=f"plan: sets {name} to {number}"):
            prune(model, Plan(plan.groups, plan.keep, ((name, number),)))
    for wrong in (
        {"block#width": "7"},
        {"block#width": 0},
        {"width": 7},
        {"block#width": True},
        [7],
        7,
    ):
        with pytest.raises(RunError, match=r"is damaged: attributes"):
            Plan.from_json(json.dumps({**without, "attributes": wrong}))


def test_a_slim_network_has_its_numbers_also_where_it_is_loaded_and_the_report_lists_them(tmp_path):
    model = made()
    result = slimmer.prune(model, flops=0.5, input_size=SIZE, out=tmp_path / "run")
    loaded = slimmer.load(tmp_path / "run", model)
    x = torch.rand(2, loaded.block.enter.in_channels, 8, 8)
    with torch.no_grad():
        assert torch.equal(loaded.block.forward_by_width(x), loaded.block(x))
    assert (
        loaded.block.width == result.model.block.width == loaded.block.enter.out_channels // 2 < 8
    )
    report = json.loads(Path(tmp_path, "run", "report.json").read_text())
    assert {"attribute": "block.width", "dense": 8, "slim": loaded.block.width} in report[
        "attributes"
    ]["followed"]
    text = Path(tmp_path, "run", "report.md").read_text()
    assert f"- `block.width` changed from 8 to {loaded.block.width}." in text


class BySize(Halves):
    """What forward does in `Halves` it does by its number here; `off` is what it adds to that."""

    off = 0

    def forward(self, x):
        width = self.width + self.off
        first, second = self.enter(x).split((width, 2 * self.width - width), 1)  # fixes
        return self.leave(
            torch.cat(
                [first, second, self.inner(first)[:, :1] if self.off else self.inner(second)], 1
            )
        )


class ByLiteral(Halves):
    """The same with the number written down."""

    def forward(self, x):
        first, second = self.enter(x).split(8, 1)  # fixes
        return self.leave(torch.cat([first, second, self.inner(second)], 1))


def test_equal_splits_lets_channels_go_that_the_code_splits_by_a_number_of_its_module():
    model = made(BySize())
    held = graph_of(model)
    assert {row.layer: row.channels for row in held.fixed}["block.enter"] == 16
    graph = graph_of(model, equal_splits=True)
    plan = cut_at(graph, "block.enter", 0, 5, 6)
    slim = prune(model, plan)
    assert (slim.block.width, slim.block.enter.out_channels) == (5, 10)
    with torch.no_grad():
        assert torch.allclose(slim(ONE), Masked(model, graph, hard_mask(plan))(ONE), atol=1e-6)


def test_equal_splits_leaves_whole_what_is_split_by_a_number_that_nothing_follows():
    graph = graph_of(made(ByLiteral()), equal_splits=True)
    reasons = [row.reason for row in graph.fixed if row.layer == "block.enter"]
    assert reasons[0].startswith(
        "the code depends on the number of channels; when pruned: RuntimeError"
    )


def test_parts_that_a_rewritten_network_cuts_unequal_are_listed_and_equal_splits_keeps_them_equal():
    for block in (Halves(), BySize()):
        model = made(block)
        program = read_program(model, SIZE)
        plan = make_plan(program.channels, {program.channels.groups[1].name: range(3)})
        [row] = attribute_report(program.channels, plan)["unequal_splits"]
        assert (row["dense"], sorted(row["slim"])) == (8, [3, 8])
        [note] = attribute_notes({"unequal_splits": [row]})
        assert "equal parts of 8 channels are now" in note
        assert "--equal-splits" in note
        graph = read_program(model, SIZE, equal_splits=True)
        plan = cut_at(graph.channels, "block.enter", *range(5))
        assert attribute_report(graph.channels, plan)["unequal_splits"] == []
        slim = graph.prune(graph.dense(model), plan)
        assert slim.block.enter.weight.shape[0] == 6
        with torch.no_grad():
            assert torch.allclose(
                slim(ONE), Masked(model, graph.channels, hard_mask(plan))(ONE), atol=1e-6
            )
        loaded = read_program(model, SIZE)  # as a file of it is loaded
        with torch.no_grad():
            assert torch.equal(loaded.prune(loaded.dense(model), plan)(ONE), slim(ONE))


def test_a_width_that_cannot_be_told_is_listed():
    [note] = attribute_notes({"stayed": [{"attribute": "a.b", "dense": 8, "widths": [None, 5]}]})
    assert note.startswith(
        "`a.b` is still 8, but the widths it may stand for are now unknown, 5. forward does not "
        "read it;"
    )


def test_a_report_of_before_has_no_such_section(tmp_path):
    result = slimmer.prune(made(), flops=0.5, input_size=SIZE)
    report = dict(result.report)
    assert "## Width attributes of modules" in to_markdown(report)
    del report["attributes"]
    assert "## Width attributes of modules" not in to_markdown(report)


class InTraining(Two):
    """`features` is read in training alone, by a method of its own."""

    def forward(self, x):
        return super().forward(x) * (self.drawn() if self.training else 1)

    def drawn(self):
        return self.features


def test_a_number_that_forward_reads_in_training_stays():
    model = made(InTraining())
    plan = make_plan(graph_of(model), {"block.a": range(4), "block.b": range(4)})
    assert plan.attributes == ()
    assert [str(each) for each in graph_of(made(Two())).attributes] == [
        "last_width",
        "block.features",
    ]


def test_a_layer_that_is_not_traced_counts_as_one_that_stays():
    model = made(Two())
    model.features = 7
    plan = make_plan(graph_of(model, trace=("block",)), {"block.a": range(4), "block.b": range(4)})
    assert dict(plan.attributes) == {"#features": 4, "block#features": 4}
    model.other = nn.Linear(3, 7)
    plan = make_plan(graph_of(model, trace=("block",)), {"block.a": range(4), "block.b": range(4)})
    assert dict(plan.attributes) == {"block#features": 4}


ULTRALYTICS = """
import sys

import torch

try:
    import torchvision
except RuntimeError:  # built for CUDA beside a PyTorch without: its operators are not known
    operators = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        operators.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
import onnxruntime
from ultralytics import YOLO

import slimmer

name, kind = sys.argv[1:]
wrapper = YOLO(f"{name}.yaml")
dense = wrapper.model.eval()
slimmer.prune(dense, flops=0.5, input_size=(3, 64, 64), out="run")
wrapper.model = slim = slimmer.load("run", dense)
image = torch.rand(1, 3, 64, 64)
with torch.no_grad():
    wanted = slim(image)[0]
file = wrapper.export(format=kind, imgsz=64, **({"simplify": False} if kind == "onnx" else {}))
if kind == "onnx":
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    found = torch.from_numpy(session.run(None, {session.get_inputs()[0].name: image.numpy()})[0])
else:
    found = torch.jit.load(file)(image)
print()
off = float((found - wanted).abs().max() / wanted.abs().max())
print(found.shape == wanted.shape, off, slim.model[2].c)
"""


@pytest.mark.slow
@pytest.mark.skipif(find_spec("ultralytics") is None, reason="ultralytics is not installed")
@pytest.mark.parametrize("kind", ["torchscript", "onnx"])
@pytest.mark.parametrize("name", ["yolov8n", "yolo11n"])
def test_ultralytics_exports_a_slim_yolo_by_itself(name, kind, tmp_path):
    own = {"YOLO_CONFIG_DIR": str(tmp_path), "YOLO_AUTOINSTALL": "false", "YOLO_OFFLINE": "true"}
    path = os.pathsep.join(sys.path)
    done = subprocess.run(
        [sys.executable, "-c", ULTRALYTICS, name, kind],
        cwd=tmp_path,
        env={**os.environ, **own, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    same_shape, off, width = done.stdout.splitlines()[-1].split()
    assert same_shape == "True"
    assert float(off) < 1e-4
    assert int(width) < 16
