"""One program for both modes: a network's evaluated and trained programs, laid side by side and
found to be one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import Graph, Node
from torch.fx.node import map_aggregate
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils._pytree import tree_unflatten

from slimmer.errors import ModelError
from slimmer.graph.names import read_names
from slimmer.graph.nodes import calls, is_open, is_size, leaves, stored_names
from slimmer.graph.walk import argument, describe, module_of

WITHOUT = "prune without --rewrite, or give the network without this"
COUNTER = "num_batches_tracked"
NORM_TENSORS = ("weight", "bias", "running_mean", "running_var")


def merge(
    model: nn.Module, evaluated: Any, trained: Any, types: tuple[torch.dtype, torch.dtype]
) -> Graph:
    """A graph that computes what `model` does, in eval mode as in training.

    Both programs must do the same in the same order. What may differ: arguments that are false in
    the one and true in the other, which become the `training` of the module that they stand in;
    batch norms, which become modules; and modules without parameters that do nothing in eval mode
    (stochastic depth), which are called as they are. Each was traced in a type of its own
    (`types`), so that what follows the network's type is told from what the code names. Every
    node's `meta["name"]` is its name in `evaluated`. Parameters and buffers go by their names in
    `model`.

    Raises ModelError where one program does something that the other does not, or holds the number
    of images.
    """
    names = read_names(model)
    merged = _Merge(
        model,
        names.modules,
        stored_names(evaluated, names.tensors),
        dict(model.named_modules()),
        types,
    )
    for name, value in evaluated.constants.items():
        other = trained.constants.get(name)
        if isinstance(value, Tensor) and (other is None or not torch.equal(value, other.to(value))):
            raise merged.refuse(
                "holds other numbers in training than in eval mode, which would be lost"
            )
    merged.enter(evaluated.graph.nodes, trained.graph.nodes)
    merged.walk(calls(evaluated.graph.nodes), calls(trained.graph.nodes))
    merged.leave(evaluated, trained)
    return merged.graph


@dataclass
class _Merge:
    """The merged graph while it grows; nodes are named `e` in the evaluated program and `t` in the
    trained one.

    `made` holds the merged node of each t, `stands` what each t is in the evaluated program.
    """

    model: nn.Module
    aliases: dict[str, str]
    stored: dict[str, str]
    modules: dict[str, nn.Module]
    types: tuple[torch.dtype, torch.dtype]
    graph: Graph = field(default_factory=Graph)
    made: dict[Node, Node] = field(default_factory=dict)
    stands: dict[Node, Any] = field(default_factory=dict)

    def refuse(self, found: str) -> ModelError:
        return ModelError(type(self.model).__name__, found, WITHOUT)

    def enter(self, evaluated: Any, trained: Any) -> None:
        """Inputs, parameters, buffers and constants."""
        known = {e.name: e for e in evaluated if e.op == "placeholder"}
        for t in trained:
            if t.op == "get_attr":
                kinds = "a branch on data, a block without gradients or under autocast"
                raise self.refuse(f"holds a program of its own ({kinds}): {describe(t)}")
            if t.op != "placeholder":
                continue
            self.stands[t] = t.name
            value = t.meta.get("val")
            if t.name in self.stored:
                self.made[t] = self.graph.create_node("get_attr", self.stored[t.name])
            elif t.name in known:
                if value.dim() and not all(map(is_open, (value, known[t.name].meta["val"]))):
                    raise self.refuse(
                        "its program holds the number of images, so that it would take no other"
                    )
                self.made[t] = self.graph.placeholder(t.name)

    def walk(self, evaluated: Sequence[Node], trained: Sequence[Node]) -> None:
        """Operations, two by two."""
        ahead = [e for e in evaluated if not is_size(e)]
        still = {self.path(e) for e in ahead}
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
            raise self.refuse(f"in training it leaves out {describe(ahead[at])}")

    def leave(self, evaluated: Any, trained: Any) -> None:
        """The outputs, in the structure in which the network returns them."""
        ours, theirs = (
            next(iter(reversed(program.graph.nodes))).args[0] for program in (evaluated, trained)
        )
        same = (
            len(ours) == len(theirs) and evaluated.call_spec.out_spec == trained.call_spec.out_spec
        )
        if not same or any(self.key(e) != self.stand(t) for e, t in zip(ours, theirs, strict=True)):
            raise self.refuse(
                "in training it returns something else than in eval mode, which would be lost"
            )
        values = [self.made[t] if isinstance(t, Node) else t for t in theirs]
        answer = tree_unflatten(values, evaluated.call_spec.out_spec)
        self.graph.output(self.written(answer))

    def written(self, answer: Any) -> Any:
        """The same answer; an object of a dataclass (transformers' ModelOutput) is made by a call
        of its class.
        """
        if is_dataclass(answer) and not isinstance(answer, type):
            held = {
                each.name: self.written(getattr(answer, each.name))
                for each in fields(answer)
                if each.init
            }
            return self.graph.call_function(type(answer), kwargs=held)
        if type(answer) in (list, tuple):
            return type(answer)(map(self.written, answer))
        return (
            {name: self.written(value) for name, value in answer.items()}
            if isinstance(answer, dict)
            else answer
        )

    def path(self, node: Node) -> str:
        """The path of the module that made `node`; of none for sizes of an open batch."""
        path = self.aliases.get(module_of(node), module_of(node))
        return path if path in self.modules else ""

    def key(self, e: Any) -> Any:
        """What `e` is called by, the same for every look at the same size."""
        if not isinstance(e, Node) or not is_size(e):
            return e.name if isinstance(e, Node) else e
        return ("size", self.key(e.args[0]), e.args[1])

    def stand(self, t: Any) -> Any:
        return self.stands.get(t) if isinstance(t, Node) else t

    def is_counter(self, t: Node) -> bool:
        """Whether `t` only counts a batch norm's batches: the module does that itself."""
        entering = [
            str(self.stored.get(other.name) or self.stands.get(other))
            for other in t.all_input_nodes
        ]
        counts = all(name.endswith(COUNTER) for name in entering)
        return counts and isinstance(self.modules[self.path(t)], _BatchNorm)

    def is_norm(self, node: Node, *, training: bool) -> bool:
        """Whether `node` is all that a batch norm module does with its own tensors in that mode."""
        path = self.path(node)
        if "batch_norm" not in str(node.target) or not isinstance(self.modules[path], _BatchNorm):
            return False
        tensors = [self.stored.get(getattr(other, "name", ""), "") for other in node.args[1:5]]
        own = [
            name in ("", f"{path}.{tensor}".removeprefix("."))
            for name, tensor in zip(tensors, NORM_TENSORS, strict=True)
        ]
        return (
            all(own)
            and bool(tensors[2])
            and argument(node, node.args, node.kwargs, "training") is training
        )

    def differ(self, e: Node, t: Node) -> dict[int, str] | None:
        """The arguments (counted through) that follow the mode or the type; None where others
        differ too.
        """
        if e.target is not t.target:
            return None
        if self.is_norm(e, training=False) and self.is_norm(t, training=True):
            return (
                {}
                if self.key(e.args[0]) == self.stand(t.args[0]) and self.path(e) == self.path(t)
                else None
            )
        ours, theirs = leaves((e.args, e.kwargs)), leaves((t.args, t.kwargs))
        if len(ours) != len(theirs):
            return None
        found = {}
        for place, (a, b) in enumerate(zip(ours, theirs, strict=True)):
            if a is False and b is True:
                found[place] = "training"
            elif (a, b) == self.types:
                found[place] = "dtype"
            elif isinstance(a, torch.device):
                found[place] = "device"
            elif isinstance(a, Node) != isinstance(b, Node) or self.key(a) != self.stand(b):
                return None
        return found

    def pair(self, e: Node, t: Node, differ: Mapping[int, str]) -> None:
        """Take over an operation that both programs have."""
        if self.is_norm(t, training=True):
            self.stands[t] = e.name
            self.made[t] = self.graph.call_module(self.path(t), (self.made[t.all_input_nodes[0]],))
            self.made[t].meta["axes"] = t.meta["val"].dim()
        else:
            self.copy(t, e.name, differ)
            self.made[t].meta["name"] = e.name

    def copy(self, t: Node, stands: Any, differ: Mapping[int, str]) -> None:
        """Take over `t`, asking where the network runs for its mode, type and place in place of
        those of the trace.
        """
        asked = {kind: self.ask(kind, t) for kind in dict.fromkeys(differ.values())}
        place = iter(range(len(leaves((t.args, t.kwargs)))))

        def translate(value: Any) -> Any:
            kind = differ.get(next(place))
            if kind:
                return asked[kind]
            if isinstance(value, Node) and value not in self.made:
                raise self.refuse(
                    f"in training {describe(t)} reads what is not there in eval mode: {describe(value)}"
                )
            return self.made[value] if isinstance(value, Node) else value

        args, kwargs = map_aggregate((t.args, t.kwargs), translate)
        self.made[t] = self.graph.create_node("call_function", t.target, args, kwargs)
        self.stands[t] = stands

    def ask(self, kind: str, t: Node) -> Node:
        """The mode of the module that made `t`; the type or the place of the network's parameters."""
        if kind == "training":
            return self.graph.create_node("get_attr", f"{self.path(t)}.training".removeprefix("."))
        tensor = self.graph.create_node(
            "get_attr", next(name for name, _ in self.model.named_parameters())
        )
        return self.graph.call_function(getattr, (tensor, kind))

    def insert(self, t: Node, following: Sequence[Node], still: set[str]) -> set[Node]:
        """Call the module that made `t`, which does nothing in eval mode; returns all nodes that it
        made.
        """
        path = self.path(t)
        module = self.modules[path]
        run = set()
        for other in following:
            if not (
                self.path(other) == path
                or self.path(other).startswith(f"{path}.")
                or is_size(other)
            ):
                break
            run.add(other)
        run = {other for other in run if not is_size(other)}
        entering = {
            value
            for other in run
            for value in other.all_input_nodes
            if value not in run and not is_size(value)
        }
        leaving = [other for other in run if any(user not in run for user in other.users)]
        silent = (
            path
            and path not in still
            and not list(module.parameters())
            and not list(module.buffers())
        )
        if (
            not silent
            or len(entering) != 1
            or len(leaving) != 1
            or not entering.issubset(self.made)
        ):
            lost = list(
                dict.fromkeys(
                    name for name in map(self.path, following) if name not in still and name
                )
            )
            whole = [
                name for name in lost if not any(name.startswith(f"{other}.") for other in lost)
            ]
            what = ", ".join(whole[:4]) or describe(t)
            raise self.refuse(
                f"in training it does more than in eval mode, which would be lost: {what}"
            )
        [x], [out] = entering, leaving
        self.made[out] = self.graph.call_module(path, (self.made[x],))
        self.stands[out] = self.stands[x]
        return run
