"""The names of runtimes. Reading a recipe loads none of them."""

from slimmer.registry import hint, plugin_names

GROUP = "slimmer.runtimes"
DEFAULT = "onnxruntime"
OWN = (DEFAULT, "torch", "torch-compiled")


def runtime_names() -> tuple[str, ...]:
    """The names of the built-in runtimes, then of those that installed packages add.

    >>> runtime_names()[:2]
    ('onnxruntime', 'torch')
    """
    return (*OWN, *plugin_names(GROUP))


def known_runtime(name: str) -> str:
    """The name itself. Raises ValueError, with the nearest name, if it is unknown.

    >>> known_runtime("torch")
    'torch'
    """
    if name not in runtime_names():
        raise ValueError(f"{name!r} is not known; {hint(name, runtime_names())}")
    return name
