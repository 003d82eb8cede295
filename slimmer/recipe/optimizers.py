"""The optimizers that a recipe can use. Imports no torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from slimmer.errors import RecipeError
from slimmer.registry import Registry

SGD = "sgd"
# Arguments that keys of the section set, and arguments that slimmer's training loop can't use.
OF_THE_SECTION = ("params", "lr", "weight_decay")
UNUSABLE = ("maximize", "differentiable", "capturable")


@dataclass(frozen=True)
class OptimizerEntry:
    """An optimizer of torch.optim: its class, and the default learning rate and weight decay.

    The defaults are those of torch.optim, except for SGD, whose defaults are slimmer's.
    """

    name: str
    torch_class: str
    lr: float
    weight_decay: float = 0.0


# Left out: Muon takes only matrices, LBFGS a closure, SparseAdam sparse gradients; Rprop has no
# weight decay and ignores learning-rate schedules.
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
    """The name itself. Raises ValueError, with the nearest name, if it is unknown.

    >>> known_optimizer("adamw")
    'adamw'
    """
    try:
        return OPTIMIZERS[name].name
    except RecipeError as error:
        raise ValueError(f"{error.found}; {error.right}") from error


def with_defaults(section: Mapping[str, Any]) -> dict[str, Any]:
    """A finetune section, with the optimizer's default lr and weight decay if it sets none.

    >>> with_defaults({"optimizer": "adamw", "lr": 0.002})
    {'lr': 0.002, 'weight_decay': 0.01, 'optimizer': 'adamw'}
    """
    name = section.get("optimizer", SGD)
    if not isinstance(name, str) or name not in OPTIMIZERS:
        return dict(section)  # the field's own check refuses it
    entry = OPTIMIZERS[name]
    return {"lr": entry.lr, "weight_decay": entry.weight_decay, **section}
