"""Channels chosen once by their Taylor scores, and faded out while the network is trained."""

import torch
from torch import Tensor, nn


class Taylor:
    """Masks that fall from one to zero along a line over the first steps, for the channels that the plan removes.

    The channels are those with the least scores inside the budgets, chosen on the dense network. Fading them, rather
    than cutting them at once, lets the others take over what they did while the network still works. With no steps
    the cut is at once.
    """

    hard_sigmoid = False
    trains_masks = False

    def __init__(self, scores: Tensor, keep: Tensor, steps: int) -> None:
        """`scores` (units,) rank the units, `keep` (units,) is the mask of zeros and ones to end at after `steps`."""
        self._scores = scores.clone().double()
        self._keep = keep
        self._steps = steps

    @property
    def state(self) -> dict[str, Tensor]:
        """The scores and the mask to end at."""
        return {"scores": self._scores, "keep": self._keep}

    def start(self) -> Tensor:
        """Masks of one."""
        return torch.ones(self._scores.numel())

    def penalty(self, mask: Tensor, step: int) -> None:
        """Nothing: the masks follow their line."""

    def after_backward_(self, variables: nn.Parameter, step: int) -> None:
        """Move the masks one step along their line."""
        faded = min(1.0, (step + 1) / max(1, self._steps))
        keep = self._keep.to(variables.device)
        variables.data.copy_(keep + (1 - keep) * (1 - faded))

    def scores(self, variables: Tensor) -> Tensor:
        """The scores of the dense network's channels."""
        del variables
        return self._scores
