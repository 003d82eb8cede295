"""The optimizers that a recipe names, as data: no torch is imported to read a recipe."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from slimmer.errors import RecipeError
from slimmer.registry import Registry

SGD = "sgd"
# Options that the section's own keys set, and those that no training here can use.
OF_THE_SECTION = ("params", "lr", "weight_decay")
UNUSABLE = ("maximize", "differentiable", "capturable")


@dataclass(frozen=True)
class OptimizerEntry:
    """An optimizer of torch.optim: the name of its class, and the lr and weight decay by default.

    The defaults are torch.optim's own, except those of SGD, which are slimmer's.
    """

    name: str
    torch_class: str
    lr: float
    weight_decay: float = 0.0


# Left out: Muon takes matrices only, LBFGS a closure, SparseAdam sparse gradients, and Rprop has
# no weight decay and follows no learning-rate schedule.
OPTIMIZERS: Registry[OptimizerEntry] = Registry("optimizer", RecipeError)
for _entry in (
    OptimizerEntry(SGD, "SGD", lr=0.02, weight_decay=1e-4),
    OptimizerEntry("adam", "Adam", lr=1e-3),
    OptimizerEntry("adamw", "AdamW", lr=1e-3, weight_decay=0.01),
    OptimizerEntry("nadam", "NAdam", lr=2e-3),
    OptimizerEntry("radam", "RAdam", lr=1e-3),
    OptimizerEntry("rmsprop", "RMSprop", lr=0.01),
    OptimizerEntry("adagrad", "Adagrad", lr=0.01),
    OptimizerEntry("adamax", "Adamax", lr=2e-3),
    OptimizerEntry("adadelta", "Adadelta", lr=1.0),
    OptimizerEntry("asgd", "ASGD", lr=0.01),
    OptimizerEntry("adafactor", "Adafactor", lr=0.01),
):
    OPTIMIZERS.add(_entry.name, _entry)


def known_optimizer(name: str) -> str:
    """The name itself. Raises ValueError with the nearest name where it is not known.

    >>> known_optimizer("adamw")
    'adamw'
    """
    try:
        return OPTIMIZERS[name].name
    except RecipeError as error:
        raise ValueError(f"{error.found}; {error.right}") from error


def with_defaults(section: Mapping[str, Any]) -> dict[str, Any]:
    """A finetune section with its optimizer's lr and weight decay where it names none.

    >>> with_defaults({"optimizer": "adamw", "lr": 0.002})
    {'lr': 0.002, 'weight_decay': 0.01, 'optimizer': 'adamw'}
    """
    name = section.get("optimizer", SGD)
    if not isinstance(name, str) or name not in OPTIMIZERS:
        return dict(section)  # refused where the name itself is checked
    entry = OPTIMIZERS[name]
    return {"lr": entry.lr, "weight_decay": entry.weight_decay, **section}
