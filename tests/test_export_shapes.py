"""Fixed batches, images of any size, weights in a file of their own, torch.export programs."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from test_export import METADATA, SIZE, Net, images, make
from torch import nn

from slimmer.errors import ExportError
from slimmer.exporting import onnx_file as write
from slimmer.exporting import torch_program as trace
from slimmer.exporting.input_shape import Shape
from slimmer.exporting.onnx import export_onnx, load_file, read_input_size, read_metadata
from slimmer.exporting.onnx_file import files_of, remove, write_onnx
from slimmer.exporting.parity import call_program, check_parity, hold_against, of_images
from slimmer.exporting.torch_program import load_program, read_program_metadata, write_program


class Flattened(Net):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(6 * 64, 4)

    def forward(self, x):
        return self.head(torch.flatten(torch.relu(self.norm(self.conv(x))), 1))


def run_file(path, x):
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(None, {"input": x.numpy()})[0]


@pytest.fixture(scope="module")
def dynamic(tmp_path_factory):
    """A network's ordinary file."""
    path = tmp_path_factory.mktemp("shapes") / "net.onnx"
    export_onnx(make(), path, SIZE, metadata=METADATA)
    return path


def test_a_fixed_batch_is_fixed_and_compared_in_such_batches(tmp_path):
    model, path = make().eval(), tmp_path / "net.onnx"
    export_onnx(model, path, SIZE, metadata={}, shape=Shape(batch=3))
    graph = onnx.load(path).graph
    assert [size.dim_value for size in graph.input[0].type.tensor_type.shape.dim] == [3, *SIZE]
    assert [size.dim_value for size in graph.output[0].type.tensor_type.shape.dim] == [3, 4]
    assert read_input_size(path) == SIZE
    parity = check_parity(model, path, images(4), batch=3)
    assert (parity.images, parity.top1_agreement) == (4, 1.0)
    assert parity.max_rel < 1e-5
    with pytest.raises(ExportError, match="with any batch size"):
        check_parity(model, path, images(4))


