"""The comparison of weights with a network's own by name and shape, and the sizes they imply."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from slimmer.errors import CheckpointError, first_few
from slimmer.models.architecture import Architecture

# Old checkpoints do not have these counters, and batch norm does not read them in eval mode.
OPTIONAL = "num_batches_tracked"
_SHOWN = 8
_LONGEST = 200
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


@dataclass(frozen=True)
class Difference:
    """The reasons why weights do not fit a network: keys, in `mismatched` with the shape that each
    has and needs.
    """

    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    mismatched: tuple[str, ...]
    matched: int

    def __bool__(self) -> bool:
        return bool(self.missing or self.unexpected or self.mismatched)

    @property
    def given(self) -> int:
        """The number of keys of the weights."""
        return self.matched + len(self.unexpected) + len(self.mismatched)

    @property
    def alike(self) -> float:
        """The share of all keys of both sides that fit, 0 to 1."""
        return self.matched / max(1, self.given + len(self.missing))

    def __str__(self) -> str:
        parts = {
            "missing": self.missing,
            "unexpected": self.unexpected,
            "other shapes": self.mismatched,
        }
        lines = []
        for what, keys in parts.items():
            if keys:
                lines.append(f"  {_listed(what, keys)}")
        return "\n".join(lines)


def _listed(what: str, keys: tuple[str, ...]) -> str:
    return f"{len(keys)} {what}: {first_few(list(map(_shortened, keys)), _SHOWN)}"


def _shortened(key: str) -> str:
    return key if len(key) <= _LONGEST else f"{key[:_LONGEST]}…"


def compare(own: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> Difference:
    """The difference between a network's `own` state and `weights`; falsy if they fit.

    A missing num_batches_tracked does not count.
    """
    missing, mismatched, matched = [], [], 0
    for key, tensor in own.items():
        if key not in weights:
            if not key.endswith(OPTIONAL):
                missing.append(key)
        elif _fits(tensor, weights[key]):
            matched += 1
        else:
            mismatched.append(f"{key} {_shape(weights[key])} for {_shape(tensor)}")
    return Difference(
        missing=tuple(missing),
        unexpected=tuple(key for key in weights if key not in own),
        mismatched=tuple(mismatched),
        matched=matched,
    )


def _fits(own: Tensor, weight: Tensor) -> bool:
    # Half and double precision are converted; integers instead of floats are the codes of a
    # quantised network.
    return own.shape == weight.shape and (weight.is_floating_point() or not own.is_floating_point())


def _shape(tensor: Tensor) -> str:
    kind = "" if tensor.is_floating_point() else str(tensor.dtype).removeprefix("torch.") + " "
    return f"{kind}{list(tensor.shape)}"


def first_convolution(model: nn.Module) -> tuple[str, int] | None:
    """The name of the first convolution and its input channels; None if there is none."""
    for name, module in model.named_modules():
        if isinstance(module, CONVOLUTIONS):
            return name, module.in_channels
    return None


def head(model: nn.Module) -> tuple[str, int] | None:
    """The name and the number of outputs of the last linear layer, or of the last convolution if
    there is no linear layer; None if there is neither.
    """
    linear, convolution = None, None
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear):
            linear = name, module.out_features
        elif isinstance(module, CONVOLUTIONS):
            convolution = name, module.out_channels
    return convolution if linear is None else linear


def sizes(
    architecture: Architecture, model: nn.Module, weights: Mapping[str, Tensor]
) -> tuple[int, int]:
    """(num_classes, in_channels) by the `weights`; the architecture's defaults if they do not show
    them.

    `model` is the architecture's network in any sizes; its first and last layers are compared.
    Weights of another shape than these layers are ignored, so that no network is built that is
    larger than the weights. Raises CheckpointError for a layer without classes or channels.
    """
    last, first = head(model), first_convolution(model)
    num_classes, in_channels = architecture.num_classes, architecture.input_size[0]
    top = _fitting(model, weights, last, 0)
    if top is not None:
        num_classes = top.shape[0]
    stem = _fitting(model, weights, first, 1)
    if first and stem is not None:
        own = model.get_submodule(first[0])
        in_channels = stem.shape[1] * int(getattr(own, "groups", 1))
    for what, tensor, size in (
        ("classes", top, num_classes),
        ("input channels", stem, in_channels),
    ):
        if tensor is not None and size < 1:
            found = f"its weights are of a network without {what}: {list(tensor.shape)}"
            raise CheckpointError(architecture.name, found, "save the weights of the network again")
    return num_classes, in_channels


def _fitting(
    model: nn.Module, weights: Mapping[str, Tensor], layer: tuple[str, int] | None, free: int
) -> Tensor | None:
    """The weight of `layer` among `weights`, if it has the layer's shape in all axes except `free`;
    else None.
    """
    weight = None if layer is None else weights.get(layer_weight(layer[0]))
    if layer is None or weight is None or weight.ndim <= free:
        return None
    own = getattr(model.get_submodule(layer[0]), "weight", None)
    if not isinstance(own, Tensor):
        return None
    ours, theirs = list(own.shape), list(weight.shape)
    if len(ours) != len(theirs):
        return None
    theirs[free] = ours[free]
    return weight if ours == theirs else None


def layer_weight(layer: str) -> str:
    """The key of a layer's weight in its network's state."""
    return f"{layer}.weight" if layer else "weight"
