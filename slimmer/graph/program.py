"""A network traced into its program; where that fails, what stands in the way."""

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

MOST_SAID = 300  # characters of torch.export's reason
BATCH = 2  # one image alone would let a program drop or squeeze its batch axis


def export_program(
    model: nn.Module, inputs: Inputs, *, training: bool = False, any_batch: bool = False
) -> Any:
    """The network's program as ATen operations, by default in eval mode and for a batch of two.

    With `any_batch` the number of images stays open wherever the network leaves it open. Raises
    ModelError where it can't be traced, with the module and the line of its code that fails, and
    for a network that makes new layers in its first call.
    """
    example = example_inputs(model, inputs, BATCH)
    if not isinstance(inputs, Captured):
        example = several_images(model, example)
    some = {0: torch.export.Dim.AUTO}
    sizes = tuple(some if isinstance(value, Tensor) and value.dim() else None for value in example)

    # A copy: what code notes on its module (`self.features = x`) is a tensor of the trace's own.
    traced = set_mode_(duplicate(model), training)

    def export() -> Any:
        return torch.export.export(
            traced, example, dynamic_shapes=sizes if any_batch else None, strict=False
        )

    with (
        quiet(),
        tracing(),
        noting_unregistered(traced) as called,
    ):  # torch logs what fails, tracebacks and all, beside raising it
        try:
            program = export()
        except Exception as error:  # torch.export raises many kinds, all of them about the network
            check_registered(traced, called)
            _check_complete(model, traced)
            mode = " in training" * training
            found = f"can't be traced{mode} with {shapes(example)}, {place_of(traced, export)}: {_short(error)}"
            raise UntraceableError(
                type(model).__name__, found, _remedy(model, error, training=training)
            ) from error
    check_registered(traced, called)
    _check_complete(model, traced)
    return program


def _check_complete(model: nn.Module, traced: nn.Module) -> None:
    """Nothing; raises ModelError where the copy that was `traced` has made layers that `model` has
    not.
    """
    known = dict(model.named_modules())
    made = [name for name, _ in traced.named_modules() if name not in known]
    if made:
        found = f"makes layers in its first call ({', '.join(made[:4])})"
        raise ModelError(
            type(model).__name__,
            found,
            "call it once on an example of its input before you give it",
        )


def _remedy(model: nn.Module, error: Exception, *, training: bool) -> str:
    """What to do about a network that torch.export does not trace."""
    scripted = [name for name, module in model.named_modules() if isinstance(module, ScriptModule)]
    kind = re.search(
        r"Found <class '(?:.*\.)?(\w+)'> in (?:input|output), which is not a known type", str(error)
    )
    right = "give the input size or the example_inputs that it takes; branches on values can't be traced"
    if scripted:
        right = f"give {scripted[0] or 'it'} as Python code: it is compiled by TorchScript"
    elif kind:
        right = f"call torch.export.register_dataclass({kind[1]}) first, or let forward return a tuple or a dictionary"
    return right + "; prune without --rewrite" * training


def place_of(model: nn.Module, failing: Callable[[], Any]) -> str:
    """The innermost module that a `failing` call is in, and the last line of code outside PyTorch
    that it runs.
    """
    inside = [""]

    def leave() -> None:
        inside.pop()

    found = "in the top module"
    try:
        with following_calls(model, inside.append, leave):
            failing()
    except Exception as error:  # noqa: BLE001 - the same again
        if inside[-1]:
            found = f"in {inside[-1]}"
        found += own_line(error)
    return found


@contextmanager
def following_calls(
    model: nn.Module, enter: Callable[[str], None], leave: Callable[[], None]
) -> Iterator[None]:
    """A block in which `enter` is told the path of every module whose call begins, and `leave` is
    called at its end.

    A call that fails has no end. Modules that TorchScript compiled are passed over: they take no
    hooks.
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
    """What an error says, without the pages of terms that torch.export may fill with what it can't
    decide.
    """
    said = first_line(error)
    return said if len(said) <= MOST_SAID else f"{said[:MOST_SAID]} ..."


def own_line(error: Exception) -> str:
    """The last line of code outside PyTorch and slimmer that an error came through, in brackets;
    empty for none.
    """
    own = [frame for frame in extract_tb(error.__traceback__) if _is_own(frame.filename)]
    if not own:
        return ""
    line = linecache.getline(own[-1].filename, own[-1].lineno or 0).strip()
    return f" ({Path(own[-1].filename).name}:{own[-1].lineno}: {line})"


def _is_own(file: str) -> bool:
    """Whether a file is the user's or a model library's, and neither PyTorch's, Python's nor
    slimmer's.
    """
    path, libraries = Path(file), {Path(torch.__file__).parent, Path(__file__).parents[1]}
    if "site-packages" not in path.parts:  # which lies below Python's own folder
        libraries.add(Path(linecache.__file__).parent)
    return libraries.isdisjoint(path.parents) and path.is_file()


@contextmanager
def tracing() -> Iterator[None]:
    """A block in which traces follow Python's copies of an activation, and torch.export names
    modules as they hang.

    Where modules share one (an activation), torch.export names a module by the way in which it was
    reached, and loses the beginning of that way behind code that holds a module itself: a `forward`
    assigned to it, a hook. Here the name is the module's first path.
    """
    tracer: Any = getattr(proxy_tensor, "_ModuleStackTracer", None)
    named = tracer and tracer.path_of_module

    def path_of_module(self: Any, module: nn.Module) -> str:
        real = self.proxy_modules.get(module, module)
        return (
            str(self.submodule_paths[real])
            if real in self.submodule_paths
            else str(named(self, module))
        )

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
    """The model in eval mode; every module's own mode is put back afterwards."""
    modes = {module: module.training for module in model.modules()}
    set_mode_(model, training=False)
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training


@contextmanager
def quiet() -> Iterator[None]:
    """A block in which nothing is printed, warned of or logged; what fails is raised."""
    level, handlers = logging.root.manager.disable, list(logging.root.handlers)
    said = io.StringIO()
    with warnings.catch_warnings(), redirect_stdout(said), redirect_stderr(said):
        warnings.simplefilter("ignore")
        logging.disable(logging.CRITICAL)
        try:
            yield
        finally:
            logging.disable(level)
            logging.root.handlers[:] = handlers  # logging.warning() sets one up where there is none
