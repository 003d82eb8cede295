"""What a run starts from, checked before anything is written: network, data, channel groups, costs, budgets."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from pathlib import Path

import torch
from torch import nn

from slimmer.allocate import Limits, check_reachable
from slimmer.checkpoint import load_weights_, read_weights
from slimmer.costs import Budget, Cost, flops_cost, params_cost
from slimmer.data import Data, guess, load
from slimmer.errors import BudgetError, DataError, ModelError, RecipeError
from slimmer.graph import ChannelGraph, ChannelGroup, Fixed, build_graph
from slimmer.models import build, find
from slimmer.models.identify import identify, infer_sizes
from slimmer.probe import probe
from slimmer.prune import Cut, prune
from slimmer.published import shares_of_groups
from slimmer.recipe import Recipe
from slimmer.rewrite import Program, read_program
from slimmer.sections import BudgetSection, DataSection, ModelSection
from slimmer.slim import Identity


@dataclass(frozen=True, eq=False)
class Task:
    """A network and what is to become of it."""

    model: nn.Module
    identity: Identity
    data: Data | None
    graph: ChannelGraph
    costs: tuple[Cost, ...]
    budgets: tuple[Budget, ...]
    limits: Limits
    cut: Cut = prune


def prepare(
    recipe: Recipe, model: nn.Module | None = None, data: Data | None = None, identity: Identity | None = None
) -> Task:
    """The task of a recipe; `model` (and how to build it) and `data` stand in for its model and data sections.

    Raises SlimmerError for whatever can't be read, does not fit together or can't be met.
    """
    _check_cut(recipe)
    data = load_data(recipe.data) if data is None else data
    if data is None and getattr(recipe.method, "sensitivity", False):
        raise RecipeError("method.sensitivity", "needs data", "give --data, or method.sensitivity=false")
    if model is None:
        model, identity = load_model(recipe.model, data, recipe.seed)
    elif identity is None:
        identity = name_module(recipe.model, data)
    if data is not None:
        _check_fit(identity, data)
    program = read_program(model, identity.input_size) if recipe.model.rewrite else None
    graph, costs = examine(model, identity, recipe.model.keep, program)
    limits = Limits(recipe.budget.min_width, recipe.budget.round_to)
    by_name = {cost.name: cost for cost in costs}
    budgets = tuple(
        Budget(by_name[name], amount.of(by_name[name].dense)) for name, amount in recipe.budget.amounts().items()
    )
    check_reachable(budgets, graph, limits)
    shares_of_groups(graph, getattr(recipe.method, "ratios", None) or {})
    cut = prune if program is None else program.prune
    return Task(model, identity, data, graph, costs, budgets, limits, cut)


def _check_cut(recipe: Recipe) -> None:
    """Raise where neither the budget nor the method says how much is to go, or both do."""
    own = next((key for key in ("ratio", "ratios") if getattr(recipe.method, key, None) is not None), None)
    if own is None and not recipe.budget.amounts():
        raise BudgetError("budget", "none is named", "give --flops, --params or both, as what may remain: --flops 0.5")
    if own is not None and recipe.budget != BudgetSection():
        found = f"method.{own} says what goes, and the budget what may remain"
        raise RecipeError("budget", found, f"give one of them: a budget, or method.{own} as published")


def examine(
    model: nn.Module, identity: Identity, keep: Iterable[str] = (), program: Program | None = None
) -> tuple[ChannelGraph, tuple[Cost, ...]]:
    """The channel groups of a network, or of its `program`, self-checked, and its costs: FLOPs and parameters."""
    graph = build_graph(model, identity.input_size) if program is None else program.channels
    graph = probe(model, hold(graph, keep), identity.input_size, None if program is None else program.prune)
    return graph, (flops_cost(model, graph, identity.input_size), params_cost(model, graph))


def hold(graph: ChannelGraph, keep: Iterable[str]) -> ChannelGraph:
    """The graph without the groups that touch a layer which a pattern in `keep` names."""
    for pattern in keep:
        held = [layer for layer in graph.layers if fnmatch(layer.name, pattern)]
        if not held:
            raise ModelError(f"model.keep {pattern!r}", "no layer has such a name", "see `slimmer inspect`")
        axes = {layer.out_axis for layer in held}
        out = [group for group in graph.groups if any(part.axis in axes for part in group.slices)]
        rows = [row for group in out for row in _rows(graph, group, pattern)]
        groups = tuple(group for group in graph.groups if group not in out)
        graph = replace(graph, groups=groups, fixed=(*graph.fixed, *rows))
    return graph


def _rows(graph: ChannelGraph, group: ChannelGroup, pattern: str) -> list[Fixed]:
    """For each layer whose output the group is part of, that a pattern keeps it, or one that it goes with."""
    touched = {part.axis: sum(map(len, part.index)) for part in group.slices}
    sizes = dict(graph.sizes)
    layers = [layer for layer in graph.layers if layer.out_axis in touched]
    kept = next(layer.name for layer in layers if fnmatch(layer.name, pattern))
    return [
        Fixed(
            layer.name,
            touched[layer.out_axis],
            sizes[layer.out_axis],
            f"kept by {pattern!r}" if fnmatch(layer.name, pattern) else f"goes with {kept}, kept by {pattern!r}",
        )
        for layer in layers
    ]


def load_data(section: DataSection) -> Data | None:
    """The data that a recipe names, or None. Raises DataError."""
    if section.name is None and section.path is None:
        return None
    name = guess(section.path) if section.name is None and section.path is not None else section.name
    return load(
        name or "",
        path=section.path,
        size=section.size,
        mean=section.mean,
        std=section.std,
        classes=section.classes,
        augment=section.augment,
    )


def load_model(section: ModelSection, data: Data | None = None, seed: int = 0) -> tuple[nn.Module, Identity]:
    """The network that a recipe names, with its checkpoint's weights, and how to build it again.

    The architecture comes from the recipe or from the weights; the input size from the recipe, the data or the
    architecture, in this order. From scratch, weights are drawn from `seed`, for the data's classes and channels.
    """
    if section.scratch:
        return _from_scratch(section, data, seed)
    if section.checkpoint is None:
        right = "give a file of weights, or model.arch with model.scratch=true"
        raise ModelError("model.checkpoint", "no checkpoint is named", right)
    path = Path(section.checkpoint)
    weights = read_weights(path)
    if section.arch is None:
        found = identify(weights, path.name)
    else:
        found = infer_sizes(find(_absolute(section.arch)), weights)
    model = build(found.arch, num_classes=found.num_classes, in_channels=found.in_channels)
    load_weights_(model, weights, str(path))
    default = (found.in_channels, *found.arch.input_size[1:]) if data is None else data.input_size
    return model.eval(), Identity(found.arch.name, found.num_classes, section.input_size or default)


def _from_scratch(section: ModelSection, data: Data | None, seed: int) -> tuple[nn.Module, Identity]:
    """A network of random weights. Raises ModelError without an architecture or data to train it on."""
    if section.arch is None or data is None:
        missing = "model.arch" if section.arch is None else "data"
        raise ModelError("model.scratch", f"needs {missing}", "name the architecture and the data to train it on")
    arch = find(_absolute(section.arch))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = build(arch, num_classes=data.num_classes, in_channels=data.input_size[0])
    return model.eval(), Identity(arch.name, data.num_classes, section.input_size or data.input_size)


def name_module(section: ModelSection, data: Data | None) -> Identity:
    """How a module from Python can be built again: by `model.arch` where one is given, else only from itself."""
    size = section.input_size or (None if data is None else data.input_size)
    if size is None:
        raise ModelError("model.input_size", "is not known", "give input_size=(channels, height, width), or data")
    return Identity(section.arch or "", data.num_classes if data is not None else 0, size)


def _absolute(arch: str) -> str:
    """`path/to/file.py:factory` with the path made absolute, so that a run can be loaded from elsewhere."""
    path, colon, factory = arch.rpartition(":")
    return f"{Path(path).resolve()}{colon}{factory}" if path.endswith(".py") else arch


def _check_fit(identity: Identity, data: Data) -> None:
    if identity.input_size != data.input_size:
        raise DataError(
            data.name,
            f"images of {data.input_size}, a network for {identity.input_size}",
            "give data.size, or the grey or colour images that the network takes",
        )
    if identity.arch and identity.num_classes != data.num_classes:
        raise DataError(
            data.name,
            f"{data.num_classes} classes, a network with {identity.num_classes} outputs",
            "give the data that the network was trained on",
        )
