"""What each kind of operation does to labels: ATen name -> handler. A new operation is one small
function.
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
HANDLERS: dict[str, Handler] = {
    name: handler for kind in KINDS for name, handler in kind.HANDLERS.items()
}
READS_WEIGHTS = frozenset(
    {*convolution.HANDLERS, *linear.HANDLERS, *product.HANDLERS, *computed.HANDLERS}
)
