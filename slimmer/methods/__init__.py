"""Published methods as compositions: what a mask is, what pulls it, and which scores it ends with."""

from slimmer.methods.maskconvnet import MaskConvNet
from slimmer.methods.method import Method
from slimmer.methods.taylor import Taylor

__all__ = ["MaskConvNet", "Method", "Taylor"]
