"""What would let more channels go, tried on the network before it is said."""

from collections.abc import Callable, Sequence

from torch import nn
from torch.nn.utils import parametrize

from slimmer.costs import Budget, Cost
from slimmer.errors import BudgetError, ModelError, SlimmerError
from slimmer.graph import ChannelGraph
from slimmer.pruning.allocate import reachable
from slimmer.pruning.limits import Limits

Look = tuple[ChannelGraph, Sequence[Cost], Limits]
Rewritten = Callable[[], Look]
"""The channel groups, costs and limits under --rewrite; raises SlimmerError where the network can't
be rewritten.
"""

FEW = 4  # names that a message holds
REWRITE = "--rewrite (in Python rewrite=True)"
SPECTRAL = "under spectral normalisation, whose scale comes from all weights of a layer together"
OLD = "torch.nn.utils.remove_spectral_norm(model.{})"
NEW = 'torch.nn.utils.parametrize.remove_parametrizations(model.{}, "weight")'


def check_spectral_norm(model: nn.Module) -> None:
    """Nothing; raises ModelError for a network with layers under spectral normalisation: no program
    can hold them.
    """
    normed = _spectral_norms(model)
    if normed:
        listed = ", ".join(list(normed)[:FEW])
        raise ModelError(type(model).__name__, f"layers are {SPECTRAL}: {listed}", _bake(normed))


def for_no_channel(model: nn.Module, rewritten: Rewritten | None) -> str:
    """What to do about a network none of whose channels may go; `rewritten` is None where that is
    not to be tried.
    """
    normed = _spectral_norms(model)
    if normed:
        return f"{', '.join(list(normed)[:FEW])} are {SPECTRAL}; {_bake(normed)}"
    found = _try(rewritten)
    if found is not None and found[0].groups:
        return f"with {REWRITE} channels may go; `slimmer inspect` has the reasons"
    return "see `slimmer inspect` for the reasons"


def for_budget(
    error: BudgetError, model: nn.Module, budgets: Sequence[Budget], rewritten: Rewritten | None
) -> BudgetError:
    """The same error, saying what brings budgets nearer that can't be met."""
    normed = _spectral_norms(model)
    if normed:
        return _with(error, [f"{', '.join(list(normed)[:FEW])} are {SPECTRAL}; {_bake(normed)}"])
    found = _try(rewritten)
    if found is None:
        return error
    graph, costs, limits = found
    limit = {budget.cost.name: budget.limit for budget in budgets}
    ranges = {cost.name: reachable(cost, graph, limits) for cost in costs if cost.name in limit}
    if any(least > limit[name] for name, (least, _) in ranges.items()):
        return error
    return _with(
        error,
        [
            f"with {REWRITE} {name} from {least / most:.1%}"
            for name, (least, most) in ranges.items()
        ],
    )


def _with(error: BudgetError, further: Sequence[str]) -> BudgetError:
    return BudgetError(error.where, error.found, "\n  ".join([error.right, *further]))


def _try(rewritten: Rewritten | None) -> Look | None:
    try:
        return None if rewritten is None else rewritten()
    except SlimmerError:
        return None


def _spectral_norms(model: nn.Module) -> dict[str, str]:
    """The layers under spectral normalisation of either form, each with the code that bakes it in."""
    found = {}
    for name, module in model.named_modules():
        hooks = module._forward_pre_hooks.values()  # noqa: SLF001 - where the old form lives
        if any(type(hook).__name__ == "SpectralNorm" for hook in hooks):
            found[name] = OLD
        own = (
            module.parametrizations["weight"]
            if parametrize.is_parametrized(module, "weight")
            else ()
        )
        if any(type(each).__name__ == "_SpectralNorm" for each in own):
            found[name] = NEW
    return found


def _bake(normed: dict[str, str]) -> str:
    name, line = next(iter(normed.items()))
    return (
        f"bake it in first, in eval mode, which keeps the answers: {line.format(name)} and the same for the others; "
        "the slim network can be put under it again"
    )
