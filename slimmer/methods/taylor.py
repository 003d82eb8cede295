"""Hard masks held on a falling budget by projection, ranked by a running Taylor score."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

Project = Callable[[Tensor, float], Tensor]


class Taylor:
    """Masks of zeros and ones; every `interval` steps the best of them inside the budget of the
    moment.

    The gradient reaches masks of zero too, so a channel that is missed comes back. The budget falls
    from dense to the target along 1 - (1 - t)^3 (Zhu and Gupta, To prune, or not to prune, 2017).
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
        """`scores` (units,) to start from; `project` gives the mask for scores at a share (0..1) of
        the way.
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
        """Nothing: the budget is held by projection."""

    def after_backward_(self, variables: nn.Parameter, step: int) -> None:
        """Add the step's squared gradients to the scores; project every `interval` steps."""
        if variables.grad is not None:
            squares = variables.grad.detach().double().cpu().square()
            squares /= squares.mean().clamp_min(1e-30)
            self._scores.mul_(self._memory).add_(squares, alpha=1 - self._memory)
        if step % self._interval == 0:
            progress = min(1.0, (step + 1) / max(1, self._steps))
            mask = self._project(self._scores, 1 - (1 - progress) ** 3)
            variables.data.copy_(mask)

    def scores(self, variables: Tensor) -> Tensor:
        """The running scores."""
        del variables
        return self._scores
