"""Loading weights into a network, and writing them to a .safetensors file with metadata."""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from slimmer.atomic_files import whole
from slimmer.errors import CheckpointError
from slimmer.models.checkpoint.archive import COPY_AGAIN
from slimmer.models.checkpoint.stored import check_is_file
from slimmer.models.checksum import CHECKSUM, sealed
from slimmer.models.identify import nearest
from slimmer.models.match import compare


def load_weights_(model: nn.Module, weights: Mapping[str, Tensor], where: str) -> None:
    """Load `weights` into `model`; `where` (for example the file) is the place in an error message.

    Every key must be present with its shape; num_batches_tracked may be missing. Otherwise raises
    CheckpointError with the differences, key by key, and does not change the model.
    """
    difference = compare(model.state_dict(), weights)
    if difference:
        found = f"the weights do not fit this architecture:\n{difference}"
        near = nearest(weights).described
        right = f"the nearest known architecture is {near}; give the right one with --arch"
        raise CheckpointError(where, found, right)
    model.load_state_dict(dict(weights), strict=False)


def save_weights(
    path: Path, weights: nn.Module | Mapping[str, Tensor], metadata: Mapping[str, str]
) -> None:
    """Write weights and metadata atomically to a .safetensors file; equal values give equal bytes.

    Tensors that share memory are written once for each key. The file contains a checksum of
    everything else in it, by which `read_weights` detects damage.
    """
    state = weights.state_dict() if isinstance(weights, nn.Module) else weights
    own = {}
    for key, tensor in state.items():
        own[key] = tensor.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
    content = sealed(save(own, dict(metadata)))
    with whole(path) as part:
        part.write_bytes(content)


def read_metadata(path: Path) -> dict[str, str]:
    """The metadata of a .safetensors file, without the checksum; empty if it has none.

    Raises CheckpointError for a file that is missing, damaged or not a safetensors file.
    """
    check_is_file(path)
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            return {key: text for key, text in metadata.items() if key != CHECKSUM}
    except SafetensorError as error:
        found = f"is truncated, damaged or not a safetensors file: {error}"
        raise CheckpointError(str(path), found, COPY_AGAIN) from error
