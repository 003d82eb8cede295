"""Trace a network into its program; if that fails, say where and why."""

import io
import linecache
import logging
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from traceback import extract_tb
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx.experimental import proxy_tensor
from torch.jit import ScriptModule

from slimmer.errors import ModelError, UntraceableError, first_line
from slimmer.graph.followed import checks, copies, detached
from slimmer.graph.inputs import Captured, Inputs, example_inputs, several_images, shapes
from slimmer.graph.unregistered import check_registered, noting_unregistered
from slimmer.models.copying import duplicate, set_mode_

MOST_SAID = 300  # characters of torch.export's error message
BATCH = 2  # with a single image, a program may drop its batch axis


def export_program(
    model: nn.Module, inputs: Inputs, *, training: bool = False, any_batch: bool = False
) -> Any:
    """The network's program as ATen operations, by default in eval mode and for a batch of two.

    With `any_batch`, the batch size stays open wherever the network leaves it open. Raises
    ModelError if the network can't be traced, with the failing module and line of code, and if it
    creates layers in its first call.
    """
    example = example_inputs(model, inputs, BATCH)
    if not isinstance(inputs, Captured):
        example = several_images(model, example)
    sizes = tuple(map(_open_batch, example)) if any_batch else None

    # Trace a copy: code that stores activations on its module would leave traced tensors there.
    traced = set_mode_(duplicate(model), training)

    def export() -> Any:
        return torch.export.export(traced, example, dynamic_shapes=sizes, strict=False)

    # torch logs failures with their tracebacks, in addition to raising them.
    with quiet(), tracing(), noting_unregistered(traced) as called:
        try:
            program = export()
        except Exception as error:  # torch.export raises many kinds, all caused by the network
            check_registered(traced, called)
            _check_complete(model, traced)
            mode = " in training" if training else ""
            place = place_of(traced, export)
            found = f"can't be traced{mode} with {shapes(example)}, {place}: {_short(error)}"
            right = _remedy(model, error, training=training)
            raise UntraceableError(type(model).__name__, found, right) from error
    check_registered(traced, called)
    _check_complete(model, traced)
    return program


def _open_batch(value: Any) -> Any:
    """The open sizes of one argument for torch.export: the first axis of a tensor."""
    return {0: torch.export.Dim.AUTO} if isinstance(value, Tensor) and value.dim() else None


def _check_complete(model: nn.Module, traced: nn.Module) -> None:
    """Raise ModelError if the `traced` copy has layers that `model` does not have."""
    known = dict(model.named_modules())
    made = [name for name, _ in traced.named_modules() if name not in known]
    if made:
        found = f"creates layers in its first call ({', '.join(made[:4])})"
        raise ModelError(type(model).__name__, found, "call it once on an example input first")


def _remedy(model: nn.Module, error: Exception, *, training: bool) -> str:
    """What the user can do about a network that torch.export can't trace."""
    scripted = [name for name, module in model.named_modules() if isinstance(module, ScriptModule)]
    kind = re.search(
        r"Found <class '(?:.*\.)?(\w+)'> in (?:input|output), which is not a known type", str(error)
    )
    if scripted:
        right = f"give {scripted[0] or 'it'} as Python code: it is compiled by TorchScript"
    elif kind:
        register = f"call torch.export.register_dataclass({kind[1]}) first"
        right = f"{register}, or let forward return a tuple or a dictionary"
    else:
        values = "branches on tensor values can't be traced"
        right = f"give the right input size or example_inputs; {values}"
    return f"{right}; prune without --rewrite" if training else right


def place_of(model: nn.Module, failing: Callable[[], Any]) -> str:
    """The innermost module in which a `failing` call fails, and the last line of code outside
    PyTorch that it runs.
    """
    inside = [""]

    def leave() -> None:
        inside.pop()

    found = "in the top module"
    try:
        with following_calls(model, inside.append, leave):
            failing()
    except Exception as error:  # noqa: BLE001 - the same error again
        if inside[-1]:
            found = f"in {inside[-1]}"
        found += own_line(error)
    return found


@contextmanager
def following_calls(
    model: nn.Module, enter: Callable[[str], None], leave: Callable[[], None]
) -> Iterator[None]:
    """A block in which `enter` gets the path of every module whose call begins, and `leave` is
    called when a call ends.

    A call that fails does not end. Modules compiled by TorchScript are skipped: they take no hooks.
    """
    hooks = []
    for name, module in model.named_modules():
        if not isinstance(module, ScriptModule):
            hooks.append(module.register_forward_pre_hook(lambda *_, name=name: enter(name)))
            hooks.append(module.register_forward_hook(lambda *_: leave()))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _short(error: Exception) -> str:
    """The message of an error, shortened: torch.export may list pages of undecided conditions."""
    said = first_line(error)
    return said if len(said) <= MOST_SAID else f"{said[:MOST_SAID]} ..."


def own_line(error: Exception) -> str:
    """The last line of code outside PyTorch and slimmer that an error passed through, in
    parentheses; empty if there is none.
    """
    own = [frame for frame in extract_tb(error.__traceback__) if _is_own(frame.filename)]
    if not own:
        return ""
    line = linecache.getline(own[-1].filename, own[-1].lineno or 0).strip()
    return f" ({Path(own[-1].filename).name}:{own[-1].lineno}: {line})"


def _is_own(file: str) -> bool:
    """Whether a file belongs to the user or to a model library, not to PyTorch, Python or
    slimmer.
    """
    path, libraries = Path(file), {Path(torch.__file__).parent, Path(__file__).parents[1]}
    if "site-packages" not in path.parts:  # these are below Python's own folder
        libraries.add(Path(linecache.__file__).parent)
    return libraries.isdisjoint(path.parents) and path.is_file()


@contextmanager
def tracing() -> Iterator[None]:
    """A block in which traces follow Python's copies of an activation, and torch.export uses the
    modules' first paths.

    If modules share a module (an activation function), torch.export names it after the path by
    which it was reached. After code that refers to a module directly (a `forward` assigned to an
    instance, a hook), the beginning of that path is missing.
    """
    tracer: Any = getattr(proxy_tensor, "_ModuleStackTracer", None)
    named = tracer and tracer.path_of_module

    def path_of_module(self: Any, module: nn.Module) -> str:
        real = self.proxy_modules.get(module, module)
        if real in self.submodule_paths:
            return str(self.submodule_paths[real])
        return str(named(self, module))

    if tracer:
        tracer.path_of_module = path_of_module
    try:
        with copies(), detached(), checks():
            yield
    finally:
        if tracer:
            tracer.path_of_module = named


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """The model in eval mode; every module's mode is restored afterwards."""
    modes = {module: module.training for module in model.modules()}
    set_mode_(model, training=False)
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training


@contextmanager
def quiet() -> Iterator[None]:
    """A block in which nothing is printed, logged or warned about; errors are raised."""
    level, handlers = logging.root.manager.disable, list(logging.root.handlers)
    said = io.StringIO()
    with warnings.catch_warnings(), redirect_stdout(said), redirect_stderr(said):
        warnings.simplefilter("ignore")
        logging.disable(logging.CRITICAL)
        try:
            yield
        finally:
            logging.disable(level)
            logging.root.handlers[:] = handlers  # logging.warning() adds a handler if there is none
