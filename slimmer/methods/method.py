"""The seam between the training loop and a method."""

from typing import Protocol

from torch import Tensor, nn


class Method(Protocol):
    """How masks move while a network is trained under them.

    `has_masks` is whether they move at all; `trains_masks`, whether the optimizer moves them.
    """

    has_masks: bool
    trains_masks: bool

    @property
    def state(self) -> dict[str, Tensor]:
        """Tensors that a resumed run has to put back, by name; the training loop copies into them."""
        ...

    def start(self) -> Tensor:
        """The first mask variables (units,)."""
        ...

    def gate(self, variables: Tensor, *, training: bool) -> Tensor:
        """The mask (units,), in 0..1, that the variables (units,) stand for; it may be drawn while training."""
        ...

    def penalty(self, variables: Tensor, step: int) -> Tensor | None:
        """What is added to the loss at `step`."""
        ...

    def after_backward_(self, variables: nn.Parameter, step: int) -> None:
        """Called with the gradients of `step`, before the weights move."""
        ...

    def scores(self, variables: Tensor) -> Tensor:
        """What the exact projection at the end ranks units by (units,)."""
        ...
