"""The handlers of operations, by ATen name: what each operation does to channel labels. A new
operation is one small function.
"""

from slimmer.graph.ops import (
    computed,
    convolution,
    elementwise,
    linear,
    movement,
    normalization,
    padding,
    pooling,
    product,
    resampling,
    splitting,
)
from slimmer.graph.walk import Handler

KINDS = (
    computed,
    convolution,
    elementwise,
    linear,
    movement,
    normalization,
    padding,
    pooling,
    product,
    resampling,
    splitting,
)
HANDLERS: dict[str, Handler] = {}
for kind in KINDS:
    HANDLERS.update(kind.HANDLERS)
READS_WEIGHTS = frozenset(
    {*convolution.HANDLERS, *linear.HANDLERS, *product.HANDLERS, *computed.HANDLERS}
)
