"""Which modules slimmer takes: wrappers come off, and what can't be pruned is refused by its own
name.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.jit import ScriptModule
from torch.nn.parameter import is_lazy
from torch.utils._pytree import tree_leaves

from slimmer.errors import ModelError
from slimmer.models.copying import duplicate, set_mode_

FEW = 4  # names that a message holds
QUANTISED = (
    "torch.ao.quantization.observer",
    "torch.ao.quantization.fake_quantize",
    "torch.ao.nn.quantized",
    "torch.ao.nn.qat",
    "torch.ao.nn.intrinsic.quantized",
    "torch.ao.nn.intrinsic.qat",
)


def accept(model: Any) -> nn.Module:
    """A copy of the network inside `model`: without torch.compile, DataParallel and
    DistributedDataParallel.

    `model` is left as it is; an attribute `example_inputs` of a wrapper is the copy's.

    Raises:
        ModelError: it is no module, or one that `check_model` refuses.

    >>> type(accept(nn.DataParallel(torch.compile(nn.Conv2d(3, 4, 1)))))
    <class 'torch.nn.modules.conv.Conv2d'>
    """
    if not isinstance(model, nn.Module):
        found = (
            f"is a class, {model.__name__}"
            if isinstance(model, type)
            else f"is a {type(model).__name__}"
        )
        raise ModelError(
            "model", found, "give a network, an nn.Module, or the path of a file of weights"
        )
    inside, own = model, None
    while (wrapped := _wrapped(inside)) is not None:  # a compiled network has no truth
        own = vars(inside).get("example_inputs") if own is None else own
        inside = wrapped
    check_model(inside)
    copy = duplicate(inside)
    while places := list(_compiled(copy)):
        for holder, name, compiled in places:
            holder.add_module(name, compiled)
    if own is not None:
        copy.example_inputs = own
    return copy


def _wrapped(module: nn.Module | None) -> nn.Module | None:
    """What a wrapper is around; None of a module that is none."""
    names = {
        "OptimizedModule": "_orig_mod",
        "DataParallel": "module",
        "DistributedDataParallel": "module",
    }
    kind = type(module)  # by name: importing the compiler takes a second
    name = names.get(kind.__name__) if kind.__module__.startswith("torch.") else None
    return None if module is None or name is None else module.get_submodule(name)


def _compiled(model: nn.Module) -> Iterator[tuple[nn.Module, str, nn.Module]]:
    """Each place in which a wrapper hangs: what holds it, the name, and what is in it."""
    for holder in model.modules():
        for name, child in holder._modules.items():  # noqa: SLF001 - named_children() gives one that hangs twice once
            inside = _wrapped(child)
            if inside is not None:
                yield holder, name, inside


def check_model(model: nn.Module) -> None:
    """Nothing; raises ModelError for a module that is no network of float numbers in Python code,
    saying what to do.

    That is one compiled by TorchScript, one with layers that have no size yet, with weights that
    are no numbers, sparse or on the meta device, or with layers that are prepared for quantisation.
    """
    where = type(model).__name__
    if isinstance(model, ScriptModule):
        found = "is compiled by TorchScript, which leaves no Python code to prune"
        right = "give the module that it was made from; its weights go there by load_state_dict(MODULE.state_dict())"
        raise ModelError(where, found, right)
    lazy = _holders(model, is_lazy)
    if lazy:
        found = f"layers have no size yet ({lazy}): they are lazy, and the network never ran"
        raise ModelError(where, found, "call it once on an example of its input before you give it")
    meta = _holders(model, lambda tensor: tensor.is_meta)
    if meta:
        found = f"has weights without numbers, on the meta device ({meta})"
        raise ModelError(
            where, found, "put it on a device and load its weights: model.to_empty(device='cpu')"
        )
    sparse = _holders(model, lambda tensor: tensor.layout is not torch.strided)
    if sparse:
        raise ModelError(
            where,
            f"has sparse weights ({sparse})",
            "give them dense: nn.Parameter(weight.to_dense())",
        )
    broken = _holders(model, lambda tensor: isinstance(tensor, nn.Parameter) and _is_nan(tensor))
    if broken:
        raise ModelError(
            where,
            f"has weights that are no numbers ({broken})",
            "give one whose training did not diverge",
        )
    quantised = _few(name for name, module in model.named_modules() if _is_quantised(module))
    if quantised:
        found = f"is quantised, or prepared for it ({quantised})"
        raise ModelError(where, found, "give the float network, and quantise the slim one")


def _holders(model: nn.Module, chosen: Callable[[Tensor], bool]) -> str:
    """The names of the parameters and buffers that are `chosen`, for people."""
    return _few(
        name
        for name, tensor in (*model.named_parameters(), *model.named_buffers())
        if chosen(tensor)
    )


def _few(names: Iterator[str]) -> str:
    found = [name or "the top module" for name in names]
    return ", ".join(found[:FEW]) + (f" and {len(found) - FEW} more" if len(found) > FEW else "")


def _is_nan(tensor: Tensor) -> bool:
    wide = tensor if tensor.itemsize > 1 else tensor.float()  # floats of one byte know no isnan
    return bool(torch.isnan(wide).any())


def _is_quantised(module: nn.Module) -> bool:
    return any(kind.__module__.startswith(QUANTISED) for kind in type(module).__mro__)


def check_takes_data(model: nn.Module, size: Sequence[int], *, trained: bool) -> None:
    """Nothing; raises ModelError where a network does not go with data: images of `size` (C, H, W)
    in float32.

    That is one of another type that does not take them, one that records no gradients, by which its
    channels are judged, and one that is to be `trained` and is frozen as a whole.
    """
    where = type(model).__name__
    if trained and not any(parameter.requires_grad for parameter in model.parameters()):
        right = (
            "unfreeze what is to be trained, model.requires_grad_(True), or train nothing: epochs=0"
        )
        raise ModelError(where, "all of its parameters are frozen, and it is to be trained", right)
    kinds = [parameter.dtype for parameter in model.parameters() if parameter.is_floating_point()]
    network = set_mode_(duplicate(model), training=False)
    for parameter in network.parameters():
        parameter.requires_grad_(parameter.is_floating_point() or parameter.is_complex())
    try:
        with torch.random.fork_rng(devices=[]), torch.enable_grad():
            answer = network(torch.zeros(2, *size, dtype=torch.float32))
    except Exception as error:  # whatever the user's own code raises
        if not kinds or kinds[0] == torch.float32:
            return  # not about types; tracing tells what it says
        found = f"its weights are {str(kinds[0]).removeprefix('torch.')}, and images are float32"
        right = (
            "give it in float32, model.float(); finetune.precision says in which type it is trained"
        )
        raise ModelError(where, found, right) from error
    tensors = [leaf for leaf in tree_leaves(answer) if isinstance(leaf, Tensor)]
    if tensors and not any(tensor.requires_grad for tensor in tensors):
        found = "its forward records no gradients, by which channels are judged and weights trained"
        raise ModelError(
            where, found, "take torch.no_grad or detach out of its code, or prune it without data"
        )
