"""fp16 and int8 files: their types, their nearness, and what they refuse."""

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto
from onnx.reference import ReferenceEvaluator
from test_export import METADATA, SIZE, Net, images, make
from torch import nn

from slimmer.data import Data, InMemory
from slimmer.errors import ExportError
from slimmer.exporting import onnx_file as write
from slimmer.exporting.forms import FORMS
from slimmer.exporting.fp16 import check_range, float32_ops, write_fp16
from slimmer.exporting.input_shape import Shape
from slimmer.exporting.int8 import calibration, write_int8
from slimmer.exporting.onnx import export_onnx, load_file, read_metadata
from slimmer.exporting.outputs import judged
from slimmer.exporting.parity import check_parity


class Loud(Net):
    """Small numbers again in the end, by way of some that are too large for fp16."""

    def forward(self, x):
        return torch.relu(super().forward(x) * 6e4) / 6e4


class Padded(nn.Module):
    """`Range`, which ONNX Runtime's converter leaves in float32, between two layers."""

    def __init__(self):
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 4, 3), nn.Linear(4, 2)

    def forward(self, x):
        x = nn.functional.interpolate(self.conv(x), scale_factor=2, mode="nearest")
        x = torch.cumsum(x, dim=2)
        return self.head(x.mean((2, 3)))


@pytest.fixture(scope="module")
def single(tmp_path_factory):
    """A network and its float32 file."""
    model, path = make().eval(), tmp_path_factory.mktemp("precision") / "net.onnx"
    export_onnx(model, path, SIZE, metadata=METADATA)
    return model, path


def types(path):
    """The types of inputs, outputs and floating initializers."""
    graph = load_file(path, weights=True).graph
    floats = {TensorProto.FLOAT, TensorProto.FLOAT16}
    return (
        [value.type.tensor_type.elem_type for value in graph.input],
        [value.type.tensor_type.elem_type for value in graph.output],
        {tensor.data_type for tensor in graph.initializer if tensor.data_type in floats},
    )


@pytest.mark.parametrize("half_io", [False, True])
def test_fp16_halves_every_weight_and_leaves_inputs_as_asked(half_io, single, tmp_path):
    model, source = single
    path = tmp_path / "net.fp16.onnx"
    write_fp16(source, path, half_io=half_io, metadata={"precision": "fp16"})
    outside = TensorProto.FLOAT16 if half_io else TensorProto.FLOAT
    assert types(path) == ([outside], [outside], {TensorProto.FLOAT16})
    assert read_metadata(path) == {"precision": "fp16"}
    assert float32_ops(path) == {}
    expected = {name: value for name, value in model.state_dict().items() if name == "head.weight"}
    weights = {
        tensor.name: onnx.numpy_helper.to_array(tensor)
        for tensor in load_file(path, weights=True).graph.initializer
    }
    np.testing.assert_array_equal(
        weights["head.weight"], expected["head.weight"].numpy().astype(np.float16)
    )
    check_range(path, images(2).numpy(), 2)
    parity = check_parity(model, path, images(6), tolerance=FORMS["fp16"].limit)
    assert 1e-6 < parity.max_rel < 1e-2  # a float32 file would be nearer


def test_fp16_is_right_in_true_half_precision(single, tmp_path):
    """onnx's own evaluator rounds behind every operation, which ONNX Runtime's CPU does not."""
    model, source = single
    path = tmp_path / "net.fp16.onnx"
    write_fp16(source, path, half_io=True, metadata={})
    x = images(3)
    (got,) = ReferenceEvaluator(str(path)).run(None, {"input": x.numpy().astype(np.float16)})
    with torch.no_grad():
        expected = model(x).numpy()
    assert got.dtype == np.float16
    assert np.abs(got - expected).max() <= FORMS["fp16"].limit * np.abs(expected).max()


def test_an_overflow_that_the_cpu_hides_is_refused(tmp_path):
    model, source, path = make(Loud).eval(), tmp_path / "net.onnx", tmp_path / "net.fp16.onnx"
    export_onnx(model, source, SIZE, metadata={})
    before = check_parity(model, source, images(4))
    write_fp16(source, path, half_io=False, metadata={})
    assert before.max_rel < 1e-5
    with pytest.raises(ExportError, match=r"Mul .*overflows in fp16"):
        check_range(path, images(4).numpy(), 4)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["net.fp16.onnx", "net.onnx"]


def test_a_weight_beyond_fp16_is_refused_and_not_clamped(tmp_path):
    model = make()
    with torch.no_grad():
        model.head.bias[1] = 70000.0
    export_onnx(model, tmp_path / "net.onnx", SIZE, metadata={})
    with pytest.raises(ExportError, match=r"head\.bias: holds 7e\+04"):
        write_fp16(tmp_path / "net.onnx", tmp_path / "half.onnx", half_io=False, metadata={})
    assert not (tmp_path / "half.onnx").exists()


def test_what_stays_float32_is_told(tmp_path):
    torch.manual_seed(0)
    model, source, path = Padded().eval(), tmp_path / "net.onnx", tmp_path / "net.fp16.onnx"
    export_onnx(model, source, SIZE, metadata={})
    write_fp16(source, path, half_io=False, metadata={})
    assert float32_ops(path) == {"CumSum": 1}
    assert check_parity(model, path, images(3), tolerance=FORMS["fp16"].limit).top1_agreement == 1


