"""Weights into a network, and into a .safetensors file with what is to be known of them."""

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
    """Put `weights` into `model`; `where` (the file, say) stands in the error's first place.

    Every key must be there with its shape; num_batches_tracked may be missing. Raises
    CheckpointError with what differs, key by key, and leaves the model as it was.
    """
    difference = compare(model.state_dict(), weights)
    if difference:
        raise CheckpointError(
            where,
            f"the weights do not fit this architecture:\n{difference}",
            f"the nearest known architecture is {nearest(weights).described}; name the right one with --arch",
        )
    model.load_state_dict(dict(weights), strict=False)


def save_weights(
    path: Path, weights: nn.Module | Mapping[str, Tensor], metadata: Mapping[str, str]
) -> None:
    """Write weights and metadata to a .safetensors file, whole or not at all; same values, same
    bytes.

    Every key gets its own copy of its numbers: tensors that share memory are written once for each
    key. The file holds a checksum of all else in it, by which `read_weights` sees that it is
    damaged.
    """
    state = weights.state_dict() if isinstance(weights, nn.Module) else weights
    own = {
        key: each.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
        for key, each in state.items()
    }
    content = sealed(save(own, dict(metadata)))
    with whole(path) as part:
        part.write_bytes(content)


def read_metadata(path: Path) -> dict[str, str]:
    """The metadata of a .safetensors file, without the checksum of its numbers; empty where it has
    none.

    Raises CheckpointError for a file that is missing, damaged or not of this kind.
    """
    check_is_file(path)
    try:
        with safe_open(path, framework="pt") as file:
            return {key: text for key, text in (file.metadata() or {}).items() if key != CHECKSUM}
    except SafetensorError as error:
        found = f"is cut short, damaged or no safetensors file: {error}"
        raise CheckpointError(str(path), found, COPY_AGAIN) from error
