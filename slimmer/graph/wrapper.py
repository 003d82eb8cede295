"""What is no network itself and holds one: refused by the name of the module to give."""

from torch import nn

from slimmer.errors import ModelError


def check_is_network(model: nn.Module) -> None:
    """Nothing; raises ModelError for a module without a forward (a package's wrapper, a list),
    naming what it holds.

    >>> check_is_network(nn.ModuleDict({"model": nn.Linear(2, 2)}))
    Traceback (most recent call last):
    slimmer.errors.ModelError: ModuleDict: has no forward of its own
      give the network that it holds: model.model
    """
    if _has_forward(model):
        return
    inside = [name for name, module in model.named_modules() if name and _has_forward(module)]
    first = [name for name in inside if not any(name.startswith(f"{other}.") for other in inside)]
    right = "give the module whose forward gives the answers"
    if len(first) == 1:
        right = f"give the network that it holds: model.{first[0]}"
    raise ModelError(type(model).__name__, "has no forward of its own", right)


def _has_forward(module: nn.Module) -> bool:
    return type(module).forward is not nn.Module.forward or "forward" in vars(module)
