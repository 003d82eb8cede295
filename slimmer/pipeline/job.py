"""The preparation of a run, checked before anything is written: network, data, channel groups,
costs and budgets.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from torch import nn

from slimmer.costs import Budget, Cost
from slimmer.costs.subject import unheard
from slimmer.data import Data
from slimmer.errors import BudgetError, ModelError, RecipeError
from slimmer.graph import ChannelGraph, check_is_network, find_attributes
from slimmer.latency.build import MeasuredLatency
from slimmer.latency.networks import limits_of
from slimmer.models.accept_model import check_model
from slimmer.pipeline.recount import check_costs, costs_of, subject_of
from slimmer.pipeline.remedies import check_spectral_norm, for_budget, for_no_channel
from slimmer.pipeline.sources import load_model, name_module
from slimmer.pipeline.task_of_run import find, fitting
from slimmer.pruning.allocate import Limits, check_reachable
from slimmer.pruning.apply import Cut, prune
from slimmer.pruning.branches import find_branches
from slimmer.pruning.layer_patterns import group_floors, keep_layers
from slimmer.pruning.rewrite import read_program
from slimmer.pruning.slim_file import Identity, check_again
from slimmer.pruning.traced_parts import Scope, graph_of, probe_scope, scope_of
from slimmer.recipe import Recipe
from slimmer.recipe.budget import BudgetSection
from slimmer.recipe.method_entries import find_method
from slimmer.recipe.sections import ModelSection
from slimmer.recipe.trained_methods import TrainedMethod
from slimmer.runs.events import Observe, stage
from slimmer.tasks import Task


@dataclass(frozen=True, eq=False)
class PruningJob:
    """A network with everything that is needed to prune it.

    `model` is the dense network that is masked, trained and cut: the one that was `given`, or its
    traced program if `--rewrite` turns computed weights into parameters.
    """

    given: nn.Module
    model: nn.Module
    identity: Identity
    task: Task | None
    graph: ChannelGraph
    costs: tuple[Cost, ...]
    budgets: tuple[Budget, ...]
    limits: Limits
    scope: Scope
    cut: Cut = prune


def prepare(
    recipe: Recipe,
    model: nn.Module | None = None,
    data: Data | None = None,
    identity: Identity | None = None,
    *,
    task: Any = None,
    trust_code: bool = False,
    observe: Observe = lambda _: None,
) -> PruningJob:
    """The job of a recipe; `model` (with its `identity`), `data` and `task` replace the recipe's
    model, data and task sections.

    `observe` receives notes on the checkpoint; `trust_code` allows an architecture that the
    checkpoint names as code. Raises SlimmerError for anything that can't be read, does not fit
    together or can't be reached.
    """
    _check_cut(recipe)
    observe(stage("loading the network and the data"))

    def note(text: str) -> None:
        observe({"event": "note", "text": text})

    own, first = find(recipe, data, task, note)
    if own is None and recipe.method.sensitivity_batches():
        right = "give --data or --task, or method.sensitivity=0"
        raise RecipeError("method.sensitivity", "needs data", right)
    if model is None:
        source = load_model(recipe.model, own, recipe.seed, trust_code=trust_code)
        model, identity = source.network, source.identity
        for text in source.notes:
            note(text)
    elif identity is None:
        identity = name_module(model, recipe.model, own)
    check_model(model)
    if own is not None and first is not None:
        own = fitting(own, first, recipe, model, identity)
    check_again(identity, rewrite=recipe.model.rewrite)
    given = model
    observe(stage("tracing the network and checking its channel groups"))
    budget = recipe.budget.model_copy(update={"depth": _removes_branches(recipe, own)})
    model, graph, costs, cut, scope = examine(given, identity, recipe.model, budget, observe)
    limits = _limits(graph, recipe.budget, costs)
    loosest = replace(limits, gone=graph.removable)
    budgets = _budgets(costs, recipe.budget)
    narrowing = _narrowing(recipe)
    whole = not (recipe.model.rewrite or recipe.model.trace or identity.plan)
    rewritten = partial(_rewritten, given, identity, recipe) if whole else None
    if not graph.groups:
        found = "no channel of the network can be pruned"
        if narrowing:
            found += f" with {', '.join(narrowing)}"
        where = identity.arch or type(model).__name__
        raise ModelError(where, found, for_no_channel(given, rewritten))
    try:
        check_reachable(budgets, graph, loosest, narrowing)
    except BudgetError as error:
        raise for_budget(error, given, budgets, rewritten) from None
    return PruningJob(given, model, identity, own, graph, costs, budgets, limits, scope, cut)


def _removes_branches(recipe: Recipe, task: Task | None) -> bool:
    """Whether whole residual branches may be removed. Raises RecipeError if that is asked for and
    can't be: the outputs without them must be measured.
    """
    asked, method = recipe.budget.depth, recipe.method
    entry = find_method(method.name, with_data=task is not None)
    masks = isinstance(entry, TrainedMethod) or method.share_under_masks() > 0
    can = task is not None and not masks and method.own_cut() is None
    if asked and not can:
        found = "removes branches by what that changes in the outputs, before training"
        right = "give --data or --task, and a method without masks; or leave it out"
        raise RecipeError("budget.depth", found, right)
    return can and recipe.budget.latency is not None if asked is None else asked


def _budgets(costs: Sequence[Cost], section: BudgetSection) -> tuple[Budget, ...]:
    """The budgets of a recipe, with absolute limits."""
    by_name = {cost.name: cost for cost in costs}
    found = []
    for name, amount in section.amounts().items():
        cost = by_name[name]
        found.append(Budget(cost, amount.of(cost.dense)))
    return tuple(found)


def _limits(graph: ChannelGraph, section: BudgetSection, costs: Sequence[Cost] = ()) -> Limits:
    """The limits on widths; a measured latency brings its own multiple."""
    for cost in costs:
        if isinstance(cost, MeasuredLatency):
            return limits_of(graph, section, cost.multiple)
    return Limits(
        section.round_to, floors=group_floors(graph, section.min_width, section.max_sparsity)
    )


def _rewritten(
    model: nn.Module, identity: Identity, recipe: Recipe
) -> tuple[ChannelGraph, tuple[Cost, ...], Limits]:
    """The channel groups, costs and limits under --rewrite."""
    section = recipe.model.model_copy(update={"rewrite": True})
    unmeasured = recipe.budget.model_copy(update={"latency": None})
    _, graph, costs, _, _ = examine(model, identity, section, unmeasured)
    return graph, costs, _limits(graph, recipe.budget)


def _narrowing(recipe: Recipe) -> list[str]:
    """The settings that limit pruning, as KEY=VALUE, unless they have their default values."""
    keys = {
        "model": ("keep", "only", "trace", "equal_splits"),
        "budget": ("min_width", "max_sparsity", "round_to"),
    }
    found = []
    for name, own in keys.items():
        section = getattr(recipe, name)
        for key in own:
            value = getattr(section, key)
            if value != type(section).model_fields[key].default:
                found.append(f"{name}.{key}={_plain(value)}")
    return found


def _plain(value: object) -> object:
    """A setting's value as it is written in a recipe."""
    return list(value) if isinstance(value, tuple) else value


