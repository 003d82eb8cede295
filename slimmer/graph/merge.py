"""One program for both modes, merged from a network's evaluation and training programs."""

from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from itertools import filterfalse
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import Graph, Node
from torch.fx.node import map_aggregate
from torch.utils._pytree import tree_unflatten

from slimmer.graph.compare_modes import COUNTER, Comparison
from slimmer.graph.names import read_names
from slimmer.graph.nodes import calls, describe, is_open, is_size, leaves, stored_names


def merge(
    model: nn.Module, evaluated: Any, trained: Any, types: tuple[torch.dtype, torch.dtype]
) -> Graph:
    """A graph that computes what `model` computes, in eval mode and in training.

    Both programs must do the same operations in the same order. They may differ in: arguments that
    are false in eval mode and true in training, which become the `training` flag of their module;
    batch norms, which become modules; and modules without parameters that do nothing in eval mode
    (stochastic depth), which are called as they are. Each program was traced in its own
    floating-point type (`types`), so that types that follow the network can be told from types that
    the code names. The `meta["name"]` of a node is its name in `evaluated`. Parameters and buffers
    have their names in `model`.

    Raises ModelError if one program does something that the other does not, or if the batch size is
    fixed.
    """
    names = read_names(model)
    stored = stored_names(evaluated, names.tensors)
    merged = _Merge(model, names.modules, stored, dict(model.named_modules()), types)
    for name, value in evaluated.constants.items():
        other = trained.constants.get(name)
        if isinstance(value, Tensor) and (other is None or not torch.equal(value, other.to(value))):
            raise merged.refuse("has constants that differ between training and eval mode")
    merged.enter(evaluated.graph.nodes, trained.graph.nodes)
    merged.walk(calls(evaluated.graph.nodes), calls(trained.graph.nodes))
    merged.leave(evaluated, trained)
    return merged.graph


