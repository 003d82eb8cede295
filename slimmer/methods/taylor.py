"""Hard masks that are projected into a falling budget, ranked by a running Taylor score."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

Project = Callable[[Tensor, float], Tensor]


class Taylor:
    """Masks of zeros and ones; every `interval` steps they are set to the best ones inside the
    current budget.

    Masks of zero get gradients too, so an important channel returns. The budget falls from dense to
    the target along 1 - (1 - t)^3 (Zhu and Gupta, To prune, or not to prune, 2017).
    """

    has_masks = True
    trains_masks = False

    def __init__(
        self,
        scores: Tensor,
        project: Project,
        steps: int,
        *,
        interval: int = 20,
        memory: float = 0.98,
    ) -> None:
        """`scores` (units,) are the initial ones; `project` returns the mask of given scores after
        a share (0..1) of the budget's fall.
        """
        self._project = project
        self._steps = steps
        self._interval = interval
        self._memory = memory
        self._scores = scores.clone().double()
        self._scores /= self._scores.mean().clamp_min(1e-30)

    @property
    def state(self) -> dict[str, Tensor]:
        """The running scores."""
        return {"scores": self._scores}

    def start(self) -> Tensor:
        """Masks of one."""
        return torch.ones(self._scores.numel(), dtype=torch.float32)

    def gate(self, variables: Tensor, *, training: bool) -> Tensor:
        """The variables themselves, zeros and ones."""
        del training
        return variables

    def penalty(self, variables: Tensor, step: int) -> None:
        """No penalty: the projection meets the budget."""

    def after_backward_(self, variables: nn.Parameter, step: int) -> None:
        """Add the step's squared gradients to the scores; project every `interval` steps."""
        if variables.grad is not None:
            self.add_(variables.grad)
        mask = self.mask_at(step)
        if mask is not None:
            variables.data.copy_(mask)

    def add_(self, gradient: Tensor) -> None:
        """Add the squares of a gradient by the masks (units,) to the running scores.

        A gradient that overflowed, as some do in fp16, is left out.
        """
        if not gradient.isfinite().all():
            return
        squares = gradient.detach().double().cpu().square()
        squares /= squares.mean().clamp_min(1e-30)
        self._scores.mul_(self._memory).add_(squares, alpha=1 - self._memory)

    def mask_at(self, step: int) -> Tensor | None:
        """The mask (units,) that is set at `step`; None if masks don't change there."""
        if step % self._interval:
            return None
        progress = min(1.0, (step + 1) / max(1, self._steps))
        return self._project(self._scores, 1 - (1 - progress) ** 3)

    def scores(self, variables: Tensor) -> Tensor:
        """The running scores."""
        del variables
        return self._scores
