"""Several processes that train one network together, started by somebody else's loop."""

import torch
from torch import Tensor, distributed


def together() -> int:
    """The number of processes that train together; 1 for one alone."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return 1
    return distributed.get_world_size()


def is_first() -> bool:
    """Whether this process is the only one, or the first, so that it writes files."""
    return together() == 1 or distributed.get_rank() == 0


def averaged(gradient: Tensor, device: torch.device) -> Tensor:
    """The mean of a gradient over all processes, on `device`; the same in every process."""
    number = together()
    if number == 1:
        return gradient
    total = gradient.to(device, copy=True)
    distributed.all_reduce(total)
    return total / number