class _Merge(Comparison):
    """The merged graph while it is built."""

    def enter(self, evaluated: Any, trained: Any) -> None:
        """Add inputs, parameters, buffers and constants."""
        known = {e.name: e for e in evaluated if e.op == "placeholder"}
        for t in trained:
            if t.op == "get_attr":
                kinds = "a branch on data, a block under no_grad or autocast"
                raise self.refuse(f"contains a subprogram ({kinds}): {describe(t)}")
            if t.op != "placeholder":
                continue
            self.stands[t] = t.name
            value = t.meta.get("val")
            if t.name in self.stored:
                self.made[t] = self.graph.create_node("get_attr", self.stored[t.name])
            elif t.name in known:
                if value.dim() and not all(map(is_open, (value, known[t.name].meta["val"]))):
                    raise self.refuse("its program fixes the batch size")
                self.made[t] = self.graph.placeholder(t.name)

    def walk(self, evaluated: Sequence[Node], trained: Sequence[Node]) -> None:
        """Merge the operations, pair by pair."""
        ahead = list(filterfalse(is_size, evaluated))
        still = set(map(self.path, ahead))
        done: set[Node] = set()
        at = 0
        for number, t in enumerate(trained):
            if t in done:
                continue
            if self.is_counter(t):
                self.stands[t] = COUNTER
                continue
            if is_size(t):
                self.copy(t, ("size", self.stand(t.args[0]), t.args[1]), {})
                continue
            differ = self.differ(ahead[at], t) if at < len(ahead) else None
            if differ is not None:
                self.pair(ahead[at], t, differ)
                at += 1
                continue
            done |= self.insert(t, trained[number:], still)
        if at < len(ahead):
            raise self.refuse(f"training skips {describe(ahead[at])}")

    def leave(self, evaluated: Any, trained: Any) -> None:
        """Add the outputs, in the structure in which the network returns them."""
        ours = evaluated.graph.output_node().args[0]
        theirs = trained.graph.output_node().args[0]
        spec = evaluated.call_spec.out_spec
        same = len(ours) == len(theirs) and spec == trained.call_spec.out_spec
        if not same or [*map(self.key, ours)] != [*map(self.stand, theirs)]:
            raise self.refuse("returns different outputs in training and in eval mode")
        values = []
        for t in theirs:
            values.append(self.made[t] if isinstance(t, Node) else t)
        self.graph.output(self.written(tree_unflatten(values, spec)))

    def written(self, answer: Any) -> Any:
        """The same answer; an object of a dataclass (such as transformers' ModelOutput) becomes a
        call of its class.
        """
        if is_dataclass(answer) and not isinstance(answer, type):
            held = {}
            for each in fields(answer):
                if each.init:
                    held[each.name] = self.written(getattr(answer, each.name))
            return self.graph.call_function(type(answer), kwargs=held)
        if type(answer) in (list, tuple):
            return type(answer)(map(self.written, answer))
        if isinstance(answer, dict):
            return {name: self.written(value) for name, value in answer.items()}
        return answer

    def pair(self, e: Node, t: Node, differ: Mapping[int, str]) -> None:
        """Add an operation that both programs have."""
        if self.is_norm(t, training=True):
            self.stands[t] = e.name
            self.made[t] = self.graph.call_module(self.path(t), (self.made[t.all_input_nodes[0]],))
            self.made[t].meta["axes"] = t.meta["val"].dim()
        else:
            self.copy(t, e.name, differ)
            self.made[t].meta["name"] = e.name

    def copy(self, t: Node, stands: Any, differ: Mapping[int, str]) -> None:
        """Add `t`; arguments in `differ` read the network's mode, type or device at run time
        instead of those of the trace.
        """
        asked = {kind: self.ask(kind, t) for kind in dict.fromkeys(differ.values())}
        place = iter(range(len(leaves((t.args, t.kwargs)))))

        def translate(value: Any) -> Any:
            kind = differ.get(next(place))
            if kind:
                return asked[kind]
            if not isinstance(value, Node):
                return value
            if value not in self.made:
                found = f"in training {describe(t)} reads a value that does not exist in eval mode"
                raise self.refuse(f"{found}: {describe(value)}")
            return self.made[value]

        args, kwargs = map_aggregate((t.args, t.kwargs), translate)
        self.made[t] = self.graph.create_node("call_function", t.target, args, kwargs)
        self.stands[t] = stands

    def ask(self, kind: str, t: Node) -> Node:
        """A node that reads the mode of the module that made `t`, or the type or device of the
        network's first parameter.
        """
        if kind == "training":
            return self.graph.create_node("get_attr", f"{self.path(t)}.training".removeprefix("."))
        first, _ = next(iter(self.model.named_parameters()))
        tensor = self.graph.create_node("get_attr", first)
        return self.graph.call_function(getattr, (tensor, kind))

    def insert(self, t: Node, following: Sequence[Node], still: set[str]) -> set[Node]:
        """Add a call of the module that made `t`, which does nothing in eval mode. Returns all
        nodes that the module made.
        """
        path = self.path(t)
        run = self._run_of(path, following)
        entering: set[Node] = set()
        for other in run:
            entering.update(filterfalse(is_size, other.all_input_nodes))
        entering -= run
        leaving = [other for other in run if not run.issuperset(other.users)]
        one_in_one_out = len(entering) == len(leaving) == 1 and entering.issubset(self.made)
        if not self._is_silent(path, still) or not one_in_one_out:
            lost = self._lost(following, still) or describe(t)
            found = "in training it does more than in eval mode, which would be lost"
            raise self.refuse(f"{found}: {lost}")
        [x], [out] = entering, leaving
        self.made[out] = self.graph.call_module(path, (self.made[x],))
        self.stands[out] = self.stands[x]
        return run

    def _run_of(self, path: str, following: Sequence[Node]) -> set[Node]:
        """The next nodes that the module `path` made, itself or by a module inside it."""
        run = set()
        for other in following:
            if is_size(other):
                continue
            own = self.path(other)
            if own != path and not own.startswith(f"{path}."):
                break
            run.add(other)
        return run

    def _is_silent(self, path: str, still: set[str]) -> bool:
        """Whether the module `path` does nothing in eval mode and has no parameters or buffers."""
        if not path or path in still:
            return False
        module = self.modules[path]
        return not list(module.parameters()) and not list(module.buffers())

    def _lost(self, following: Sequence[Node], still: set[str]) -> str:
        """The modules that only training runs, four at most, by name."""
        lost = []
        for path in dict.fromkeys(map(self.path, following)):
            if path and path not in still:
                lost.append(path)
        inside = tuple(f"{name}." for name in lost)
        outermost = [name for name in lost if not name.startswith(inside)]
        return ", ".join(outermost[:4])
