"""The names of loggers, and where their entries are. Reading a recipe loads none of them."""

from typing import Final

from slimmer.registry import hint, plugin_names

GROUP: Final = "slimmer.loggers"
# Each is a slimmer.runs.loggers.LoggerEntry of that name.
BUILT_IN: Final = {
    "tensorboard": "slimmer.runs.loggers:TENSORBOARD",
    "csv": "slimmer.runs.loggers:CSV",
    "wandb": "slimmer.runs.loggers:WANDB",
}


def known_logger(name: str) -> str:
    """The name itself. Raises ValueError, with the nearest name, if it is unknown.

    >>> known_logger("csv")
    'csv'
    """
    names = (*BUILT_IN, *plugin_names(GROUP))
    if name not in names:
        raise ValueError(f"{name!r} is not known; {hint(name, names)}")
    return name
