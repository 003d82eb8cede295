"""Channel pruning of pretrained convnets to budgets of FLOPs, parameters or latency."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from slimmer.api import (
        Result,
        attach,
        compare,
        export,
        finish,
        inspect,
        load,
        profile,
        prune,
        report,
    )
    from slimmer.data import Data
    from slimmer.errors import SlimmerError
    from slimmer.pruning.plan import Plan
    from slimmer.recipe import Recipe
    from slimmer.tasks import Task

__all__ = [
    "Data",
    "Plan",
    "Recipe",
    "Result",
    "SlimmerError",
    "Task",
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

_HOMES = {
    "Data": "data",
    "Plan": "pruning.plan",
    "Recipe": "recipe",
    "SlimmerError": "errors",
    "Task": "tasks",
}


def __getattr__(name: str) -> Any:
    """A public name, imported at first use, so that `slimmer --help` does not import torch."""
    if name not in __all__:
        raise AttributeError(f"module 'slimmer' has no attribute {name!r}")
    return getattr(import_module(f"slimmer.{_HOMES.get(name, 'api')}"), name)


def __dir__() -> list[str]:
    """The public names."""
    return sorted(__all__)
