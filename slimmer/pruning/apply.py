"""Remove channels: a model and a plan give a new, smaller model. The given model is not changed."""

from collections import Counter
from collections.abc import Callable, Mapping

import torch
import torch_pruning as tp
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd

from slimmer.errors import RunError
from slimmer.graph import Axis
from slimmer.models.copying import duplicate
from slimmer.pruning.emptied import emptied
from slimmer.pruning.plan import Plan

NORM_AXES = ("weight.0", "bias.0", "running_mean.0", "running_var.0", "#num_features")
Cut = Callable[[nn.Module, Plan], nn.Module]
"""A function that returns the slim model of a model and a plan: `prune` below, or that of a
program.
"""


def prune(model: nn.Module, plan: Plan) -> nn.Module:
    """A copy of `model` with only the channels that `plan` keeps; the modules' attributes are
    updated.

    torch-pruning's layer-wise functions remove the channels; a layer that loses all inputs or
    outputs is replaced. `requires_grad`, training mode and the memory format of weights are as in
    `model`. The full plan returns an equal model. Raises RunError if the plan changes an attribute
    that the model does not have.
    """
    slim = duplicate(model)
    given = dict(model.named_parameters())
    removed = plan.removed()
    by_module: dict[str, dict[str, list[int]]] = {}
    for axis, positions in removed.items():
        path, what = _place(axis)
        if path is not None:
            by_module.setdefault(path, {})[what] = positions
    done = set()
    for name, gone in by_module.items():
        module = slim.get_submodule(name)
        if module in done:  # a module that is registered twice has two names
            continue
        instead = emptied(module, gone)
        if instead is None:
            _cut_(module, gone)
        else:
            _replace_(slim, module, instead)
        done |= {module, instead}
    for name, number in plan.attributes:
        _set_(slim, name, number)
    for name, parameter in slim.named_parameters():
        parameter.data = _laid_like(given[name], parameter.data)
        parameter.requires_grad_(given[name].requires_grad)
    return slim


def _replace_(model: nn.Module, old: nn.Module, new: nn.Module) -> None:
    """Put a module in the place of another, under all its names."""
    for name, held in list(model.named_modules(remove_duplicate=False)):
        if held is old:
            model.set_submodule(name, new)


def _set_(model: nn.Module, place: str, number: int) -> None:
    """Set the integer `module#attribute`. Raises RunError if it is missing or would grow."""
    path, _, name = place.partition("#")
    held = dict(model.named_modules()).get(path)
    old = vars(held).get(name) if held is not None else None
    if held is None or type(old) is not int or not 0 < number <= old:
        found = f"sets {place} to {number}, but it is {old!r} in this network"
        raise RunError("plan", found, "give the plan of this network")
    setattr(held, name, number)


def _laid_like(given: Tensor, kept: Tensor) -> Tensor:
    """The `kept` tensor, in channels-last memory format if the `given` tensor has it."""
    last = {4: torch.channels_last, 5: torch.channels_last_3d}.get(given.dim())
    if last is None or given.is_contiguous() or not given.is_contiguous(memory_format=last):
        return kept
    return kept.contiguous(memory_format=last)


def slice_tensors(tensors: Mapping[str, Tensor], plan: Plan) -> dict[str, Tensor]:
    """The slices that `plan` keeps of tensors with the shapes and names of the model's own
    (optimizer state, gradients).
    """
    removed = _by_tensor(plan)
    kept = {}
    for name, tensor in tensors.items():
        for dim, positions in removed.get(name, {}).items():
            tensor = _without(tensor, dim, positions)  # noqa: PLW2901 - sliced axis by axis
        kept[name] = _laid_like(tensors[name], tensor)
    return kept


def widen_tensors(tensors: Mapping[str, Tensor], plan: Plan) -> dict[str, Tensor]:
    """The reverse of `slice_tensors`: tensors of the whole model's shapes, with zeros at the
    positions that `plan` removes.
    """
    removed = _by_tensor(plan)
    whole = {}
    for name, tensor in tensors.items():
        for dim, positions in removed.get(name, {}).items():
            tensor = _with_zeros(tensor, dim, positions)  # noqa: PLW2901 - widened axis by axis
        whole[name] = tensor
    return whole


def _by_tensor(plan: Plan) -> dict[str, dict[int, list[int]]]:
    """The removed positions, by tensor and by axis of it."""
    removed: dict[str, dict[int, list[int]]] = {}
    for axis, positions in plan.removed().items():
        removed.setdefault(axis.tensor, {})[axis.dim] = positions
    return removed


