"""How weights by name and shape compare with a network's own, and the sizes that they imply."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from slimmer.errors import CheckpointError
from slimmer.models.architecture import Architecture

# Old checkpoints have no such counters, and nothing that batch norm computes in eval mode reads
# them.
OPTIONAL = "num_batches_tracked"
_SHOWN = 8
_LONGEST = 200
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


@dataclass(frozen=True)
class Difference:
    """What keeps weights from fitting a network: keys, and in `mismatched` what each key has and
    needs.
    """

    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    mismatched: tuple[str, ...]
    matched: int

    def __bool__(self) -> bool:
        return bool(self.missing or self.unexpected or self.mismatched)

    @property
    def given(self) -> int:
        """The number of keys that the weights have."""
        return self.matched + len(self.unexpected) + len(self.mismatched)

    @property
    def alike(self) -> float:
        """The share of all keys, of either side, that fit: 0 to 1."""
        return self.matched / max(1, self.given + len(self.missing))

    def __str__(self) -> str:
        parts = {
            "missing": self.missing,
            "unexpected": self.unexpected,
            "other shapes": self.mismatched,
        }
        return "\n".join(f"  {_listed(what, keys)}" for what, keys in parts.items() if keys)


def _listed(what: str, keys: tuple[str, ...]) -> str:
    more = f", and {len(keys) - _SHOWN} more" if len(keys) > _SHOWN else ""
    shown = [key if len(key) <= _LONGEST else f"{key[:_LONGEST]}…" for key in keys[:_SHOWN]]
    return f"{len(keys)} {what}: {', '.join(shown)}{more}"


def compare(own: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> Difference:
    """What differs between a network's `own` state and `weights`; falsy where they fit.

    A missing num_batches_tracked is no difference.
    """
    shared = [key for key in own if key in weights]
    mismatched = [key for key in shared if not _fits(own[key], weights[key])]
    return Difference(
        missing=tuple(key for key in own if key not in weights and not key.endswith(OPTIONAL)),
        unexpected=tuple(key for key in weights if key not in own),
        mismatched=tuple(
            f"{key} {_shape(weights[key])} for {_shape(own[key])}" for key in mismatched
        ),
        matched=len(shared) - len(mismatched),
    )


def _fits(own: Tensor, weight: Tensor) -> bool:
    # Half and double precision are converted; integers in a float's place are codes of a quantised
    # net.
    return own.shape == weight.shape and (weight.is_floating_point() or not own.is_floating_point())


def _shape(tensor: Tensor) -> str:
    kind = "" if tensor.is_floating_point() else str(tensor.dtype).removeprefix("torch.") + " "
    return f"{kind}{list(tensor.shape)}"


def first_convolution(model: nn.Module) -> tuple[str, int] | None:
    """The name of the first convolution and the channels that it reads; None where there is none."""
    for name, module in model.named_modules():
        if isinstance(module, CONVOLUTIONS):
            return name, module.in_channels
    return None


def head(model: nn.Module) -> tuple[str, int] | None:
    """The name of the last linear layer, or of the last convolution where there is none, and its
    outputs.
    """
    linear = [
        (name, m.out_features) for name, m in model.named_modules() if isinstance(m, nn.Linear)
    ]
    convolutions = [
        (name, m.out_channels) for name, m in model.named_modules() if isinstance(m, CONVOLUTIONS)
    ]
    layers = linear or convolutions
    return layers[-1] if layers else None


def sizes(
    architecture: Architecture, model: nn.Module, weights: Mapping[str, Tensor]
) -> tuple[int, int]:
    """(num_classes, in_channels) as `weights` say; the architecture's own where they do not.

    `model` is the architecture's network in any sizes: it tells which layers are the first and the
    last. Weights of another shape than those layers' say nothing, so that nothing is built that is
    larger than the weights are. Raises CheckpointError for a layer of no classes or no channels.
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
            found = f"its weights are of a network of no {what}: {list(tensor.shape)}"
            raise CheckpointError(architecture.name, found, "save the weights of the network again")
    return num_classes, in_channels


def _fitting(
    model: nn.Module, weights: Mapping[str, Tensor], layer: tuple[str, int] | None, free: int
) -> Tensor | None:
    """That layer's weight among `weights`, where it has the layer's own shape but for the axis
    `free`.
    """
    weight = None if layer is None else weights.get(layer_weight(layer[0]))
    if layer is None or weight is None or weight.ndim <= free:
        return None
    own = getattr(model.get_submodule(layer[0]), "weight", None)
    if not isinstance(own, Tensor):
        return None
    rest = [axis for axis in range(own.ndim) if axis != free]
    alike = weight.ndim == own.ndim and all(weight.shape[axis] == own.shape[axis] for axis in rest)
    return weight if alike else None


def layer_weight(layer: str) -> str:
    """The key of a layer's weight in its network's state."""
    return f"{layer}.weight" if layer else "weight"
