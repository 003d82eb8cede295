"""The preparation of a run, checked before anything is written: network, data, channel groups,
costs and budgets.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import partial

from torch import nn

from slimmer.costs import Budget, Cost
from slimmer.data import Data, guess, load
from slimmer.data import check as check_data
from slimmer.errors import BudgetError, DataError, ModelError, RecipeError
from slimmer.graph import ChannelGraph, check_is_network, find_attributes
from slimmer.models.accept_model import check_model, check_takes_data
from slimmer.pipeline.recount import check_costs, costs_of, subject_of
from slimmer.pipeline.remedies import check_spectral_norm, for_budget, for_no_channel
from slimmer.pipeline.sources import load_model, name_module
from slimmer.pruning.allocate import Limits, check_reachable
from slimmer.pruning.apply import Cut, prune
from slimmer.pruning.layer_patterns import group_floors, keep_layers
from slimmer.pruning.rewrite import read_program
from slimmer.pruning.slim_file import Identity, check_again
from slimmer.pruning.traced_parts import Scope, graph_of, probe_scope, scope_of
from slimmer.recipe import Recipe
from slimmer.recipe.budget import BudgetSection
from slimmer.recipe.data_section import DataSection
from slimmer.recipe.sections import ModelSection
from slimmer.runs.events import Observe, stage
from slimmer.tasks import Task, classification


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
    trust_code: bool = False,
    observe: Observe = lambda _: None,
) -> PruningJob:
    """The job of a recipe; `model` (with its `identity`) and `data` replace the recipe's model and
    data sections.

    `observe` receives notes on the checkpoint; `trust_code` allows an architecture that the
    checkpoint names as code. Raises SlimmerError for anything that can't be read, does not fit
    together or can't be reached.
    """
    _check_cut(recipe)
    observe(stage("loading the network and the data"))
    data = _checked_data(recipe, data, observe)
    if data is None and recipe.method.sensitivity_batches():
        raise RecipeError(
            "method.sensitivity", "needs data", "give --data, or method.sensitivity=0"
        )
    if model is None:
        source = load_model(recipe.model, data, recipe.seed, trust_code=trust_code)
        model, identity = source.network, source.identity
        for note in source.notes:
            observe({"event": "note", "text": note})
    elif identity is None:
        identity = name_module(model, recipe.model, data)
    check_model(model)
    if data is not None:
        check_fit(identity, data)
        check_takes_data(model, data.input_size, trained=recipe.finetune.epochs > 0)
    check_again(identity, rewrite=recipe.model.rewrite)
    given = model
    observe(stage("tracing the network and checking its channel groups"))
    model, graph, costs, cut, scope = examine(
        given, identity, recipe.model, recipe.budget.amounts()
    )
    limits = _limits(graph, recipe.budget)
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
        check_reachable(budgets, graph, limits, narrowing)
    except BudgetError as error:
        raise for_budget(error, given, budgets, rewritten) from None
    task = None if data is None else classification(data)
    return PruningJob(given, model, identity, task, graph, costs, budgets, limits, scope, cut)


def _checked_data(recipe: Recipe, given: Data | None, observe: Observe) -> Data | None:
    """The data of the recipe, or the given ones, checked; `observe` receives their notes."""
    if given is None:
        data = load_data(recipe.data)
    else:
        check_data(given)
        data = given
    if data is not None:
        for note in data.notes:
            observe({"event": "note", "text": note})
    return data


def _budgets(costs: Sequence[Cost], section: BudgetSection) -> tuple[Budget, ...]:
    """The budgets of a recipe, with absolute limits."""
    by_name = {cost.name: cost for cost in costs}
    found = []
    for name, amount in section.amounts().items():
        cost = by_name[name]
        found.append(Budget(cost, amount.of(cost.dense)))
    return tuple(found)


def _limits(graph: ChannelGraph, section: BudgetSection) -> Limits:
    return Limits(
        section.round_to, floors=group_floors(graph, section.min_width, section.max_sparsity)
    )


def _rewritten(
    model: nn.Module, identity: Identity, recipe: Recipe
) -> tuple[ChannelGraph, tuple[Cost, ...], Limits]:
    """The channel groups, costs and limits under --rewrite."""
    section = recipe.model.model_copy(update={"rewrite": True})
    _, graph, costs, _, _ = examine(model, identity, section, recipe.budget.amounts())
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
        right = "give --flops, --params or both, as the share that may remain: --flops 0.5"
        raise BudgetError("budget", "no budget given", right)
    if own is not None and recipe.budget != BudgetSection():
        found = f"method.{own} and a budget both specify how much is pruned"
        right = f"give one of them: a budget, or method.{own} as published"
        raise RecipeError("budget", found, right)


def examine(
    model: nn.Module,
    identity: Identity,
    section: ModelSection | None = None,
    wanted: Collection[str] = (),
) -> tuple[nn.Module, ChannelGraph, tuple[Cost, ...], Cut, Scope]:
    """The dense network that is pruned for `model`; its channel groups that `section` allows to be
    pruned, self-checked; its costs; the function that applies a plan to it; and its traced scope.

    `wanted` are the names of costs that are computed in addition to those of every run.

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
    subject = subject_of(model, model, graph, scope, cut)
    costs = costs_of(subject, wanted)
    check_costs(subject, costs, scope, cut)
    return model, graph, costs, cut, scope


def load_data(section: DataSection) -> Data | None:
    """The data that a recipe specifies, or None. Raises DataError."""
    if section.name is None and section.path is None:
        return None
    name = section.name
    if name is None and section.path is not None:
        name = guess(section.path)
    return load(name or "", **section.model_dump(exclude={"name", "trust"}))


def check_fit(identity: Identity, data: Data) -> None:
    """Raise DataError if the data's images have another size than the network's inputs, or if the
    data have another number of classes.
    """
    if identity.input_size != data.input_size:
        found = f"images are {data.input_size}, but the network takes {identity.input_size}"
        right = "give data.size, or images with the number of colour channels that it takes"
        raise DataError(data.name, found, right)
    if identity.arch and identity.num_classes != data.num_classes:
        found = f"{data.num_classes} classes, but the network has {identity.num_classes} outputs"
        raise DataError(data.name, found, "give the data that the network was trained on")
