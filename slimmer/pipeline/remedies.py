"""Suggestions that would allow more channels to be pruned, tried on the network before they are
made.
"""

from collections.abc import Callable, Sequence

from torch import nn
from torch.nn.utils import parametrize

from slimmer.costs import Budget, Cost
from slimmer.errors import BudgetError, ModelError, SlimmerError, first_few
from slimmer.graph import ChannelGraph
from slimmer.pruning.allocate import reachable
from slimmer.pruning.limits import Limits

Look = tuple[ChannelGraph, Sequence[Cost], Limits]
Rewritten = Callable[[], Look]
"""The channel groups, costs and limits under --rewrite; raises SlimmerError if the network can't be
rewritten.
"""

FEW = 4  # names that a message holds
REWRITE = "--rewrite (in Python rewrite=True)"
SPECTRAL = "under spectral normalisation, whose scale depends on all weights of a layer"
OLD = "torch.nn.utils.remove_spectral_norm(model.{})"
NEW = 'torch.nn.utils.parametrize.remove_parametrizations(model.{}, "weight")'


def check_spectral_norm(model: nn.Module) -> None:
    """Raise ModelError for a network with layers under spectral normalisation, because no program
    can hold them.
    """
    normed = _spectral_norms(model)
    if normed:
        listed = first_few(list(normed), FEW)
        raise ModelError(type(model).__name__, f"layers are {SPECTRAL}: {listed}", _bake(normed))


def for_no_channel(model: nn.Module, rewritten: Rewritten | None) -> str:
    """What to do about a network without prunable channels; `rewritten` is None if rewriting must
    not be tried.
    """
    normed = _spectral_norms(model)
    if normed:
        return f"{first_few(list(normed), FEW)} are {SPECTRAL}; {_bake(normed)}"
    found = _try(rewritten)
    if found is not None and found[0].groups:
        return f"with {REWRITE} channels can be pruned; `slimmer inspect` shows the reasons"
    return "`slimmer inspect` shows the reasons"


def for_budget(
    error: BudgetError, model: nn.Module, budgets: Sequence[Budget], rewritten: Rewritten | None
) -> BudgetError:
    """The same error, with suggestions that would bring unreachable budgets closer."""
    normed = _spectral_norms(model)
    if normed:
        return _with(error, [f"{first_few(list(normed), FEW)} are {SPECTRAL}; {_bake(normed)}"])
    found = _try(rewritten)
    if found is None:
        return error
    graph, costs, limits = found
    limit = {budget.cost.name: budget.limit for budget in budgets}
    ranges = {cost.name: reachable(cost, graph, limits) for cost in costs if cost.name in limit}
    if any(least > limit[name] for name, (least, _) in ranges.items()):
        return error
    further = []
    for name, (least, most) in ranges.items():
        further.append(f"with {REWRITE}, {name} can be reduced to {least / most:.1%}")
    return _with(error, further)


def _with(error: BudgetError, further: Sequence[str]) -> BudgetError:
    return BudgetError(error.where, error.found, "\n  ".join([error.right, *further]))


def _try(rewritten: Rewritten | None) -> Look | None:
    """The result of `rewritten`; None if it is None or fails."""
    if rewritten is None:
        return None
    try:
        return rewritten()
    except SlimmerError:
        return None


def _spectral_norms(model: nn.Module) -> dict[str, str]:
    """The layers under spectral normalisation of either form, each with the code that removes
    it.
    """
    found = {}
    for name, module in model.named_modules():
        hooks = module._forward_pre_hooks.values()  # noqa: SLF001 - where the old form lives
        if "SpectralNorm" in {type(hook).__name__ for hook in hooks}:
            found[name] = OLD
        if parametrize.is_parametrized(module, "weight"):
            own = {type(each).__name__ for each in module.parametrizations["weight"]}
            if "_SpectralNorm" in own:
                found[name] = NEW
    return found


def _bake(normed: dict[str, str]) -> str:
    name, line = next(iter(normed.items()))
    return (
        "fold it into the weights first, in eval mode, which does not change the outputs: "
        f"{line.format(name)}, and the same for the others; "
        "it can be applied to the slim network again"
    )
