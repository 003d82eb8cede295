"""The sources of a network: a checkpoint, a run, an architecture with random weights, or a Python
module.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from slimmer.atomic_files import read_json
from slimmer.errors import CheckpointError, ModelError, first_few, readable
from slimmer.graph import own_inputs
from slimmer.models import build, find
from slimmer.models.checkpoint import load_weights_, read_entry
from slimmer.models.copying import set_mode_
from slimmer.models.identify import Identified, identify, infer_sizes
from slimmer.models.match import sizes
from slimmer.pruning.slim_file import Identity, absolute, is_own, load_identified
from slimmer.recipe.sections import ModelSection
from slimmer.runs.directory import Run
from slimmer.tasks import Task

_SHOWN = 8


@dataclass(frozen=True, eq=False)
class Source:
    """A network in eval mode, its identity from which it can be built again, and notes on its
    origin.
    """

    network: nn.Module
    identity: Identity
    notes: tuple[str, ...] = ()


def load_model(
    section: ModelSection, task: Task | None = None, seed: int = 0, *, trust_code: bool = False
) -> Source:
    """The network that a recipe specifies, with its checkpoint's weights.

    The checkpoint may also be a run or a network that slimmer wrote, which is then pruned again.
    The architecture comes from the recipe, from slimmer's own file or from the weights; the input
    size comes from the recipe, the task, the file or the architecture, in this order. With
    `model.scratch`, random weights are drawn from `seed`, for the data's classes and channels.
    Raises SlimmerError for anything that can't be read, does not fit, or names code that is not
    trusted.
    """
    if section.scratch:
        return _from_scratch(section, task, seed)
    if section.checkpoint is None:
        right = "give a file of weights, or model.arch with model.scratch=true"
        raise ModelError("model.checkpoint", "no checkpoint given", right)
    path = _file_of_run(Path(section.checkpoint))
    given = _given_size(section, task)
    if is_own(path):
        network, identity = load_identified(path, arch=section.arch, trust_code=trust_code)
        return Source(network, identity if given is None else replace(identity, input_size=given))
    return _from_weights(path, section, given)


def _file_of_run(path: Path) -> Path:
    """The slim network of a run; any other path unchanged."""
    run = Run(path)
    try:
        is_run = run.recipe_file.is_file()
    except (OSError, ValueError):  # an impossible path; reading it raises the clear error
        is_run = False
    if is_run and not run.slim.is_file():
        right = f"resume it with `slimmer prune --resume {path}`"
        raise CheckpointError(str(path), "is a run that has no slim network yet", right)
    return run.slim if is_run else path


def _given_size(section: ModelSection, task: Task | None) -> tuple[int, ...] | None:
    """The size of an image by the recipe or the task, empty if the task's network takes something
    else; None if neither specifies it.
    """
    if section.input_size or task is None:
        return section.input_size
    return task.input_size


def _from_weights(path: Path, section: ModelSection, size: tuple[int, ...] | None) -> Source:
    """The network for the weights in a checkpoint of any format."""
    held = read_entry(path, section.entry)
    found, own = _identified(path, held.weights, section.arch)
    model = build(found.arch, num_classes=found.num_classes, in_channels=found.in_channels)
    load_weights_(model, found.weights, str(path))
    notes = skipped_note(path, held.entry, [*found.passed, *held.passed])
    if size is None and own_inputs(model) is not None:
        size = ()
    elif size is None:
        size = (found.in_channels, *(own or found.arch.input_size)[1:])
        if not own:
            notes.append(guessed(size))
    return Source(
        set_mode_(model, training=False),
        Identity(found.arch.name, found.num_classes, size),
        tuple(notes),
    )


def guessed(size: Sequence[int]) -> str:
    """The note for an image size that was not specified."""
    return (
        f"the image size {'x'.join(map(str, size))} is a guess, the default of the architecture; "
        "FLOPs depend on it: "
        "give --data, --input-size (inspect) or --set model.input_size=[C,H,W] (prune)"
    )


def skipped_note(path: Path, entry: str, passed: Sequence[str]) -> list[str]:
    """A note on the entries of a checkpoint that were skipped; empty if there are none."""
    if not passed:
        return []
    shown = first_few(list(map(_shortened, passed)), _SHOWN)
    used = f"the weights are those in {entry[:100]}; " if entry else ""
    return [readable(f"{path.name}: {used}skipped: {shown}")]


def _shortened(text: str) -> str:
    return text if len(text) <= 100 else f"{text[:100]}…"


def _identified(
    path: Path, weights: dict[str, torch.Tensor], arch: str | None
) -> tuple[Identified, list[int] | None]:
    """The architecture of the weights, and the size of an image if it is in timm's config.json."""
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
    """The architecture's name and the input size from timm's config.json in a directory of the
    Hugging Face hub; None for what is not there.
    """
    try:
        config = read_json(path / "config.json")
        name, size = config.get("architecture"), config.get("pretrained_cfg", {}).get("input_size")
    except (OSError, ValueError, AttributeError):  # missing, or of another library
        return None, None
    if not isinstance(name, str):
        name = None
    if not isinstance(size, list) or len(size) != 3 or not all(map(_is_side, size)):
        size = None
    return name, size


def _is_side(value: object) -> bool:
    """Whether a value from JSON can be a side or a number of channels."""
    return type(value) is int and 0 < value < 1 << 14


def _from_scratch(section: ModelSection, task: Task | None, seed: int) -> Source:
    """A network with random weights. Raises ModelError without an architecture or without data to
    train it on.
    """
    if section.arch is None or task is None:
        missing = "model.arch" if section.arch is None else "data"
        right = "give the architecture, and the data to train it on"
        raise ModelError("model.scratch", f"needs {missing}", right)
    arch = find(absolute(section.arch))
    size = section.input_size or task.input_size or arch.input_size
    classes = arch.num_classes if task.data is None else task.data.num_classes
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = build(arch, num_classes=classes, in_channels=size[0])
    return Source(
        set_mode_(model, training=False),
        Identity(arch.name, classes, size),
    )


def name_module(model: nn.Module, section: ModelSection, task: Task | None) -> Identity:
    """The identity of a module from Python: it can be built again by `model.arch` if one is given,
    otherwise only from the module itself.
    """
    size = _given_size(section, task)
    if size is None:
        if own_inputs(model) is None:
            right = (
                "give input_size=(channels, height, width) or data, "
                "or set the module's attribute example_inputs"
            )
            raise ModelError("model.input_size", "is not known", right)
        size = ()
    classes = 0
    if task is not None and task.data is not None:
        classes = task.data.num_classes
    elif section.arch:
        classes, _ = sizes(find(absolute(section.arch)), model, model.state_dict())
    return Identity(section.arch or "", classes, size)