def test_fp16_and_int8_of_large_weights(single, tmp_path, monkeypatch):
    monkeypatch.setattr(write, "ONE_FILE", 100)
    monkeypatch.setattr(write, "SMALL", 64)
    model, source = make().eval(), tmp_path / "net.onnx"
    export_onnx(model, source, SIZE, metadata={})
    write_fp16(source, tmp_path / "net.fp16.onnx", half_io=False, metadata={})
    check_range(tmp_path / "net.fp16.onnx", images(2).numpy(), 2)
    write_int8(source, tmp_path / "net.int8.onnx", [images(8).numpy()], metadata={})
    assert (tmp_path / "net.fp16.onnx.data").is_file()
    for name in ("fp16", "int8"):
        check_parity(model, tmp_path / f"net.{name}.onnx", images(4), tolerance=0.2)


def test_int8_is_qdq_with_a_scale_a_channel_and_near(single, tmp_path, capfd):
    model, source = single
    path = tmp_path / "net.int8.onnx"
    write_int8(source, path, [images(8).numpy(), images(5).numpy()], metadata={"precision": "int8"})
    file = onnx.load(path)
    kinds = [node.op_type for node in file.graph.node]
    assert kinds.count("Conv") == 1
    assert not any(kind.startswith("QLinear") for kind in kinds)
    arrays = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in file.graph.initializer}
    weight, scale, _ = (arrays[name] for name in _dequantized(file, "Conv"))
    assert (weight.dtype, weight.shape, scale.shape) == (np.int8, (6, 3, 3, 3), (6,))
    assert read_metadata(path) == {"precision": "int8"}
    assert types(path)[:2] == ([TensorProto.FLOAT], [TensorProto.FLOAT])
    assert check_parity(model, path, images(8), tolerance=0.2).max_rel > 1e-4
    assert capfd.readouterr() == ("", "")


def _dequantized(file, kind):
    """What feeds the DequantizeLinear behind the weight of the first node of a kind."""
    node = next(node for node in file.graph.node if node.op_type == kind)
    return next(each for each in file.graph.node if node.input[1] in each.output).input


def make_data(count):
    train = InMemory(
        torch.arange(count, dtype=torch.float32).reshape(-1, 1, 1, 1), torch.arange(count) % 2
    )
    return Data("numbers", train, train, ("even", "odd"), (0.0,), (0.5,), (1, 1))


@pytest.mark.parametrize(
    ("number", "batch", "sizes"), [(5, None, [5]), (70, None, [32, 8]), (6, 4, [4, 4])]
)
def test_calibration_takes_each_image_once_normalised(number, batch, sizes):
    found = list(calibration(make_data(40), number, seed=3, batch=batch))
    assert [len(part) for part in found] == sizes
    values = np.concatenate(found).ravel() * 0.5
    taken = min(number, 40)
    assert len(set(values[:taken])) == taken
    assert set(values[:taken]) <= set(range(40))
    assert set(values[taken:]) <= {values[taken - 1]}
    again = np.concatenate(list(calibration(make_data(40), number, seed=3, batch=batch)))
    assert np.array_equal(again.ravel() * 0.5, values)
    if number < 40:
        other = np.concatenate(list(calibration(make_data(40), number, seed=4, batch=batch)))
        assert not np.array_equal(other, again)


def test_calibration_on_whole_batches_makes_a_file_of_that_batch(tmp_path):
    model, source, path = make().eval(), tmp_path / "net.onnx", tmp_path / "net.int8.onnx"
    export_onnx(model, source, SIZE, metadata={}, shape=Shape(batch=4))
    write_int8(source, path, [images(4).numpy()], metadata={})
    assert check_parity(model, path, images(6), tolerance=0.2, batch=4).images == 6


@given(st.integers(0, 2**32 - 1), st.sampled_from([1, 2, 10]), st.sampled_from([1e-4, 2e-2, 0.3]))
def test_clear_images_keep_their_class_however_the_logits_move_within_the_tolerance(
    seed, classes, tolerance
):
    random = np.random.default_rng(seed)
    logits = random.standard_normal((50, classes))
    found = judged(lambda x: x, [(logits, np.zeros(50, dtype=np.int64))], where="here")
    moved = logits + random.choice([-1, 1], logits.shape) * tolerance * np.abs(logits).max() * 0.999
    changed = np.flatnonzero(logits.argmax(axis=1) != moved.argmax(axis=1))
    assert set(changed) <= set(found.unclear(tolerance))
    if classes == 1:
        assert not len(found.unclear(tolerance))


def test_an_image_without_a_number_is_unclear():
    logits = np.array([[1.0, 0.0], [np.nan, 0.0], [0.2, 0.1]])
    found = judged(lambda x: x, [(logits, np.zeros(3, dtype=np.int64))], where="here")
    assert 1 in found.unclear(1e-4)
    assert 0 not in judged(
        lambda x: x, [(logits[::2], np.zeros(2, dtype=np.int64))], where="here"
    ).unclear(0.1)


def test_accuracy_counts_every_image_once_whatever_the_batch():
    """Images are their own logits; the fixed batch is filled up, and the filling is not counted."""
    logits = torch.tensor([[0.0, 1], [1, 0], [0, 1], [1, 0], [0, 1]])
    labels = torch.tensor([1, 0, 1, 1, 0])
    asked = []

    def answer(x):
        asked.append(len(x))
        return x

    batches = [(logits[:3], labels[:3]), (logits[3:], labels[3:])]
    assert judged(answer, batches, where="here").accuracy == 3 / 5
    assert judged(answer, batches, where="here", batch=2).accuracy == 3 / 5
    assert asked == [3, 2, 2, 2, 2]
