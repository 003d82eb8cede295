"""A slim network as one file: architecture, plan and weights; rebuilt, never unpickled."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from slimmer.checkpoint import load_weights_, read_metadata, read_weights, save_weights
from slimmer.duplicate import duplicate, set_mode_
from slimmer.errors import CheckpointError, ModelError, RunError
from slimmer.graph import Inputs, check_is_network, own_inputs
from slimmer.models import build
from slimmer.plan import Plan
from slimmer.prune import prune
from slimmer.rewrite import read_program
from slimmer.run_files import NetworkNotes, check


@dataclass(frozen=True)
class Identity:
    """What it takes to build the dense network again; `arch` is empty for a module that came from Python.

    `input_size` is (channels, height, width) of one image, and empty for a network with `example_inputs` of its own.
    """

    arch: str
    num_classes: int
    input_size: tuple[int, ...]

    def inputs(self, model: nn.Module) -> Inputs:
        """What the network is traced, counted and checked with: an image's size, or its own example inputs."""
        own = None if self.input_size else own_inputs(model)
        return self.input_size if own is None else own

    def build(self) -> nn.Module:
        """The dense network with random weights. Raises ModelError, or CheckpointError where it has no name."""
        if not self.arch:
            raise CheckpointError(
                "slim network",
                "was pruned from a module that has no name",
                "give the dense module: slimmer.load(RUN, model)",
            )
        in_channels = self.input_size[0] if self.input_size else None
        return build(self.arch, num_classes=self.num_classes, in_channels=in_channels)

    def to_metadata(self) -> dict[str, str]:
        """As strings, for a file's metadata."""
        return {
            "arch": self.arch,
            "num_classes": str(self.num_classes),
            "input_size": json.dumps(self.input_size),
        }

    @staticmethod
    def from_metadata(metadata: Mapping[str, str], where: str) -> "Identity":
        """What `to_metadata` gave. Raises CheckpointError where it is not there."""
        right = "give a file that slimmer wrote"
        if "arch" not in metadata:
            raise CheckpointError(where, "has no slimmer metadata", right)
        try:
            notes = check(NetworkNotes, dict(metadata), where, right)
        except RunError as error:
            raise CheckpointError(where, f"its metadata {error.found.removeprefix('is ')}", right) from error
        return Identity(notes.arch, notes.num_classes, tuple(notes.input_size))


def save_network(
    path: Path,
    network: nn.Module | Mapping[str, Tensor],
    identity: Identity,
    plan: Plan | None,
    notes: Mapping[str, str],
) -> None:
    """Write a dense (`plan` None) or slim network, whole or not at all; notes say "rewrite" of a rewritten one."""
    planned = {} if plan is None else {"plan": plan.to_json()}
    save_weights(path, network, {"format": "slimmer-1", **identity.to_metadata(), **planned, **notes})


def load_network(path: Path, dense: nn.Module | None = None) -> nn.Module:
    """The network that `save_network` wrote, in eval mode; from a copy of `dense` where its architecture has no name.

    One that was pruned with `rewrite` is the program of its architecture again, traced anew: the file holds no code.

    Raises CheckpointError for a file that is missing, damaged or not slimmer's.
    """
    if dense is not None:
        check_is_network(dense)
    metadata = read_metadata(path)
    identity = Identity.from_metadata(metadata, str(path))
    weights = read_weights(path)
    _check_sizes(identity, weights, str(path))
    try:
        model = identity.build() if dense is None else duplicate(dense)
    except ModelError as error:
        raise ModelError(f"{path}, {error.where}", error.found, error.right) from error
    if "plan" in metadata:
        plan = Plan.from_json(metadata["plan"], f"{path}, plan")
        if metadata.get("rewrite") == "true":
            program = read_program(model, identity.inputs(model))
            model = program.prune(program.dense(model), plan)
        else:
            model = prune(model, plan)
    load_weights_(model, weights, str(path))
    return set_mode_(model, training=False)


def _check_sizes(identity: Identity, weights: Mapping[str, Tensor], where: str) -> None:
    """Raise CheckpointError before a network is built that is larger than what the file holds."""
    most = sum(tensor.numel() for tensor in weights.values())
    for what, number in (("classes", identity.num_classes), ("channels", max(identity.input_size[:1], default=0))):
        if number > most:
            found = f"its metadata name {number:,} {what}, and it holds {most:,} numbers"
            raise CheckpointError(where, found, "give a file that slimmer wrote")
