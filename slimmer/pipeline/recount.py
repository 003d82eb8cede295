"""The costs of a slim network, counted again and compared with its plan."""

from collections.abc import Collection, Sequence

from torch import nn

from slimmer.costs import Cost, Subject
from slimmer.errors import ModelError, PluginError
from slimmer.graph import ChannelGraph
from slimmer.pruning.apply import Cut
from slimmer.pruning.plan import Plan, make_plan
from slimmer.pruning.traced_parts import Scope
from slimmer.recipe.costs import BUILT_IN, COSTS, cost_kinds
from slimmer.runs.schemas import TAKEN


def costs_of(subject: Subject, wanted: Collection[str] = ()) -> tuple[Cost, ...]:
    """The costs of a dense network: those of every run, and those that are `wanted` by name.

    Raises PluginError if a registered entry does not return a cost with its name.
    """
    found = []
    for kind in cost_kinds():
        if not kind.always and kind.name not in wanted:
            continue
        if kind.name in TAKEN and kind not in BUILT_IN:
            right = "the package that registers it must choose another name"
            found_key = "this name is already a key in the files of a run"
            raise PluginError(f"cost {kind.name}", found_key, right)
        cost = kind.built(subject)
        if not isinstance(cost, Cost) or cost.name != kind.name:
            returned = f"returned {type(cost).__name__} {getattr(cost, 'name', '')!r}"
            right = f"it must return a slimmer.costs.Cost with the name {kind.name!r}"
            raise PluginError(f"cost {kind.name}", returned, right)
        found.append(cost)
    return tuple(found)


def subject_of(
    model: nn.Module, dense: nn.Module, graph: ChannelGraph, scope: Scope, cut: Cut
) -> Subject:
    """The subject of costs for `model`, which is the `dense` network or one pruned from it."""

    def with_widths(widths: Sequence[int]) -> nn.Module:
        kept = zip(graph.groups, widths, strict=True)
        return cut(dense, make_plan(graph, {group.name: range(width) for group, width in kept}))

    return Subject(model, scope.of(model), scope.inputs, graph, with_widths)


def recount(slim: Subject, costs: Sequence[Cost], plan: Plan) -> dict[str, int]:
    """The counts of a `slim` network, by counter.

    Raises ModelError if they differ from what `costs` give for `plan`, or from each other.
    """
    found: dict[str, int] = {}
    wrong = []
    for cost in costs:
        counted = COSTS[cost.name].counted(slim)
        planned = cost.exact(plan.widths)
        number = next(iter(counted.values()), planned)
        if number != planned:
            wrong.append(f"{planned:,} {cost.name} were planned, {number:,} counted")
        found |= counted
    if wrong:
        right = "this is a bug in slimmer or in the package that adds the cost; please report it"
        raise ModelError(type(slim.model).__name__, " and ".join(wrong), right)
    return found


def check_costs(dense: Subject, costs: Sequence[Cost], scope: Scope, cut: Cut) -> None:
    """Raise ModelError unless `costs` are right for the network without every second unit.

    This shows that budgets are reliable before anything is trained for them.
    """
    graph = dense.graph
    if not graph.groups:
        return
    plan = make_plan(graph, {group.name: range(0, group.size, 2) for group in graph.groups})
    slim = subject_of(cut(dense.model, plan), dense.model, graph, scope, cut)
    recount(slim, costs, plan)
