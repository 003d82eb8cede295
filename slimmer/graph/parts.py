"""The parts of a network that are traced apart, each with the inputs that it gets in one real call
of the whole.
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
from torch.utils._pytree import tree_leaves, tree_map

from slimmer.errors import ModelError, first_line
from slimmer.graph.inputs import Captured
from slimmer.graph.program import evaluating, export_program, place_of
from slimmer.models.copying import duplicate
from slimmer.registry import hint

WEIGHTED = (_ConvNd, nn.Linear)
SETTING = "model.trace"


@dataclass(frozen=True, eq=False)
class Call:
    """One call of the submodule `path`: (args, kwargs), with the class Tensor in the place of each
    tensor.
    """

    path: str
    given: tuple[Any, Any]


class Parts(nn.Module):
    """Submodules of a network under the names that they have in it, each run on the inputs of its
    own calls.

    The modules are the network's own, not copies. `forward` takes the tensors of all calls in their
    order, and returns all tensors that the calls give.
    """

    def __init__(self, model: nn.Module, calls: Sequence[Call]) -> None:
        super().__init__()
        self._calls = tuple(calls)
        for path in dict.fromkeys(call.path for call in calls):
            _hold_(self, path, model.get_submodule(path))

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """The tensors (of any shapes) that the calls give, one call after the other."""
        rest = iter(tensors)
        answers: list[Tensor] = []
        for call in self._calls:
            args, kwargs = tree_map(lambda leaf: next(rest) if leaf is Tensor else leaf, call.given)
            answers += _tensors(call.path, self.get_submodule(call.path)(*args, **kwargs))
        return tuple(answers)


def _hold_(view: nn.Module, path: str, module: nn.Module) -> None:
    """Put `module` into `view` under its dotted name, in empty modules for what stands before its
    dots.
    """
    *folders, last = path.split(".")
    for folder in folders:
        if folder not in dict(view.named_children()):
            view.add_module(folder, nn.Module())
        view = view.get_submodule(folder)
    view.add_module(last, module)


def _tensors(path: str, answer: Any) -> list[Tensor]:
    """The tensors of a part's answer. Raises TypeError for an object that could hold others,
    unseen.
    """
    leaves = tree_leaves(answer)
    odd = [
        leaf for leaf in leaves if not isinstance(leaf, (Tensor, Number, str, bytes, type(None)))
    ]
    if odd:
        raise TypeError(
            f"{path} gives a {type(odd[0]).__name__}, and what is in it can't be followed"
        )
    return [leaf for leaf in leaves if isinstance(leaf, Tensor)]


def capture(
    model: nn.Module, args: tuple[Any, ...], names: Sequence[str]
) -> tuple[tuple[Call, ...], Captured]:
    """The calls of the submodules `names` in one call of `model` in eval mode, and copies of the
    tensors they got.

    Where such a submodule is not called itself, but modules inside it are (a list of layers, a
    method of another name), those calls stand for it. `model` is left as it was.

    Raises ModelError for a name that is no submodule, or none that is called; for parameters that
    the rest of the network shares; where the call fails, or a part gets an empty tensor.
    """
    for name in names:
        _check_name(model, name)
    network = duplicate(model)
    calls: list[Call] = []
    tensors: list[Tensor] = []

    def record(path: str, given: Any) -> None:
        tensors.extend(
            leaf.detach().clone() for leaf in tree_leaves(given) if isinstance(leaf, Tensor)
        )
        calls.append(
            Call(path, tree_map(lambda leaf: Tensor if isinstance(leaf, Tensor) else leaf, given))
        )

    with evaluating(network), torch.no_grad(), _listening(network, names, record):
        try:
            network(*args)
        except Exception as error:  # whatever the user's own code raises
            where = place_of(network, lambda: network(*args))
            found = f"can't be called, {where}: {first_line(error)}"
            right = "give the input size or the example_inputs that it takes"
            raise ModelError(type(model).__name__, found, right) from error
    _check_calls(model, names, calls, tensors)
    return tuple(calls), Captured(tensors)


@contextmanager
def _listening(network: nn.Module, names: Sequence[str], record: Any) -> Iterator[None]:
    """A block in which every outermost call of a module in `names`, or inside one, goes to
    `record`.
    """
    inside: list[str] = []
    hooks = []

    def enter(path: str, args: Any, kwargs: Any) -> None:
        if not inside:
            record(path, (args, kwargs))
        inside.append(path)

    known: set[nn.Module] = set()  # a module may hang in two places
    for path, module in network.named_modules(remove_duplicate=False):
        if (
            not any(is_inside(path, name) for name in names)
            or isinstance(module, ScriptModule)
            or module in known
        ):
            continue
        known.add(module)
        enters = lambda _, args, kwargs, path=path: enter(path, args, kwargs)  # noqa: E731 - two hooks, two lines
        hooks.append(module.register_forward_pre_hook(enters, prepend=True, with_kwargs=True))
        hooks.append(
            module.register_forward_hook(lambda *_: inside.pop() and None, always_call=True)
        )
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def is_inside(path: str, name: str) -> bool:
    """Whether `path` is the module `name` or lies in it.

    >>> is_inside("head.0.conv", "head.0"), is_inside("heads", "head")
    (True, False)
    """
    return path == name or path.startswith(f"{name}.")


def _check_name(model: nn.Module, name: str) -> None:
    known = [path for path, _ in model.named_modules() if path]
    if name not in known:
        children = [path for path, _ in model.named_children()]
        right = hint(
            name, [path for path in known if path.count(".") < 2] if "." in name else children
        )
        raise ModelError(f"{SETTING} {name!r}", "the network has no module of that name", right)


def _check_calls(
    model: nn.Module, names: Sequence[str], calls: Sequence[Call], tensors: Sequence[Tensor]
) -> None:
    """Raise ModelError where a part is never called, gets an empty tensor, or shares parameters
    with the rest.
    """
    for name in names:
        if not any(is_inside(call.path, name) for call in calls):
            found = "neither it nor a module in it is called in eval mode"
            raise ModelError(
                f"{SETTING} {name!r}", found, "name modules that the network's forward calls"
            )
    owners = [call.path for call in calls for leaf in tree_leaves(call.given) if leaf is Tensor]
    for owner, tensor in zip(owners, tensors, strict=True):
        if not tensor.numel():
            found = f"{owner} gets an empty tensor, {'x'.join(map(str, tensor.shape))}"
            right = f"leave it out, or give the network example_inputs for which {owner} has something to do"
            raise ModelError(f"{SETTING}", found, right)
    _check_own(model, [call.path for call in calls])


def _check_own(model: nn.Module, paths: Sequence[str]) -> None:
    """Raise ModelError where the rest of the network holds a parameter of the parts too: it would
    be cut unseen.
    """
    inside: dict[int, str] = {}
    outside: dict[int, str] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        own = any(is_inside(name, path) for path in paths)
        (inside if own else outside)[id(parameter)] = name
    both = next((key for key in inside if key in outside), None)
    if both is not None:
        found = f"{inside[both]} is also {outside[both]}, which is not traced"
        raise ModelError(SETTING, found, "name both modules, or one that holds both")


def traceable(model: nn.Module, args: tuple[Any, ...]) -> list[str]:
    """The submodules that can be traced with what they get in the call `model(*args)`; none where
    that call fails.

    These are the direct children that have convolution or linear layers; where one can't be traced,
    its own children.
    """
    found: list[str] = []
    for name, child in model.named_children():
        if _can_be_traced(model, args, name):
            found.append(name)
            continue
        inner = [f"{name}.{path}" for path, _ in child.named_children()]
        found += [path for path in inner if _can_be_traced(model, args, path)]
    return found


def _can_be_traced(model: nn.Module, args: tuple[Any, ...], name: str) -> bool:
    """Whether the submodule `name` has layers to prune, is called in `model(*args)`, and can be
    traced with that.
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
