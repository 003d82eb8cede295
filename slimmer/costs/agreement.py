"""Compare two counts of a network's multiply-adds, layer by layer: if they differ, a FLOPs budget
can't be relied on.
"""

from collections import Counter
from collections.abc import Mapping

from torch import nn

from slimmer.costs.fvcore_count import Place, count_by_module
from slimmer.costs.handlers import MULTIPLY_ADDS
from slimmer.costs.torch_count import multiply_adds
from slimmer.errors import ModelError
from slimmer.graph import Inputs


def agreed_counts(model: nn.Module, inputs: Inputs) -> dict[Place, int]:
    """Fvcore's FLOPs by (module, operation), confirmed by torch.utils.flop_counter for every layer.

    Raises ModelError with the first layer for which the two counts differ, and both counts.
    """
    counts = count_by_module(model, inputs)
    check_agreement(type(model).__name__, counts, multiply_adds(model, inputs))
    return counts


def check_agreement(network: str, counts: Mapping[Place, int], seen: Mapping[str, int]) -> None:
    """Raise ModelError with the first module for which fvcore's `counts` and PyTorch's (`seen`)
    differ.

    `counts` are by (module, operation) and include norms, which PyTorch does not count; `seen` are
    multiply-adds by module.
    """
    counted: Counter[str] = Counter()
    for (module, kind), count in counts.items():
        if kind in MULTIPLY_ADDS:
            counted[module] += count
    for module in {**counted, **seen}:
        mine, other = counted[module], seen.get(module, 0)
        if mine != other:
            found = f"fvcore counts {mine:,} multiply-adds and torch.utils.flop_counter {other:,}"
            right = "rewrite it with standard operations, whose FLOPs both can count"
            raise ModelError(module or f"the top module, {network}", found, right)
