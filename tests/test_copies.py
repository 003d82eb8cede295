"""Python's own copies of an activation (`copy.copy`, `copy.deepcopy`, `x.data`) inside a
forward.
"""

import copy

import onnxruntime
import pytest
import torch
from by_hand import assert_slim_is_masked
from torch import nn

import slimmer
from slimmer.graph import build_graph

SIZE = (3, 12, 12)


class Copied(nn.Module):
    """Two convolutions; the image, or what stands between them, is copied by Python."""

    def __init__(self, copied, where):
        super().__init__()
        self.copied, self.where = copied, where
        self.one = nn.Conv2d(3, 16, 3, padding=1)
        self.two = nn.Conv2d(16, 24, 3, padding=1)
        self.head = nn.Linear(24, 5)

    def forward(self, x):
        x = self.copied(x) if self.where == "image" else x
        x = self.one(x).relu()
        x = self.copied(x) if self.where == "inside" else x
        return self.head(self.two(x).relu().mean((2, 3)))


def data(x):
    return x.data


@pytest.mark.parametrize(
    ("copied", "where"),
    [
        (copy.copy, "inside"),
        (copy.deepcopy, "inside"),
        (data, "inside"),
        (copy.copy, "image"),
        pytest.param(copy.deepcopy, "image", marks=pytest.mark.slow),
        pytest.param(data, "image", marks=pytest.mark.slow),
    ],
)
def test_channels_are_followed_through_a_copy_and_removed(tmp_path, copied, where):
    torch.manual_seed(0)
    dense = Copied(copied, where)
    result = slimmer.prune(dense, flops=0.5, input_size=SIZE, out=tmp_path / "run")
    slimmer.export(result.run, model=dense)
    image = torch.randn(3, *SIZE)
    [answer] = onnxruntime.InferenceSession(tmp_path / "run" / "slim.onnx").run(
        None, {"input": image.numpy()}
    )
    with torch.no_grad():  # PyTorch deep-copies nothing that has a gradient
        torch.testing.assert_close(
            torch.from_numpy(answer), result.model(image), rtol=1e-4, atol=1e-5
        )
    assert_slim_is_masked(result, dense, image)


def test_copies_are_python_s_own_again_afterwards():
    build_graph(Copied(copy.copy, "inside"), SIZE)
    tensor = torch.ones(2)
    assert copy.copy(tensor).data_ptr() == tensor.data_ptr()
    assert copy.deepcopy(tensor).data_ptr() != tensor.data_ptr()
    assert "data" not in vars(torch.Tensor)
    tensor.data = torch.zeros(3)
    assert tensor.shape == (3,)
