"""Every pattern of the zoo through files: a slim network is saved, loaded and exported, and stays
what it is.
"""

import pytest
import torch
import zoo

from slimmer.errors import ExportError
from slimmer.exporting.onnx import export_onnx
from slimmer.exporting.parity import call_file
from slimmer.pruning.apply import prune
from slimmer.pruning.slim_file import Identity, load_network, save_network

# Operations that torch.onnx 2.13 does not know; where it has learnt one, the test says so.
NOT_IN_ONNX = {"Pools": "adaptive_max_pool2d", "ScaledDot": "only 4D query", "Unknown": "cummax"}


def slim_of(name):
    """A pattern in float32, its slim network under a random plan, and that plan."""
    _, graph = zoo.traced(name)
    plan = zoo.random_plans(graph, 1)[0]
    model = zoo.make(name, torch.float32)
    return model, prune(model, plan), plan


def test_a_slim_network_comes_back_from_its_file_byte_for_byte(pattern, tmp_path):
    model, slim, plan = slim_of(pattern)
    save_network(
        tmp_path / "slim.safetensors", slim, Identity("", 2, zoo.size_of(pattern)), plan, {}
    )
    again = load_network(tmp_path / "slim.safetensors", model)
    assert repr(again) == repr(slim)
    state = slim.state_dict()
    assert list(again.state_dict()) == list(state)
    assert all(torch.equal(tensor, state[name]) for name, tensor in again.state_dict().items())
    save_network(
        tmp_path / "again.safetensors", again, Identity("", 2, zoo.size_of(pattern)), plan, {}
    )
    assert (tmp_path / "again.safetensors").read_bytes() == (
        tmp_path / "slim.safetensors"
    ).read_bytes()


def test_a_slim_network_in_onnx_runtime_computes_what_it_computes_in_pytorch(pattern, tmp_path):
    _, slim, _ = slim_of(pattern)
    images = zoo.images(pattern, 3, torch.float32)
    if pattern in NOT_IN_ONNX:
        with pytest.raises(ExportError, match=NOT_IN_ONNX[pattern]):
            export_onnx(slim, tmp_path / "slim.onnx", (images,), metadata={})
        return
    export_onnx(slim, tmp_path / "slim.onnx", (images,), metadata={})
    found = torch.cat(
        [torch.from_numpy(each).flatten() for each in call_file(tmp_path / "slim.onnx")((images,))]
    )
    with torch.no_grad():
        wanted = zoo.outputs(slim(images))
    assert float((found - wanted).abs().max()) < 1e-4 * float(wanted.abs().max())
