"""Channel pruning of pretrained convnets, exactly inside a budget."""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from slimmer.api import Result, compare, export, inspect, load, profile, prune
    from slimmer.data import Data
    from slimmer.errors import SlimmerError
    from slimmer.pruning.plan import Plan
    from slimmer.recipe import Recipe

__all__ = [
    "Data",
    "Plan",
    "Recipe",
    "Result",
    "SlimmerError",
    "compare",
    "export",
    "inspect",
    "load",
    "profile",
    "prune",
]

_HOMES = {"Data": "data", "Plan": "plan", "Recipe": "recipe", "SlimmerError": "errors"}


def __getattr__(name: str) -> Any:
    """A public name, imported at first use: `slimmer --help` can't wait for torch."""
    if name not in __all__:
        raise AttributeError(f"module 'slimmer' has no attribute {name!r}")
    return getattr(import_module(f"slimmer.{_HOMES.get(name, 'api')}"), name)


def __dir__() -> list[str]:
    """What is public, imported or not."""
    return sorted({*globals(), *__all__})


class _Package(ModuleType):
    """A package whose calls `prune` and `export` are not hidden by its modules of the same names.

    Python binds a module to its package when it is first imported; `slimmer.prune` stays the call all the same,
    and `from slimmer.prune import ...` finds the module as ever.
    """

    def __setattr__(self, name: str, value: object) -> None:
        if not (name in __all__ and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