def _place(axis: Axis) -> tuple[str | None, str]:
    """The module that an axis belongs to, and its axis there: `weight.0`, `gamma.1`, `#groups`;
    None for an activation.
    """
    if axis.tensor.startswith("@"):
        return None, ""
    if "#" in axis.tensor:
        module, _, attribute = axis.tensor.partition("#")
        return module, f"#{attribute}"
    module, _, tensor = axis.tensor.rpartition(".")
    return module, f"{tensor}.{axis.dim}"


def _cut_(module: nn.Module, gone: dict[str, list[int]]) -> None:
    for kind, cut in _CUTS.items():
        if isinstance(module, kind):
            cut(module, gone)  # removes from `gone` what it handles
    for what, positions in gone.items():
        if what.startswith("#"):  # an attribute that counts channels
            setattr(module, what[1:], getattr(module, what[1:]) - len(positions))
            continue
        # a parameter or buffer of a user's own module
        name, _, dim = what.rpartition(".")
        tensor = getattr(module, name)
        kept = _without(tensor.data, int(dim), positions)
        if isinstance(tensor, nn.Parameter):
            setattr(module, name, nn.Parameter(kept))
        else:
            persistent = name not in module._non_persistent_buffers_set  # noqa: SLF001
            module.register_buffer(name, kept, persistent=persistent)


def _cut_conv_(module: _ConvNd, gone: dict[str, list[int]]) -> None:
    if not {"weight.0", "weight.1"}.intersection(gone):
        return  # its weight is computed from parameters stored elsewhere
    if module.transposed:
        if module.groups > 1:
            # The weight's first axis holds the inputs; the other counts are attributes in `gone`.
            module.in_channels -= len(gone["weight.0"])
            return
        out, entering = gone.pop("weight.1", []), gone.pop("weight.0", [])
    else:
        out, entering = gone.pop("weight.0", []), gone.pop("weight.1", [])
    gone.pop("bias.0", None)
    if module.groups > 1:
        made, read = module.out_channels // module.groups, module.in_channels // module.groups
        by_group = Counter(position // made for position in out)
        whole = list(by_group.values()).count(made)
        if out:
            tp.prune_conv_out_channels(module, out)
        if entering:
            module.weight = nn.Parameter(_without(module.weight.data, 1, entering))
        module.groups -= whole
        module.in_channels = module.groups * (read - len(entering))
        return
    if out:
        tp.prune_conv_out_channels(module, out)
    if entering:
        tp.prune_conv_in_channels(module, entering)


def _cut_linear_(module: nn.Linear, gone: dict[str, list[int]]) -> None:
    if not {"weight.0", "weight.1"}.intersection(gone):
        return
    out, entering = gone.pop("weight.0", []), gone.pop("weight.1", [])
    gone.pop("bias.0", None)
    if out:
        tp.prune_linear_out_channels(module, out)
    if entering:
        tp.prune_linear_in_channels(module, entering)


def _cut_norm_(module: _NormBase, gone: dict[str, list[int]]) -> None:
    own = [gone.pop(what, []) for what in NORM_AXES]
    positions = max(own, key=len)
    if positions:
        tp.prune_batchnorm_out_channels(module, positions)


_CUTS: dict[type[nn.Module], Callable[..., None]] = {
    _ConvNd: _cut_conv_,
    nn.Linear: _cut_linear_,
    _NormBase: _cut_norm_,
}


def _without(tensor: Tensor, dim: int, positions: list[int]) -> Tensor:
    """`tensor` without `positions` along `dim`."""
    keep = torch.ones(tensor.shape[dim], dtype=torch.bool, device=tensor.device)
    keep[positions] = False
    return tensor.index_select(dim, keep.nonzero().flatten())


def _with_zeros(tensor: Tensor, dim: int, positions: list[int]) -> Tensor:
    """`tensor` with zeros inserted, so that they are at `positions` along `dim`."""
    size = tensor.shape[dim] + len(positions)
    keep = torch.ones(size, dtype=torch.bool, device=tensor.device)
    keep[positions] = False
    shape = [*tensor.shape[:dim], size, *tensor.shape[dim + 1 :]]
    return tensor.new_zeros(shape).index_copy_(dim, keep.nonzero().flatten(), tensor)
