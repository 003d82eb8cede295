"""Parts of a network that are traced on their own, each with the inputs that it gets in one real
call of the whole network.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from numbers import Number
from typing import Any

import torch
from torch import Tensor, nn
from torch.jit import ScriptModule
from torch.nn.modules.conv import _ConvNd
from torch.utils._pytree import tree_leaves, tree_map, tree_map_only

from slimmer.errors import ModelError, first_line
from slimmer.graph.inputs import Captured
from slimmer.graph.labels import tensors_among
from slimmer.graph.names import is_inside, is_inside_any
from slimmer.graph.program import evaluating, export_program, place_of
from slimmer.models.copying import duplicate
from slimmer.registry import hint

WEIGHTED = (_ConvNd, nn.Linear)
SETTING = "model.trace"
KNOWN = (Tensor, Number, str, bytes, type(None))


@dataclass(frozen=True, eq=False)
class Call:
    """One call of the submodule `path`; `given` is (args, kwargs) with the class Tensor instead of
    each tensor.
    """

    path: str
    given: tuple[Any, Any]


class Parts(nn.Module):
    """Submodules of a network under their own names, each run on the inputs of its recorded calls.

    The modules are the network's own, not copies. `forward` takes the tensors of all calls in
    order, and returns all tensors that the calls return.
    """

    def __init__(self, model: nn.Module, calls: Sequence[Call]) -> None:
        super().__init__()
        self._calls = tuple(calls)
        parts = {call.path: model.get_submodule(call.path) for call in calls}
        for path, module in parts.items():
            _hold_(self, path, module)

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """The tensors (of any shapes) that the calls return, call by call."""
        rest = iter(tensors)
        answers: list[Tensor] = []
        for call in self._calls:
            args, kwargs = tree_map(lambda leaf: next(rest) if leaf is Tensor else leaf, call.given)
            answers += _tensors(call.path, self.get_submodule(call.path)(*args, **kwargs))
        return tuple(answers)


def _hold_(view: nn.Module, path: str, module: nn.Module) -> None:
    """Register `module` in `view` under its dotted name, inside empty modules."""
    *folders, last = path.split(".")
    for folder in folders:
        if folder not in dict(view.named_children()):
            view.add_module(folder, nn.Module())
        view = view.get_submodule(folder)
    view.add_module(last, module)


def _tensors(path: str, answer: Any) -> list[Tensor]:
    """The tensors of a part's output. Raises TypeError for an object that may contain tensors which
    can't be seen.
    """
    leaves = tree_leaves(answer)
    for leaf in leaves:
        if not isinstance(leaf, KNOWN):
            raise TypeError(
                f"{path} returns a {type(leaf).__name__}, whose contents can't be traced"
            )
    return tensors_among(leaves)


def capture(
    model: nn.Module, args: tuple[Any, ...], names: Sequence[str]
) -> tuple[tuple[Call, ...], Captured]:
    """The calls of the submodules `names` in one call of `model` in eval mode, and copies of their
    input tensors.

    If a submodule is not called itself, but modules inside it are (a list of layers, a method of
    another name), the calls of these are recorded. `model` is not changed.

    Raises ModelError if a name is not a submodule, or a submodule that is not called; if a part
    shares parameters with the rest of the network; if the call fails; or if a part gets an empty
    tensor.
    """
    for name in names:
        _check_name(model, name)
    network = duplicate(model)
    calls: list[Call] = []
    tensors: list[Tensor] = []

    def record(path: str, given: Any) -> None:
        for tensor in tensors_among(tree_leaves(given)):
            tensors.append(tensor.detach().clone())
        calls.append(Call(path, tree_map_only(Tensor, lambda _: Tensor, given)))

    with evaluating(network), torch.no_grad(), _listening(network, names, record):
        try:
            network(*args)
        except Exception as error:  # whatever the user's own code raises
            where = place_of(network, lambda: network(*args))
            found = f"fails when called, {where}: {first_line(error)}"
            right = "give the right input size or example_inputs"
            raise ModelError(type(model).__name__, found, right) from error
    _check_calls(model, names, calls, tensors)
    return tuple(calls), Captured(tensors)


@contextmanager
def _listening(network: nn.Module, names: Sequence[str], record: Any) -> Iterator[None]:
    """A block in which `record` gets every outermost call of a module in `names`, or of a module
    inside one.
    """
    inside: list[str] = []
    hooks = []

    def enter(path: str, args: Any, kwargs: Any) -> None:
        if not inside:
            record(path, (args, kwargs))
        inside.append(path)

    def leave(*_: Any) -> None:
        inside.pop()

    known: set[nn.Module] = set()  # a module may be registered in two places
    for path, module in network.named_modules(remove_duplicate=False):
        if not is_inside_any(path, names):
            continue
        if isinstance(module, ScriptModule) or module in known:
            continue
        known.add(module)
        enters = lambda _, args, kwargs, path=path: enter(path, args, kwargs)  # noqa: E731
        hooks.append(module.register_forward_pre_hook(enters, prepend=True, with_kwargs=True))
        hooks.append(module.register_forward_hook(leave, always_call=True))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _check_name(model: nn.Module, name: str) -> None:
    known = dict(model.named_modules())
    if not name or name not in known:
        similar, deepest = [], 1 if "." in name else 0
        for path in known:
            if path and path.count(".") <= deepest:
                similar.append(path)
        right = hint(name, similar)
        raise ModelError(f"{SETTING} {name!r}", "the network has no module of that name", right)


def _check_calls(
    model: nn.Module, names: Sequence[str], calls: Sequence[Call], tensors: Sequence[Tensor]
) -> None:
    """Raise ModelError if a part is never called, gets an empty tensor, or shares parameters with
    the rest of the network.
    """
    for name in names:
        if not any(is_inside(call.path, name) for call in calls):
            found = "neither it nor a module in it is called in eval mode"
            raise ModelError(
                f"{SETTING} {name!r}", found, "name modules that the network's forward calls"
            )
    owners: list[str] = []
    for call in calls:
        for leaf in tree_leaves(call.given):
            if leaf is Tensor:
                owners.append(call.path)
    for owner, tensor in zip(owners, tensors, strict=True):
        if not tensor.numel():
            found = f"{owner} gets an empty tensor, {'x'.join(map(str, tensor.shape))}"
            right = f"leave it out, or give example_inputs for which {owner} gets data"
            raise ModelError(SETTING, found, right)
    _check_own(model, [call.path for call in calls])


def _check_own(model: nn.Module, paths: Sequence[str]) -> None:
    """Raise ModelError if the rest of the network shares a parameter with the parts: pruning would
    change it there too.
    """
    inside: dict[int, str] = {}
    outside: dict[int, str] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        place = inside if is_inside_any(name, paths) else outside
        place[id(parameter)] = name
    for key, name in inside.items():
        if key not in outside:
            continue
        found = f"parameter {name} is shared with {outside[key]}, which is not traced"
        raise ModelError(SETTING, found, "name both modules, or one that contains both")


def traceable(model: nn.Module, args: tuple[Any, ...]) -> list[str]:
    """The submodules that can be traced with their inputs in the call `model(*args)`; none if that
    call fails.

    These are the direct children that have convolution or linear layers; if one can't be traced,
    its own children are tried.
    """
    found: list[str] = []
    for name, child in model.named_children():
        if _can_be_traced(model, args, name):
            found.append(name)
            continue
        for path, _ in child.named_children():
            inner = f"{name}.{path}"
            if _can_be_traced(model, args, inner):
                found.append(inner)
    return found


def _can_be_traced(model: nn.Module, args: tuple[Any, ...], name: str) -> bool:
    """Whether the submodule `name` has layers to prune, is called in `model(*args)`, and can be
    traced with its inputs there.
    """
    if not any(isinstance(module, WEIGHTED) for module in model.get_submodule(name).modules()):
        return False
    try:
        calls, inputs = capture(model, args, [name])
        with torch.no_grad():
            export_program(Parts(model, calls), inputs)
    except ModelError:
        return False
    return True
