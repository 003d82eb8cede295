"""Published methods as compositions: what a mask is, what pulls it, and which scores it ends with."""

from slimmer.methods.bar import Bar
from slimmer.methods.maskconvnet import MaskConvNet
from slimmer.methods.method import Method, MethodSetup
from slimmer.methods.network_slimming import NetworkSlimming
from slimmer.methods.taylor import Taylor

__all__ = ["Bar", "MaskConvNet", "Method", "MethodSetup", "NetworkSlimming", "Taylor"]
