"""Trained methods: the mask, the penalty that moves it, and the scores at the end."""

from slimmer.methods.bar import Bar
from slimmer.methods.maskconvnet import MaskConvNet
from slimmer.methods.method import Method, MethodSetup, Settling
from slimmer.methods.network_slimming import NetworkSlimming
from slimmer.methods.taylor import Taylor

__all__ = ["Bar", "MaskConvNet", "Method", "MethodSetup", "NetworkSlimming", "Settling", "Taylor"]
