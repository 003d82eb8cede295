"""MaskConvNet as reconstructed: trainable masks, pulled to their target by multipliers that follow the gap."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

Sparsity = Callable[[Tensor], float]


@dataclass(frozen=True)
class Target:
    """One metric: how much of it to remove, how much of it a mask (units,) removes, and its base multipliers."""

    sparsity: float
    measure: Sparsity
    lambda_m: float
    lambda_v: float


class MaskConvNet:
    """Trainable masks M = clip(v + 0.5, 0, 1) under a loss that pulls them to their targets.

    L = L_task + sum over metrics of (S* - S) [lambda_m mean(M) - lambda_v var(M) / mean(M)]. S is a running mean of
    the sparsity that the masks above zero have; the sign of the gap turns the pull round after an overshoot. Mask
    decay pulls v to 0, that is M to one half, and brings dead channels back.

    Source: MaskConvNet (ICLR 2020 submission, openreview.net/forum?id=S1gyl6Vtvr), abstract and tables only; the
    formula is a reconstruction, see docs/decisions.md.
    """

    hard_sigmoid = True
    trains_masks = True

    def __init__(
        self, units: int, targets: Sequence[Target], *, start: float, warmup: int, memory: float = 0.9
    ) -> None:
        """`start` is the first value of v, `warmup` the steps without a mask term."""
        self._targets = tuple(targets)
        self._units = units
        self._start = start
        self._warmup = warmup
        self._memory = memory
        self._sparsity = torch.zeros(len(targets), dtype=torch.float64)

    @property
    def state(self) -> dict[str, Tensor]:
        """The running sparsity of every metric."""
        return {"sparsity": self._sparsity}

    def start(self) -> Tensor:
        """Every v at its start: 0.5 is a mask of one, at the edge of its gradient."""
        return torch.full((self._units,), self._start)

    def penalty(self, mask: Tensor, step: int) -> Tensor | None:
        """The mask term of the loss, or nothing while warming up."""
        if step < self._warmup:
            return None
        mean, var = mask.mean(), mask.var(unbiased=False)
        total = mask.new_zeros(())
        for number, target in enumerate(self._targets):
            now = target.measure(mask.detach())
            self._sparsity[number] = self._memory * self._sparsity[number] + (1 - self._memory) * now
            gap = target.sparsity - float(self._sparsity[number])
            total = total + gap * (target.lambda_m * mean - target.lambda_v * var / mean.clamp_min(1e-6))
        return total

    def after_backward_(self, variables: nn.Parameter, step: int) -> None:
        """Nothing: the optimizer moves the variables."""

    def scores(self, variables: Tensor) -> Tensor:
        """The variables themselves: among masks of zero or one they still tell which is nearer to the middle."""
        return variables.detach().double().cpu()
