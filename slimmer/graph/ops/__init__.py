"""What each kind of operation does to labels: ATen name -> handler. A new operation is one small function."""

from slimmer.graph.ops import convolution, elementwise, linear, movement, normalization, padding, pooling
from slimmer.graph.walk import Handler

KINDS = (convolution, elementwise, linear, movement, normalization, padding, pooling)
HANDLERS: dict[str, Handler] = {name: handler for kind in KINDS for name, handler in kind.HANDLERS.items()}
