"""Which files can be timed, and at which batch and size: files made by hand, and what lies beside
them.
"""

import json

import onnx
import pytest
from onnx import TensorProto, helper

import slimmer as package
from slimmer.errors import ExportError
from slimmer.exporting.onnx import read_batch

QUICK = {"runs": 1, "seconds": 0.0, "blocks": 1, "precision": 1.0, "threads": (1,)}


def pool(path, batch="batch", sides=(4, 4)):
    """An ONNX file that pools images of 3 channels; a size that is a text is open."""
    graph = helper.make_graph(
        [helper.make_node("GlobalAveragePool", ["input"], ["logits"])],
        "pool",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [batch, 3, *sides])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [batch, 3, 1, 1])],
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path
    )
    return path


def test_a_batch_that_a_file_does_not_take_is_refused_with_the_file_s_own(tmp_path):
    fixed, free = pool(tmp_path / "fixed.onnx", batch=8), pool(tmp_path / "free.onnx")
    assert (read_batch(fixed), read_batch(free)) == (8, None)
    for batches in ((1,), (8, 64), (1, 64)):
        with pytest.raises(
            ExportError, match=r"(?s)fixed\.onnx: takes only batches of 8.*--batch 8"
        ):
            package.profile(free, fixed, batches=batches, **QUICK)
    found = package.profile(free, fixed, batches=(8,), **QUICK)
    assert [row["batch"] for row in found["timings"]] == [8, 8]


def listed(*names, sizes=("3x6x5",)):
    networks = {
        name: {"file": f"somewhere/{name}.onnx", "image_size": "any size"} for name in names
    }
    networks |= {f"dense{size}": {"file": "dense.onnx", "image_size": size} for size in sizes}
    return {"networks": networks}


@pytest.fixture
def any_size(tmp_path):
    return pool(tmp_path / "slim.anysize.onnx", sides=("height", "width"))


def timed_at(path, **settings):
    return package.profile(path, batches=(1,), **QUICK, **settings)["conditions"]["input_size"]


def test_a_file_of_any_size_is_timed_at_the_size_that_its_run_knows(any_size, tmp_path):
    (tmp_path / "export.json").write_text(json.dumps(listed("slim.anysize")))
    assert timed_at(any_size) == [3, 6, 5]
    assert timed_at(any_size, image_size=(7, 9)) == [3, 7, 9]


@pytest.mark.parametrize(
    "known",
    [
        listed("another"),  # not this file
        listed("slim.anysize", sizes=("1x6x5",)),  # of other images
        listed("slim.anysize", sizes=()),
        listed("slim.anysize", sizes=("3x6x5", "3x8x8")),  # which of them?
        listed("slim.anysize", sizes=("2x1x30 int16",)),
        {"networks": []},
        [],
        {"networks": {"slim.anysize": None}},
    ],
)
def test_where_its_run_does_not_tell_a_size_must_be_named(known, any_size, tmp_path):
    (tmp_path / "export.json").write_text(json.dumps(known))
    with pytest.raises(ExportError, match=r"(?s)no size is given.*--image-size"):
        timed_at(any_size)
