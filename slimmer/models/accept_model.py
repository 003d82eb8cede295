"""The modules that slimmer accepts: wrappers are removed, and modules that can't be pruned are
refused with the reason.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.jit import ScriptModule
from torch.nn.parameter import is_lazy
from torch.utils._pytree import tree_leaves

from slimmer.errors import ModelError, first_few
from slimmer.models.copying import duplicate, set_mode_

FEW = 4  # names that a message lists
QUANTISED = (
    "torch.ao.quantization.observer",
    "torch.ao.quantization.fake_quantize",
    "torch.ao.nn.quantized",
    "torch.ao.nn.qat",
    "torch.ao.nn.intrinsic.quantized",
    "torch.ao.nn.intrinsic.qat",
)


def accept(model: Any) -> nn.Module:
    """A copy of the network inside `model`, without torch.compile, DataParallel and
    DistributedDataParallel.

    `model` is not changed; an attribute `example_inputs` of a wrapper is copied to the network.

    Raises:
        ModelError: it is not a module, or `check_model` refuses it.

    >>> type(accept(nn.DataParallel(torch.compile(nn.Conv2d(3, 4, 1)))))
    <class 'torch.nn.modules.conv.Conv2d'>
    """
    inside, own = unwrapped(model)
    check_model(inside)
    copy = duplicate(inside)
    places = list(_compiled(copy))
    while places:
        for holder, name, compiled in places:
            holder.add_module(name, compiled)
        places = list(_compiled(copy))
    if own is not None:
        copy.example_inputs = own
    return copy


def unwrapped(model: Any) -> tuple[nn.Module, Any]:
    """The network itself inside wrappers, and the first wrapper's `example_inputs`, or None.

    Raises ModelError if `model` is not a module.
    """
    if not isinstance(model, nn.Module):
        found = f"is a {type(model).__name__}"
        if isinstance(model, type):
            found = f"is a class, {model.__name__}"
        right = "give a network (an nn.Module), or the path of a file of weights"
        raise ModelError("model", found, right)
    inside, own, wrapped = model, None, _wrapped(model)
    while wrapped is not None:  # a compiled network has no truth value
        if own is None:
            own = vars(inside).get("example_inputs")
        inside, wrapped = wrapped, _wrapped(wrapped)
    return inside, own


def is_compiled(model: nn.Module) -> bool:
    """Whether torch.compile wrapped the network or a part of it."""
    return any(type(module).__name__ == "OptimizedModule" for module in model.modules())


def _wrapped(module: nn.Module | None) -> nn.Module | None:
    """The module inside a wrapper; None if `module` is not a wrapper."""
    names = {
        "OptimizedModule": "_orig_mod",
        "DataParallel": "module",
        "DistributedDataParallel": "module",
    }
    kind = type(module)  # compared by name, because importing the compiler takes a second
    if module is None or kind.__name__ not in names or not kind.__module__.startswith("torch."):
        return None
    return module.get_submodule(names[kind.__name__])


def _compiled(model: nn.Module) -> Iterator[tuple[nn.Module, str, nn.Module]]:
    """Each wrapper inside `model`: its parent module, its name there, and the module inside it."""
    for holder in model.modules():
        for name, child in holder._modules.items():  # noqa: SLF001 - named_children() skips repeats
            inside = _wrapped(child)
            if inside is not None:
                yield holder, name, inside


def check_model(model: nn.Module) -> None:
    """Raise ModelError for a module that is not a network in Python code with float weights; the
    error says what to do.

    Refused are modules compiled by TorchScript or under masks of `slimmer.attach`, lazy layers
    without a size, weights that are NaN, sparse or on the meta device, and layers that are
    quantised or prepared for quantisation.
    """
    where = type(model).__name__
    if isinstance(model, ScriptModule):
        found = "is compiled by TorchScript, so there is no Python code to prune"
        right = (
            "give the module that it was made from, with its weights: "
            "load_state_dict(MODULE.state_dict())"
        )
        raise ModelError(where, found, right)
    if any(map(_is_attached, model.modules())):
        found = "runs under the masks of slimmer.attach"
        right = "call finish() of what attach returned, and use the slim network that it returns"
        raise ModelError(where, found, right)
    lazy = _holders(model, is_lazy)
    if lazy:
        found = f"has lazy layers without a size ({lazy}), because it was never called"
        raise ModelError(where, found, "call it once on an example of its input first")
    meta = _holders(model, lambda tensor: tensor.is_meta)
    if meta:
        found = f"has weights without values, on the meta device ({meta})"
        right = "move it to a device, model.to_empty(device='cpu'), and load its weights"
        raise ModelError(where, found, right)
    sparse = _holders(model, lambda tensor: tensor.layout is not torch.strided)
    if sparse:
        right = "make them dense: nn.Parameter(weight.to_dense())"
        raise ModelError(where, f"has sparse weights ({sparse})", right)
    broken = _holders(model, lambda tensor: isinstance(tensor, nn.Parameter) and _is_nan(tensor))
    if broken:
        right = "give a network whose training did not diverge"
        raise ModelError(where, f"has weights that are NaN ({broken})", right)
    quantised = _few(name for name, module in model.named_modules() if _is_quantised(module))
    if quantised:
        found = f"is quantised, or prepared for quantisation ({quantised})"
        raise ModelError(where, found, "give the float network, and quantise the slim one")


def _holders(model: nn.Module, chosen: Callable[[Tensor], bool]) -> str:
    """The names of the parameters and buffers that are `chosen`, as text."""
    tensors = (*model.named_parameters(), *model.named_buffers())
    return _few(name for name, tensor in tensors if chosen(tensor))


def _few(names: Iterable[str]) -> str:
    return first_few([name or "the top module" for name in names], FEW)


def _is_nan(tensor: Tensor) -> bool:
    wide = tensor if tensor.itemsize > 1 else tensor.float()  # isnan rejects floats of one byte
    return bool(torch.isnan(wide).any())


def _is_attached(module: nn.Module) -> bool:
    hooks = module._forward_pre_hooks.values()  # noqa: SLF001 - there is no public list
    return any(getattr(hook, "slimmer_masks", False) for hook in hooks)


def _is_quantised(module: nn.Module) -> bool:
    return any(kind.__module__.startswith(QUANTISED) for kind in type(module).__mro__)


def _is_trainable(tensor: Tensor) -> bool:
    return tensor.requires_grad


def check_takes_data(model: nn.Module, size: Sequence[int], *, trained: bool) -> None:
    """Raise ModelError if a network does not work with data: images of `size` (C, H, W) in float32.

    Refused are a network of another type that does not take float32, a network that records no
    gradients, which are needed to score channels, and a network to be `trained` whose parameters
    are all frozen.
    """
    where = type(model).__name__
    parameters = list(model.parameters())
    if trained and not any(map(_is_trainable, parameters)):
        found = "is to be fine-tuned, but all of its parameters are frozen"
        right = "unfreeze them, model.requires_grad_(True), or do not fine-tune: epochs=0"
        raise ModelError(where, found, right)
    kinds = [parameter.dtype for parameter in parameters if parameter.is_floating_point()]
    network = set_mode_(duplicate(model), training=False)
    for parameter in network.parameters():
        parameter.requires_grad_(parameter.is_floating_point() or parameter.is_complex())
    try:
        with torch.random.fork_rng(devices=[]), torch.enable_grad():
            answer = network(torch.zeros(2, *size, dtype=torch.float32))
    except Exception as error:  # whatever the user's own code raises
        if not kinds or kinds[0] == torch.float32:
            return  # the types are not the cause; tracing reports the error
        found = f"its weights are {str(kinds[0]).removeprefix('torch.')}, but images are float32"
        right = "convert it, model.float(); finetune.precision sets the type used for training"
        raise ModelError(where, found, right) from error
    tensors = [leaf for leaf in tree_leaves(answer) if isinstance(leaf, Tensor)]
    if tensors and not any(map(_is_trainable, tensors)):
        found = "its forward records no gradients, which scores and fine-tuning need"
        right = "remove torch.no_grad or detach from its code, or prune it without data"
        raise ModelError(where, found, right)
