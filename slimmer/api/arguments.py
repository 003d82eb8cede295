"""What calls are given, checked."""

from collections.abc import Sequence
from typing import Any

from torch import nn

from slimmer import data as data_sets
from slimmer.data import Data
from slimmer.data.user_data import from_value
from slimmer.models.accept_model import accept


def accepted(model: nn.Module | None) -> nn.Module | None:
    """The module, checked; None if there is none."""
    return None if model is None else accept(model)


def made_data(data: Data | Sequence[Any]) -> Data:
    """The data set, checked."""
    made = data if isinstance(data, Data) else from_value("data", data)
    data_sets.check(made)
    return made