def test_any_size_takes_any_size(tmp_path):
    model, path = make().eval(), tmp_path / "net.onnx"
    export_onnx(model, path, SIZE, metadata={}, shape=Shape(dynamic_size=True))
    sizes = onnx.load(path).graph.input[0].type.tensor_type.shape.dim
    assert [size.dim_param or size.dim_value for size in sizes] == ["batch", 3, "height", "width"]
    for height, width in ((8, 8), (5, 21), (40, 12)):
        x = torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(3))
        with torch.no_grad():
            np.testing.assert_allclose(run_file(path, x), model(x).numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("write_file", [export_onnx, write_program])
def test_a_network_that_fixes_its_size_is_refused_with_the_layer(write_file, tmp_path):
    """torch.export itself notices nothing here."""
    shape = Shape(dynamic_size=True)
    trace.trace(make(Flattened).eval(), SIZE, shape)
    with pytest.raises(
        ExportError, match=r"40x72 fails in or after layer head: .*cannot be multiplied"
    ) as caught:
        write_file(make(Flattened), tmp_path / "net", SIZE, metadata={}, shape=shape)
    assert "--dynamic-size" in caught.value.right
    assert list(tmp_path.iterdir()) == []


# Weights in a file of their own, as above 2 GiB


def test_large_weights_lie_beside_and_nothing_else_changes(dynamic, tmp_path, monkeypatch):
    monkeypatch.setattr(write, "ONE_FILE", 100)
    monkeypatch.setattr(write, "SMALL", 64)
    path = tmp_path / "big.onnx"
    export_onnx(make(), path, SIZE, metadata=METADATA)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["big.onnx", "big.onnx.data"]
    assert files_of(path) == [path, tmp_path / "big.onnx.data"]
    apart = onnx.load(path, load_external_data=False)
    outside = [
        tensor
        for tensor in apart.graph.initializer
        if tensor.data_location == onnx.TensorProto.EXTERNAL
    ]
    assert {
        entry.value
        for tensor in outside
        for entry in tensor.external_data
        if entry.key == "location"
    } == {"big.onnx.data"}
    weights = {
        tensor.name: onnx.numpy_helper.to_array(tensor)
        for tensor in load_file(path, weights=True).graph.initializer
    }
    for tensor in onnx.load(dynamic).graph.initializer:
        np.testing.assert_array_equal(weights[tensor.name], onnx.numpy_helper.to_array(tensor))
    assert read_metadata(path) == METADATA
    assert check_parity(make(), path, images(3)).max_rel < 1e-5
    assert oct(path.stat().st_mode) == oct((tmp_path / "big.onnx.data").stat().st_mode)


def test_a_small_file_leaves_no_old_weights_beside_it(dynamic, tmp_path, monkeypatch):
    path = tmp_path / "net.onnx"
    with monkeypatch.context() as small:
        small.setattr(write, "ONE_FILE", 100)
        small.setattr(write, "SMALL", 64)
        write_onnx(load_file(dynamic, weights=True), path)
    write_onnx(load_file(dynamic, weights=True), path)
    assert [each.name for each in tmp_path.iterdir()] == ["net.onnx"]
    monkeypatch.setattr(write, "ONE_FILE", 100)
    monkeypatch.setattr(write, "SMALL", 64)
    write_onnx(load_file(dynamic, weights=True), path)
    remove(path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("broken", ["save_model", "check_model", "replace"])
def test_a_failure_with_large_weights_leaves_the_old_pair(broken, dynamic, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(write, "ONE_FILE", 100)
    monkeypatch.setattr(write, "SMALL", 64)
    path = tmp_path / "net.onnx"
    path.write_bytes(b"old")
    path.with_name("net.onnx.data").write_bytes(b"weights")
    file = load_file(dynamic, weights=True)
    owner = {"save_model": onnx, "check_model": onnx.checker, "replace": Path}[broken]
    monkeypatch.setattr(owner, broken, full)
    with pytest.raises(OSError, match="No space"):
        write_onnx(file, path)
    assert {each.name: each.read_bytes() for each in tmp_path.iterdir()} == {
        "net.onnx": b"old",
        "net.onnx.data": b"weights",
    }


# torch.export programs

ALONE = """
import sys
class Refuse:
    def find_spec(self, name, *_):
        if name.partition(".")[0] == "slimmer":
            raise ImportError("slimmer must not be needed")
sys.meta_path.insert(0, Refuse())
import torch
notes = {"slimmer.json": ""}
program = torch.export.load(sys.argv[1], extra_files=notes).module()
x, expected = torch.load(sys.argv[2], weights_only=True)
torch.testing.assert_close(program(x), expected)
print(len(x), notes["slimmer.json"], "slimmer" in sys.modules)
"""


def test_a_program_runs_where_slimmer_cannot_be_imported(tmp_path):
    model, path = make().eval(), tmp_path / "net.pt2"
    write_program(model, path, SIZE, metadata={"arch": "net"}, shape=Shape())
    x = images(5)
    with torch.no_grad():
        torch.save((x, model(x)), tmp_path / "expected.pth")
    command = [
        sys.executable,
        "-W",
        "ignore",
        "-c",
        ALONE,
        str(path),
        str(tmp_path / "expected.pth"),
    ]
    alone = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    result = subprocess.run(
        command, cwd=tmp_path, env=alone, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == '5 {"arch": "net"} False'
    assert read_program_metadata(path) == {"arch": "net"}
    assert Path(__file__).name.encode() not in path.read_bytes()


def test_a_program_may_answer_with_truths(tmp_path):
    class Both(nn.Module):
        def forward(self, x):
            return x.mean((2, 3)), x.mean((2, 3)) > 0

    path = tmp_path / "net.pt2"
    write_program(Both(), path, SIZE, metadata={}, shape=Shape())
    answer = of_images(call_program(path, load_program(path)))
    assert hold_against(Both(), path, images(5), answer, tolerance=1e-4).max_abs < 1e-6


def test_a_program_leaves_the_network_as_it_was(tmp_path):
    model = make().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    write_program(model, tmp_path / "net.pt2", SIZE, metadata={}, shape=Shape(batch=2))
    assert model.training
    assert all(torch.equal(model.state_dict()[name], value) for name, value in before.items())


@pytest.mark.parametrize("content", [None, b"", b"hello"])
def test_what_is_no_program_of_ours_is_an_error_that_names_it(content, tmp_path):
    path = tmp_path / "bad.pt2"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ExportError, match=r"bad\.pt2"):
        read_program_metadata(path)
