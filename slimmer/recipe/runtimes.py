"""The names of runtimes, and where their entries are. Reading a recipe loads none of them."""

from typing import Final

from slimmer.registry import hint, plugin_names

GROUP: Final = "slimmer.runtimes"
DEFAULT: Final = "onnxruntime"
# Each is a slimmer.profiling.runtimes.runtime.Runtime of that name.
BUILT_IN: Final = {
    DEFAULT: "slimmer.profiling.runtimes.onnxruntime_entry:RUNTIME",
    "torch": "slimmer.profiling.runtimes.pytorch:EAGER",
    "torch-compiled": "slimmer.profiling.runtimes.pytorch:COMPILED",
}


def runtime_names() -> tuple[str, ...]:
    """The names of the built-in runtimes, then of those that installed packages add.

    >>> runtime_names()[:2]
    ('onnxruntime', 'torch')
    """
    return (*BUILT_IN, *plugin_names(GROUP))


def known_runtime(name: str) -> str:
    """The name itself. Raises ValueError, with the nearest name, if it is unknown.

    >>> known_runtime("torch")
    'torch'
    """
    if name not in runtime_names():
        raise ValueError(f"{name!r} is not known; {hint(name, runtime_names())}")
    return name
