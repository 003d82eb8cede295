"""The modules of a rewritten program: those of the network, with other tensors."""

from collections.abc import Mapping

from torch import Tensor, nn
from torch.fx import Graph, GraphModule, Node
from torch.nn.modules.batchnorm import _BatchNorm

from slimmer.models.copying import duplicate
from slimmer.pruning.apply import slice_tensors
from slimmer.pruning.plan import Plan

NORMS = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d, 5: nn.BatchNorm3d}


def fill_(
    made: GraphModule, model: nn.Module, tensors: Mapping[Tensor, Tensor], graph: Graph
) -> None:
    """Give `made` the module tree of `model`, with `tensors` instead of its own tensors.

    Each module is an empty one that holds tensors, except the modules that the program calls: batch
    norms, and modules without tensors, which are copied.
    """
    called = {node.target: node for node in graph.nodes if node.op == "call_module"}
    copies: dict[nn.Module, nn.Module] = {model: made}
    whole = set()
    for path, module in model.named_modules():
        if module is not model:
            copies[module] = _copy(module, called.get(path))
            if path in called and not isinstance(module, _BatchNorm):
                whole.add(module)
    for module, copy in copies.items():
        if module in whole:
            continue
        copy.training = module.training
        _hold_(copy, module, tensors)
        for name, child in module._modules.items():  # noqa: SLF001 - named_children() skips aliases
            if child is not None:
                copy.add_module(name, copies[child])


def kept_tensors(model: nn.Module, plan: Plan) -> dict[Tensor, Tensor]:
    """The slice that `plan` keeps of each parameter and buffer; a tensor that is registered twice
    has one slice.
    """
    held: dict[str, Tensor] = {
        **dict(model.named_parameters(remove_duplicate=False)),
        **dict(model.named_buffers(remove_duplicate=False)),
    }
    sliced = slice_tensors(dict(zip(held, map(Tensor.detach, held.values()), strict=True)), plan)
    kept: dict[Tensor, Tensor] = {}
    for name, tensor in held.items():
        kept.setdefault(tensor, copy_of(sliced[name], tensor))
    return kept


def copy_of(numbers: Tensor, tensor: Tensor) -> Tensor:
    """A parameter or buffer like `tensor`, with these values."""
    own = numbers.detach().clone()
    if isinstance(tensor, nn.Parameter):
        return nn.Parameter(own, requires_grad=tensor.requires_grad)
    return own


def _hold_(copy: nn.Module, module: nn.Module, tensors: Mapping[Tensor, Tensor]) -> None:
    """Register the replacements of the tensors that `module` holds itself."""
    for name, parameter in module.named_parameters(recurse=False, remove_duplicate=False):
        if parameter in tensors:
            copy.register_parameter(name, tensors[parameter])  # type: ignore[arg-type]
    for name, buffer in module.named_buffers(recurse=False, remove_duplicate=False):
        if buffer in tensors:
            persistent = name not in module._non_persistent_buffers_set  # noqa: SLF001
            copy.register_buffer(name, tensors[buffer], persistent=persistent)
    if isinstance(copy, _BatchNorm) and copy.running_mean is not None:
        copy.num_features = len(copy.running_mean)


def _copy(module: nn.Module, call: Node | None) -> nn.Module:
    """The copy of `module`, still without tensors and children; `call` is the node that calls it,
    if there is one.
    """
    if call is None:
        return nn.Module()
    if not isinstance(module, _BatchNorm):
        return duplicate(module)
    copy = NORMS[call.meta["axes"]](module.num_features, module.eps, module.momentum, affine=False)
    copy.affine = module.affine
    return copy
