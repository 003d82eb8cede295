"""The commands as calls: the same work on modules and tensors, with values in place of tables."""

from slimmer.api.make_runs import Result, finish, prune
from slimmer.api.use_runs import compare, export, load, profile
from slimmer.pipeline.inspect_model import inspect

__all__ = ["Result", "compare", "export", "finish", "inspect", "load", "profile", "prune"]
