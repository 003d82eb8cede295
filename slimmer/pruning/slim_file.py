"""A slim network in one file: architecture, plan and weights; it is rebuilt, never unpickled."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor, nn

from slimmer.errors import CheckpointError, ModelError, RunError, SlimmerError, first_line
from slimmer.graph import Inputs, check_is_network, own_inputs
from slimmer.models import build
from slimmer.models.checkpoint import load_weights_, read_metadata, read_weights, save_weights
from slimmer.models.copying import duplicate, set_mode_
from slimmer.pruning.apply import prune
from slimmer.pruning.composed_plan import compose
from slimmer.pruning.plan import Plan
from slimmer.pruning.rewrite import read_program
from slimmer.runs.schemas import NetworkNotes, check
from slimmer.runs.trust import check_code

FORMAT = "slimmer-1"


@dataclass(frozen=True)
class Identity:
    """What is needed to rebuild a network; `arch` is empty for a module that was given in Python.

    `input_size` is (channels, height, width) of one image, and empty for a network with its own
    `example_inputs`. `plan` is the plan of a network that was pruned before; `rewritten` says that
    it is its program (`--rewrite`).
    """

    arch: str
    num_classes: int
    input_size: tuple[int, ...]
    plan: Plan | None = None
    rewritten: bool = False

    def inputs(self, model: nn.Module) -> Inputs:
        """The inputs with which the network is traced, counted and checked: the size of an image,
        or its own example inputs.
        """
        own = None if self.input_size else own_inputs(model)
        return self.input_size if own is None else own

    def build(self) -> nn.Module:
        """The unpruned network with random weights. Raises ModelError, or CheckpointError if it has
        no architecture name.
        """
        if not self.arch:
            raise CheckpointError(
                "slim network",
                "was pruned from a module without an architecture name",
                "give the dense module: slimmer.load(RUN, model)",
            )
        in_channels = self.input_size[0] if self.input_size else None
        return build(self.arch, num_classes=self.num_classes or None, in_channels=in_channels)

    def pruned(self, model: nn.Module) -> nn.Module:
        """The network that its plan leaves of the unpruned `model`."""
        if self.plan is None:
            return model
        if self.rewritten:
            program = read_program(model, self.inputs(model))
            return program.prune(program.dense(model), self.plan)
        return prune(model, self.plan)

    def after(self, plan: Plan | None, *, rewritten: bool) -> "Identity":
        """The identity of the network that `plan` leaves of this one.

        Raises ModelError if a pruned network is rewritten: the channels of its program have other
        names.
        """
        if plan is None:
            return self
        if self.plan is None:
            return replace(self, plan=plan, rewritten=rewritten)
        check_again(self, rewrite=rewritten)
        return replace(self, plan=compose(self.plan, plan))

    def to_metadata(self) -> dict[str, str]:
        """As strings, for a file's metadata."""
        metadata = {
            "arch": self.arch,
            "num_classes": str(self.num_classes),
            "input_size": json.dumps(self.input_size),
        }
        if self.plan is not None:
            metadata["plan"] = self.plan.to_json()
        if self.rewritten:
            metadata["rewrite"] = "true"
        return metadata

    @staticmethod
    def from_metadata(metadata: Mapping[str, str], where: str) -> "Identity":
        """The identity in the metadata of a file. Raises CheckpointError if there is none, RunError
        if its plan is not a plan.
        """
        right = "give a file that slimmer wrote"
        if "arch" not in metadata:
            raise CheckpointError(where, "has no slimmer metadata", right)
        try:
            notes = check(NetworkNotes, dict(metadata), where, right)
        except RunError as error:
            raise CheckpointError(
                where, f"its metadata {error.found.removeprefix('is ')}", right
            ) from error
        plan = None if notes.plan is None else Plan.from_json(notes.plan, f"{where}, plan")
        rewritten = metadata.get("rewrite") == "true"
        return Identity(notes.arch, notes.num_classes, tuple(notes.input_size), plan, rewritten)


def check_again(identity: Identity, *, rewrite: bool) -> None:
    """Raise ModelError if a network that was pruned before is to be rewritten."""
    if rewrite and identity.plan is not None:
        found = "the network was pruned before and can't be rewritten now"
        raise ModelError(
            "model.rewrite", found, "leave it out, or apply it to the unpruned network"
        )


def is_own(path: Path) -> bool:
    """Whether slimmer wrote a file of weights. Raises CheckpointError if it can't be read."""
    return path.suffix == ".safetensors" and read_metadata(path).get("format") == FORMAT


def save_network(
    path: Path,
    network: nn.Module | Mapping[str, Tensor],
    identity: Identity,
    plan: Plan | None,
    notes: Mapping[str, str],
    *,
    rewritten: bool = False,
) -> None:
    """Write a network atomically: the one of `identity` if `plan` is None, otherwise what `plan`
    leaves of it.

    `rewritten` says that `plan` is a plan of its program. The file loads from the unpruned
    architecture.
    """
    own = identity.after(plan, rewritten=rewritten)
    save_weights(path, network, {"format": FORMAT, **own.to_metadata(), **notes})


def load_network(
    path: Path, dense: nn.Module | None = None, *, arch: str | None = None, trust_code: bool = False
) -> nn.Module:
    """The network that `save_network` wrote, in eval mode; built from a copy of `dense` if its
    architecture has no name.

    A network that was pruned with `rewrite` is traced again, since the file contains no code. An
    architecture in a Python file is used if the user named it when the network was pruned, names it
    now (`arch`), or trusts the file.

    Raises CheckpointError if the file is missing, damaged or not slimmer's, and TrustError if it
    refers to code that is not trusted.
    """
    return load_identified(path, dense, arch=arch, trust_code=trust_code)[0]


def load_identified(
    path: Path, dense: nn.Module | None = None, *, arch: str | None = None, trust_code: bool = False
) -> tuple[nn.Module, Identity]:
    """The network that `load_network` returns, and its identity."""
    if dense is not None:
        check_is_network(dense)
    identity = Identity.from_metadata(read_metadata(path), str(path))
    if arch is not None:
        identity = replace(identity, arch=absolute(arch))
    elif dense is None:
        check_code(str(path), identity.arch, trusted=trust_code)
    weights = read_weights(path)
    _check_sizes(identity, weights, str(path))
    try:
        model = identity.build() if dense is None else duplicate(dense)
    except ModelError as error:
        raise ModelError(f"{path}, {error.where}", error.found, error.right) from error
    try:
        model = identity.pruned(model)
    except SlimmerError:
        raise
    except Exception as error:  # a plan of another network refers to missing parts
        found = f"its plan does not fit its architecture ({first_line(error)[:200]})"
        raise CheckpointError(str(path), found, "prune the network again") from error
    load_weights_(model, weights, str(path))
    return set_mode_(model, training=False), identity


def _check_sizes(identity: Identity, weights: Mapping[str, Tensor], where: str) -> None:
    """Raise CheckpointError before building a network that is larger than the file's contents."""
    most = sum(tensor.numel() for tensor in weights.values())
    for what, number in (
        ("classes", identity.num_classes),
        ("channels", max(identity.input_size[:1], default=0)),
    ):
        if number > most:
            found = f"its metadata give {number:,} {what}, but the file holds only {most:,} numbers"
            raise CheckpointError(where, found, "give a file that slimmer wrote")


def absolute(arch: str) -> str:
    """`path/to/file.py:factory` with an absolute path, so that a run can be loaded from another
    directory.
    """
    path, colon, factory = arch.rpartition(":")
    return f"{Path(path).resolve()}{colon}{factory}" if path.endswith(".py") else arch
