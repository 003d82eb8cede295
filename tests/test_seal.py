"""A single bit that flips anywhere in one of slimmer's weight files is seen."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save, save_file

from slimmer.errors import CheckpointError
from slimmer.models.checkpoint import read_metadata, read_weights, save_weights
from slimmer.models.checksum import CHECKSUM, is_sound, sealed

WEIGHTS = {"conv.weight": torch.arange(12.0).reshape(2, 2, 3), "conv.bias": torch.ones(2)}
CONTENT = sealed(save(WEIGHTS, {"arch": "net", "plan": "{}"}))

NAME = range(CONTENT.index(CHECKSUM.encode()), CONTENT.index(CHECKSUM.encode()) + len(CHECKSUM))
NAMEABLE = set(range(0x20, 0x7F)) - set(b'"\\')  # others make another JSON text of it, or none


@given(st.integers(0, len(CONTENT) - 1), st.integers(0, 7))
def test_every_flipped_bit_is_seen(tmp_path_factory, place, bit):
    flipped = bytearray(CONTENT)
    flipped[place] ^= 1 << bit
    path = tmp_path_factory.getbasetemp() / "flipped.safetensors"
    path.write_bytes(flipped)
    if place in NAME and flipped[place] in NAMEABLE:  # the checksum is lost, and nothing else
        assert all(torch.equal(each, WEIGHTS[key]) for key, each in read_weights(path).items())
        return
    with pytest.raises(CheckpointError, match="damaged"):
        read_weights(path)


def test_two_tensors_that_change_places_are_seen():
    weights = {"a": torch.zeros(2), "b": torch.ones(2)}
    swapped = (
        sealed(save(weights))
        .replace(b'"a"', b'"x"')
        .replace(b'"b"', b'"a"')
        .replace(b'"x"', b'"b"')
    )
    assert not is_sound(swapped)


def test_files_of_others_are_taken_as_they_are(tmp_path):
    save_file(WEIGHTS, tmp_path / "net.safetensors", {"sha256": "of something else"})
    assert read_weights(tmp_path / "net.safetensors").keys() == WEIGHTS.keys()
    save_weights(tmp_path / "ours.safetensors", WEIGHTS, {"n": "1"})
    assert read_metadata(tmp_path / "ours.safetensors") == {"n": "1"}
