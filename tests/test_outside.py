"""What a run or a file from somebody else may not do: lead out of its directory, or write markup
into a report.
"""

import re
from contextlib import chdir
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from main_job import slimmer as command
from onnx import TensorProto, helper
from torch import nn

import slimmer
from slimmer.errors import ExportError, RunError, lacks_memory
from slimmer.exporting.onnx import load_file, read_input_size
from slimmer.runs.open_run import open_run


def external(path, location, *, inside=False):
    """An ONNX file whose weights lie at `location`; `inside` the graph of an operation."""
    weight = helper.make_tensor(
        "w", TensorProto.FLOAT, [4], np.zeros(4, "float32").tobytes(), raw=True
    )
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    weight.external_data.add(key="location", value=location)
    weight.external_data.add(key="length", value="16")
    image = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 1, 2, 2])
    if inside:
        branch = helper.make_graph(
            [helper.make_node("Constant", [], ["c"], value=weight)], "b", [], []
        )
        nodes, initializers = (
            [helper.make_node("If", ["x"], ["y"], then_branch=branch, else_branch=branch)],
            [],
        )
    else:
        nodes, initializers = [helper.make_node("Add", ["x", "w"], ["y"])], [weight]
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 1, 2, 2])
    graph = helper.make_graph(nodes, "g", [image], [output], initializers)
    Path(path).write_bytes(helper.make_model(graph).SerializeToString())


@pytest.mark.parametrize("inside", [True, False])
@pytest.mark.parametrize("weights", [True, False])
@pytest.mark.parametrize(
    "location", ["../secret", "/etc/passwd", "sub/../../secret", "link", "..", "", "a\\..\\secret"]
)
def test_an_onnx_file_takes_no_weights_from_elsewhere(tmp_path, location, inside, weights):
    (tmp_path / "secret").write_bytes(b"s" * 16)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "link").symlink_to("../secret")
    external(tmp_path / "run" / "net.onnx", location, inside=inside)
    with pytest.raises(ExportError, match=re.escape("reads the weights of 'w' from")):
        load_file(tmp_path / "run" / "net.onnx", weights=weights)
    if not (inside or weights):
        done = command("profile", tmp_path / "run" / "net.onnx")
        assert done.exit_code == 2
        assert "reads the weights of 'w' from" in done.output


def test_an_onnx_file_takes_weights_that_lie_beside_it(tmp_path):
    (tmp_path / "net.onnx.data").write_bytes(np.arange(4, dtype="float32").tobytes())
    external(tmp_path / "net.onnx", "net.onnx.data")
    assert read_input_size(tmp_path / "net.onnx") == (1, 2, 2)
    loaded = onnx.numpy_helper.to_array(
        load_file(tmp_path / "net.onnx", weights=True).graph.initializer[0]
    )
    assert loaded.tolist() == [0, 1, 2, 3]


def test_the_latest_run_is_not_taken_from_a_link(tmp_path, main_job):
    (tmp_path / "runs").mkdir()
    (tmp_path / "elsewhere").write_text(str(main_job.run.path))
    with chdir(tmp_path):
        Path("runs/latest").symlink_to("../elsewhere")
        with pytest.raises(
            RunError, match=r"runs/latest: is a symbolic link, which slimmer never writes"
        ):
            open_run(None)


class Block(nn.Module):
    """Its name and its modules' hold markup."""

    def __init__(self):
        super().__init__()
        self.add_module("<img src=x onerror=alert(1)>", nn.Conv2d(1, 8, 3))
        self.add_module("[click](javascript:x) | cell", nn.Conv2d(8, 8, 3))
        self.add_module("`code`", nn.Linear(8, 3))

    def forward(self, x):
        for module in list(self.children())[:2]:
            x = module(x).relu()
        return self.get_submodule("`code`")(x.mean((2, 3)))


Block.__name__ = Block.__qualname__ = "<script>alert(1)</script>"


def test_names_in_reports_are_plain_text(tmp_path):
    torch.manual_seed(0)
    made = slimmer.prune(Block(), flops=0.5, input_size=(1, 8, 8), out=tmp_path / "run")
    slimmer.compare(tmp_path / "run", out=tmp_path / "out")
    assert made.run is not None
    for file in (tmp_path / "run" / "report.md", tmp_path / "out" / "compare.md"):
        text = file.read_text()
        unescaped = re.sub(r"\\.", "", text)
        assert "<" not in unescaped
        assert "[click]" not in unescaped
    row = next(
        line
        for line in (tmp_path / "run" / "report.md").read_text().splitlines()
        if "cell" in line and "|" in line
    )
    assert len(re.findall(r"(?<!\\)\|", row)) in {0, 4}


def test_an_error_that_comes_from_itself_ends():
    """As `raise error from error` makes one; whoever walks the causes must not go round."""
    error = RunError("a", "b", "c")
    error.__cause__ = error
    assert not lacks_memory(error)