def _check_cut(recipe: Recipe) -> None:
    """Raise BudgetError or RecipeError unless either the budget or the method, and not both,
    specifies how much is pruned.
    """
    own = recipe.method.own_cut()
    if own is None and not recipe.budget.amounts():
        right = (
            "give --flops, --params, --latency or several, as the share that may remain: "
            "--flops 0.5"
        )
        raise BudgetError("budget", "no budget given", right)
    if own is not None and recipe.budget != BudgetSection():
        found = f"method.{own} and a budget both specify how much is pruned"
        right = f"give one of them: a budget, or method.{own} as published"
        raise RecipeError("budget", found, right)


def examine(
    model: nn.Module,
    identity: Identity,
    section: ModelSection | None = None,
    budget: BudgetSection | None = None,
    observe: Observe = unheard,
) -> tuple[nn.Module, ChannelGraph, tuple[Cost, ...], Cut, Scope]:
    """The dense network that is pruned for `model`; its channel groups that `section` allows to be
    pruned, self-checked; its costs; the function that applies a plan to it; and its traced scope.

    The costs are those of every run, and those with a limit in `budget`; `observe` gets events
    while one of them is measured.

    FLOPs are those of the traced scope, parameters those of the whole network. Raises ModelError
    also if the FLOPs are not reliable: if two counters differ on the dense network, or if the
    closed forms differ from a recount on a pruned one.
    """
    check_is_network(model)
    section = ModelSection() if section is None else section
    if section.rewrite and section.trace:
        found = "rewrites the whole network as one program, but model.trace traces only parts of it"
        raise RecipeError("model.rewrite", found, "leave out one of the two")
    if section.rewrite:
        check_spectral_norm(model)
    scope = scope_of(model, identity.inputs(model), section.trace)
    cut: Cut = prune
    if section.rewrite:
        program = read_program(model, scope.inputs, equal_splits=section.equal_splits)
        graph, cut, model = program.channels, program.prune, program.dense(model)
    else:
        graph = graph_of(model, scope, equal_splits=section.equal_splits)
    graph = probe_scope(model, keep_layers(graph, section.keep, section.only), scope, cut)
    if not section.rewrite:  # a program has none of the user's modules
        graph = find_attributes(model, graph, scope.whole)
    if budget is not None and budget.depth:
        observe(stage("looking for residual branches that can be removed"))
        floors = group_floors(graph, budget.min_width, budget.max_sparsity)
        graph = find_branches(model, graph, floors, scope, cut)
    subject = subject_of(model, model, graph, scope, cut)
    if budget is not None:
        subject = replace(subject, budget=budget, observe=observe)
    costs = costs_of(subject, subject.budget.amounts())
    check_costs(subject, costs, scope, cut)
    return model, graph, costs, cut, scope
