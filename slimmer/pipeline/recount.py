"""What a slim network really costs, counted anew, against what its plan says."""

from collections.abc import Sequence

from torch import nn

from slimmer.costs import Cost
from slimmer.costs.agreement import check_agreement
from slimmer.costs.fvcore_count import count_by_module
from slimmer.costs.torch_count import multiply_adds
from slimmer.errors import ModelError
from slimmer.graph import ChannelGraph
from slimmer.pruning.apply import Cut
from slimmer.pruning.plan import Plan, make_plan
from slimmer.pruning.traced_parts import Scope


def recount(slim: nn.Module, scope: Scope, costs: Sequence[Cost], plan: Plan) -> dict[str, int]:
    """The FLOPs of a `slim` network by fvcore and by torch.utils.flop_counter, which counts two a multiply-add.

    Raises ModelError where these differ in a layer, or where they or the parameters are not what `costs` say of `plan`.
    """
    planned = {cost.name: cost.exact(plan.widths) for cost in costs}
    seen = scope.of(slim)
    counts, by_torch = count_by_module(seen, scope.inputs), multiply_adds(seen, scope.inputs)
    check_agreement(type(seen).__name__, counts, by_torch)
    found = {
        "flops": sum(counts.values()),
        "params": sum(parameter.numel() for parameter in slim.parameters()),
    }
    wrong = [name for name in found if planned.get(name, found[name]) != found[name]]
    if wrong:
        said = " and ".join(f"{planned[name]:,} {name} were planned, {found[name]:,} counted" for name in wrong)
        raise ModelError(type(slim).__name__, said, "this is a mistake of slimmer's; please report it")
    return {"fvcore": found["flops"], "torch": 2 * by_torch.total()}


def check_costs(model: nn.Module, graph: ChannelGraph, costs: Sequence[Cost], scope: Scope, cut: Cut) -> None:
    """Nothing; raises ModelError where `costs` are not what a network has that lost every second unit of its groups.

    So that a budget can be relied on before anything is trained for it.
    """
    if not graph.groups:
        return
    plan = make_plan(graph, {group.name: range(0, group.size, 2) for group in graph.groups})
    recount(cut(model, plan), scope, costs, plan)
