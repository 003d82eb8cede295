"""Files that older and other runtimes take: their IR version, strided slices, int8 without data
movement.
"""

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from slimmer.errors import RecipeError
from slimmer.exporting.int8 import write_int8
from slimmer.exporting.onnx import export_onnx
from slimmer.exporting.parity import check_parity
from slimmer.exporting.strided import pool_strided_slices_
from slimmer.exporting.strip_metadata import forget_source_
from slimmer.models.channel_pad import ChannelPad
from slimmer.recipe import read_recipe

SIZE = (3, 9, 8)
# What ONNX's own table of releases says: the operator set, the IR version of the release that
# brought it.
IR_VERSIONS = {18: 8, 19: 9, 20: 9, 21: 10, 22: 10, 23: 11}


class OptionA(nn.Module):
    """A residual block whose shortcut is every second row and column, with zeros for the new
    channels.
    """

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.conv = nn.Conv2d(4, 8, 3, stride=2, padding=1)
        self.shortcut = ChannelPad(before=2, after=2, stride=2)
        self.head = nn.Linear(8, 5)

    def forward(self, x):
        x = torch.relu(self.stem(x))
        x = torch.relu(self.conv(x) + self.shortcut(x))
        return self.head(x.mean((2, 3)))


@pytest.fixture(scope="module")
def option_a(tmp_path_factory):
    """A network with an option-A shortcut, its file in opset 18, and images."""
    torch.manual_seed(0)
    model, path = OptionA().eval(), tmp_path_factory.mktemp("option_a") / "net.onnx"
    export_onnx(model, path, SIZE, metadata={}, opset=18)
    return model, path, torch.randn(8, *SIZE)


def kinds(path):
    return [node.op_type for node in onnx.load(path).graph.node]


def test_a_file_has_the_lowest_ir_version_that_its_opset_needs(option_a, tmp_path):
    model, path, _ = option_a
    assert onnx.load(path).ir_version == IR_VERSIONS[18]
    export_onnx(model, tmp_path / "net.onnx", SIZE, metadata={})
    file = onnx.load(tmp_path / "net.onnx")
    assert file.ir_version == IR_VERSIONS[file.opset_import[0].version]
    write_int8(path, tmp_path / "net.int8.onnx", [torch.randn(4, *SIZE).numpy()], metadata={})
    assert onnx.load(tmp_path / "net.int8.onnx").ir_version == IR_VERSIONS[18]


def test_an_option_a_shortcut_is_a_pool_and_a_pad(option_a):
    model, path, images = option_a
    assert [kind for kind in kinds(path) if kind in ("Slice", "AveragePool", "Pad")] == [
        "AveragePool",
        "Pad",
    ]
    assert check_parity(model, path, images).max_rel < 1e-6


