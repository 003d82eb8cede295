"""The public calls: the commands in Python, for modules and tensors. They return values."""

from slimmer.api.gradual import attach
from slimmer.api.make_runs import Result, finish, prune
from slimmer.api.use_runs import compare, export, load, profile, report
from slimmer.pipeline.inspect_model import inspect

__all__ = [
    "Result",
    "attach",
    "compare",
    "export",
    "finish",
    "inspect",
    "load",
    "profile",
    "prune",
    "report",
]
