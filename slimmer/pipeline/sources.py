"""Where a network comes from: a checkpoint, a run, random weights of an architecture, a module of
Python's.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from slimmer.atomic_files import read_json
from slimmer.data import Data
from slimmer.errors import CheckpointError, ModelError, readable
from slimmer.graph import own_inputs
from slimmer.models import build, find
from slimmer.models.checkpoint import load_weights_, read_entry
from slimmer.models.copying import set_mode_
from slimmer.models.identify import Identified, identify, infer_sizes
from slimmer.pruning.slim_file import Identity, absolute, is_own, load_identified
from slimmer.recipe.sections import ModelSection
from slimmer.runs.directory import Run

_SHOWN = 8


@dataclass(frozen=True, eq=False)
class Source:
    """A network in eval mode, how to build it again, and what to know of where it comes from."""

    network: nn.Module
    identity: Identity
    notes: tuple[str, ...] = ()


def load_model(
    section: ModelSection, data: Data | None = None, seed: int = 0, *, trust_code: bool = False
) -> Source:
    """The network that a recipe names, with its checkpoint's weights.

    The checkpoint may also be a run, or a network that slimmer wrote, which is then pruned once
    more. The architecture comes from the recipe, from slimmer's own file or from the weights; the
    input size from the recipe, the data, the file or the architecture, in this order. From scratch,
    weights are drawn from `seed`, for the data's classes and channels. Raises SlimmerError for what
    can't be read, does not fit or names code that is not trusted.
    """
    if section.scratch:
        return _from_scratch(section, data, seed)
    if section.checkpoint is None:
        right = "give a file of weights, or model.arch with model.scratch=true"
        raise ModelError("model.checkpoint", "no checkpoint is named", right)
    path = _file_of_run(Path(section.checkpoint))
    given = _given_size(section, data)
    if is_own(path):
        network, identity = load_identified(path, arch=section.arch, trust_code=trust_code)
        return Source(network, identity if given is None else replace(identity, input_size=given))
    return _from_weights(path, section, given)


def _file_of_run(path: Path) -> Path:
    """The slim network of a run; any other path as it is."""
    run = Run(path)
    try:
        is_run = run.recipe_file.is_file()
    except (OSError, ValueError):  # a name that can't be: reading it says so
        is_run = False
    if is_run and not run.slim.is_file():
        right = f"go on with `slimmer prune --resume {path}`"
        raise CheckpointError(str(path), "is a run that has no slim network yet", right)
    return run.slim if is_run else path


def _given_size(section: ModelSection, data: Data | None) -> tuple[int, ...] | None:
    return section.input_size or (None if data is None else data.input_size)


def _from_weights(path: Path, section: ModelSection, size: tuple[int, ...] | None) -> Source:
    """The network whose weights a checkpoint of any kind holds."""
    held = read_entry(path, section.entry)
    found, own = _identified(path, held.weights, section.arch)
    model = build(found.arch, num_classes=found.num_classes, in_channels=found.in_channels)
    load_weights_(model, found.weights, str(path))
    notes = _told(path, held.entry, [*found.passed, *held.passed])
    if size is None and own_inputs(model) is not None:
        size = ()
    elif size is None:
        size = (found.in_channels, *(own or found.arch.input_size)[1:])
        notes += [] if own else [guessed(size)]
    return Source(
        set_mode_(model, training=False),
        Identity(found.arch.name, found.num_classes, size),
        tuple(notes),
    )


def guessed(size: Sequence[int]) -> str:
    """What to know where nobody said how large an image is."""
    return (
        f"images of {'x'.join(map(str, size))} are a guess, the size that the architecture is made for; "
        "FLOPs depend on it: give --data, --input-size (inspect) or --set model.input_size=[C,H,W] (prune)"
    )


def _told(path: Path, entry: str, passed: Sequence[str]) -> list[str]:
    if not passed:
        return []
    more = f", and {len(passed) - _SHOWN} more" if len(passed) > _SHOWN else ""
    shown = ", ".join(each if len(each) <= 100 else f"{each[:100]}…" for each in passed[:_SHOWN])
    taken = f"the weights are those in {entry[:100]}; " if entry else ""
    return [readable(f"{path.name}: {taken}passed over: {shown}{more}")]


def _identified(
    path: Path, weights: dict[str, torch.Tensor], arch: str | None
) -> tuple[Identified, list[int] | None]:
    """The architecture of the weights, and the size of an image as a directory of timm's says it."""
    if arch is not None:
        return infer_sizes(find(absolute(arch)), weights, str(path)), None
    name, size = _timm_config(path)
    try:
        return identify(weights, path.name), size
    except CheckpointError:
        if name is None:
            raise
        return infer_sizes(find(f"timm/{name}"), weights, str(path)), size


def _timm_config(path: Path) -> tuple[str | None, list[int] | None]:
    """Timm's name of the architecture and the input size, where a directory of the hub has a
    config.json of timm's.
    """
    try:
        config = read_json(path / "config.json")
        name, size = config.get("architecture"), config.get("pretrained_cfg", {}).get("input_size")
    except (
        OSError,
        ValueError,
        AttributeError,
    ):  # none, or of another library: the weights alone say what they are
        return None, None
    is_size = (
        isinstance(size, list)
        and len(size) == 3
        and all(type(side) is int and 0 < side < 1 << 14 for side in size)
    )
    return name if isinstance(name, str) else None, size if is_size else None


def _from_scratch(section: ModelSection, data: Data | None, seed: int) -> Source:
    """A network of random weights. Raises ModelError without an architecture or data to train it
    on.
    """
    if section.arch is None or data is None:
        missing = "model.arch" if section.arch is None else "data"
        raise ModelError(
            "model.scratch", f"needs {missing}", "name the architecture and the data to train it on"
        )
    arch = find(absolute(section.arch))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = build(arch, num_classes=data.num_classes, in_channels=data.input_size[0])
    return Source(
        set_mode_(model, training=False),
        Identity(arch.name, data.num_classes, section.input_size or data.input_size),
    )


def name_module(model: nn.Module, section: ModelSection, data: Data | None) -> Identity:
    """How a module from Python can be built again: by `model.arch` where one is given, else only
    from itself.
    """
    size = _given_size(section, data)
    if size is None:
        if own_inputs(model) is None:
            right = "give input_size=(channels, height, width), data, or the module an attribute example_inputs"
            raise ModelError("model.input_size", "is not known", right)
        size = ()
    return Identity(section.arch or "", data.num_classes if data is not None else 0, size)