def sliced(shape, slices, also_read):
    """A file of Slice nodes behind one another, each (starts, ends, axes, steps); `also_read`
    between them too.
    """
    nodes, constants = [], []
    for number, bounds in enumerate(slices):
        names = [f"{kind}{number}" for kind in ("starts", "ends", "axes", "steps")]
        constants += [
            numpy_helper.from_array(np.array(each, np.int64), name)
            for each, name in zip(bounds, names, strict=True)
        ]
        nodes.append(
            helper.make_node(
                "Slice", [f"x{number}", *names], [f"x{number + 1}"], name=f"slice{number}"
            )
        )
    sizes = ["n", "c", "h", "w"][: len(shape)]
    values = [
        helper.make_tensor_value_info(
            f"x{number}", TensorProto.FLOAT, sizes if number == 0 else [None] * len(shape)
        )
        for number in range(len(slices) + 1)
    ]
    outputs = [values[-1], *(values[1:-1] if also_read else [])]
    graph = helper.make_graph(
        nodes, "slices", values[:1], outputs, constants, value_info=values[1:-1]
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


END = 2**63 - 1
BOUNDS = st.lists(
    st.tuples(
        st.sampled_from([0, 0, 0, 1, -3]),
        st.sampled_from([END, END, END, 4]),
        st.integers(0, 3),
        st.integers(1, 3),
    ),
    min_size=1,
    max_size=2,
    unique_by=lambda bound: bound[2],
)


@given(
    st.tuples(st.integers(1, 2), st.integers(1, 5), st.integers(1, 9), st.integers(1, 9)),
    st.lists(BOUNDS, min_size=1, max_size=3),
    st.booleans(),
)
def test_strided_slices_keep_exactly_what_numpy_keeps(shape, given_slices, also_read):
    """Whichever slices are written as pools, the file gives NumPy's own slice, number by number."""
    slices = [tuple(map(list, zip(*bounds, strict=True))) for bounds in given_slices]
    file = sliced(shape, slices, also_read)
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    expected = x
    for bounds in given_slices:
        for start, end, axis, step in bounds:
            place = [slice(None)] * 4
            place[axis] = slice(start, None if end == END else end, step)
            expected = expected[tuple(place)]
    pool_strided_slices_(file)
    onnx.checker.check_model(file)
    if expected.size == 0:  # ONNX Runtime's slices of nothing are not the question
        return
    session = onnxruntime.InferenceSession(
        file.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    np.testing.assert_array_equal(session.run(["x" + str(len(slices))], {"x0": x})[0], expected)


def test_slices_of_rows_and_columns_become_one_pool_and_others_stay():
    rows, columns = ([0], [END], [2], [2]), ([0], [END], [3], [3])
    both = sliced((1, 2, 8, 8), [rows, columns], also_read=False)
    pool_strided_slices_(both)
    [pool] = both.graph.node
    assert (pool.op_type, list(pool.attribute[1].ints)) == ("AveragePool", [2, 3])
    assert not both.graph.initializer
    between = sliced((1, 2, 8, 8), [rows, columns], also_read=True)
    pool_strided_slices_(between)
    assert [node.op_type for node in between.graph.node] == ["AveragePool", "AveragePool"]
    for other in (
        ([1], [END], [2], [2]),
        ([0], [6], [2], [2]),
        ([0], [END], [1], [2]),
        ([0], [END], [2], [1]),
    ):
        kept = sliced((1, 4, 8, 8), [other], also_read=False)
        pool_strided_slices_(kept)
        assert [node.op_type for node in kept.graph.node] == ["Slice"]


MOVERS = ("Pad", "AveragePool", "Reshape")


@pytest.mark.parametrize("symmetric", [False, True])
def test_int8_leaves_what_only_moves_numbers_alone(option_a, tmp_path, symmetric):
    """Between a strided slice and its pad no scale stands, and the sum behind them is quantized."""
    model, source, images = option_a
    path = tmp_path / "net.int8.onnx"
    write_int8(source, path, [images.numpy()], metadata={}, symmetric=symmetric)
    graph = onnx.load(path).graph
    made_by = {name: node.op_type for node in graph.node for name in node.output}
    [pad] = [node for node in graph.node if node.op_type == "Pad"]
    assert made_by[pad.input[0]] == "AveragePool"
    [add] = [node for node in graph.node if node.op_type == "Add"]
    assert [made_by[name] for name in add.input] == ["DequantizeLinear"] * 2
    assert check_parity(model, path, images, tolerance=0.1).max_rel > 1e-4


def test_symmetric_int8_has_no_zero_point_and_float32_biases(option_a, tmp_path):
    _, source, images = option_a
    path = tmp_path / "net.int8.onnx"
    write_int8(source, path, [images.numpy()], metadata={}, symmetric=True)
    graph = onnx.load(path).graph
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    scaled = [node for node in graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")]
    assert len(scaled) > 10
    assert not any(arrays[node.input[2]].any() for node in scaled)
    assert not any(
        arrays[node.input[0]].dtype == np.int32 for node in scaled if node.input[0] in arrays
    )
    layers = [node for node in graph.node if node.op_type in ("Conv", "Gemm")]
    assert [arrays[node.input[2]].dtype for node in layers] == [np.float32] * 3

    write_int8(source, path, [images.numpy()], metadata={})
    graph = onnx.load(path).graph
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    zeros = [arrays[node.input[2]] for node in graph.node if node.op_type == "QuantizeLinear"]
    assert any(zero.any() for zero in zeros)  # activations behind a ReLU, asymmetric unless asked


def test_symmetric_without_int8_is_refused():
    with pytest.raises(
        RecipeError, match=r"int8_symmetric applies to the int8 file; set int8 \(--int8\) too"
    ):
        read_recipe(None, [("export.int8_symmetric", True)])


def test_branches_of_a_file_tell_nothing_of_the_machine_either():
    """An If holds graphs of its own, with nodes that carry stack traces."""
    value = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])
    branch = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "branch", [], [value])
    branch.node[0].metadata_props.add(key="stack_trace", value="/home/me/net.py")
    branch.doc_string = "/home/me/net.py"
    condition = helper.make_tensor_value_info("c", TensorProto.BOOL, [])
    given_x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    node = helper.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=branch)
    file = helper.make_model(helper.make_graph([node], "net", [condition, given_x], [value]))
    forget_source_(file)
    assert b"/home/me" not in file.SerializeToString()
