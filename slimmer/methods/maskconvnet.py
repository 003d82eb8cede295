"""MaskConvNet, reconstructed: trainable masks under a penalty whose multipliers follow the gap to
the target.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from slimmer.errors import RecipeError
from slimmer.methods.method import MethodSetup
from slimmer.recipe import trained_methods as options

DUAL_PACE = 4.0  # a multiplier reaches the size of a lasting gap within a quarter of the steps
Sparsity = Callable[[Tensor], float]
Price = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Target:
    """One metric: the share to remove, the share that a mask (units,) removes, and the base
    multipliers.

    `price` returns the cost of each unit at a mask (units,), on any scale; without it, all units
    count equally.
    """

    sparsity: float
    measure: Sparsity
    lambda_m: float
    lambda_v: float
    price: Price | None = None


class MaskConvNet:
    """Trainable masks M = clip(v + 0.5, 0, 1) under a penalty that moves them to their targets.

    L = L_task + sum over metrics of k [lambda_m mean(M) - lambda_v var(M) / mean(M)]. The
    multiplier k is the gap S* - S, where S is a running mean of the sparsity of the masks; its sign
    reverses the penalty after an overshoot. Mask decay moves v to 0, that is M to one half, and
    reactivates removed channels.

    Three options go beyond that. With `rise` above 0, k is the sum of rise * (S* - S) over the
    steps since the target was last met, with the S of each step: dual ascent with restarts, which
    acts until the target is met and no longer (Gallego-Posada et al., Controlled Sparsity via
    Constrained Optimization, 2022). `hard` rounds masks at one half in the forward pass and keeps
    the gradient of the soft masks (straight-through; Bengio et al. 2013). A target's `price`
    weights the mean by the costs of units, since a plain mean does not distinguish metrics.

    Source: MaskConvNet (ICLR 2020 submission, openreview.net/forum?id=S1gyl6Vtvr), abstract and
    tables only; the formula is a reconstruction, see docs/decisions.md.
    """

    has_masks = True
    trains_masks = True
    closed = -0.5

    def __init__(
        self,
        units: int,
        targets: Sequence[Target],
        *,
        start: float,
        warmup: int,
        memory: float = 0.9,
        rise: float = 0.0,
        hard: bool = False,
    ) -> None:
        """`start` is the initial v; the first `warmup` steps have no penalty."""
        self._units = units
        self._start = start
        self._targets = tuple(targets)
        self._warmup = warmup
        self._memory = memory
        self._rise = rise
        self._hard = hard
        self._sparsity = torch.zeros(len(targets), dtype=torch.float64)
        self._multiplier = torch.zeros(len(targets), dtype=torch.float64)

    @property
    def state(self) -> dict[str, Tensor]:
        """The running sparsity and the multiplier of every metric."""
        return {"sparsity": self._sparsity, "multiplier": self._multiplier}

    def start(self) -> Tensor:
        """The initial v of every unit; 0.5 is a mask of one, at the edge of its gradient."""
        return torch.full((self._units,), self._start, dtype=torch.float32)

    def gate(self, variables: Tensor, *, training: bool) -> Tensor:
        """clip(v + 0.5, 0, 1), rounded where masks are hard.

        clamp, unlike hardsigmoid, passes gradient at its bounds.
        """
        del training
        soft = _soft(variables)
        return soft + ((soft >= 0.5).to(soft) - soft).detach() if self._hard else soft

    def penalty(self, variables: Tensor, step: int) -> Tensor | None:
        """The penalty on the masks, or None during warm-up."""
        if step < self._warmup:
            return None
        mask = _soft(variables)
        alive = self.gate(variables.detach(), training=True)
        mean, var = mask.mean(), mask.var(unbiased=False)
        total = mask.new_zeros(())
        for number, target in enumerate(self._targets):
            self._follow(number, target.sparsity, target.measure(alive))
            down = mean if target.price is None else _weighted_mean(mask, target.price(alive))
            pull = target.lambda_m * down - target.lambda_v * var / mean.clamp_min(1e-6)
            total = total + float(self._multiplier[number]) * pull
        return total

    def after_backward_(self, variables: nn.Parameter, step: int) -> None:
        """Do nothing: the optimizer updates the variables."""

    def scores(self, variables: Tensor) -> Tensor:
        """The variables themselves: they rank units even if all masks are zero or one."""
        return variables.detach().double().cpu()

    def settled(self, variables: Tensor) -> Tensor:
        """The soft masks that are zero: no gradient reaches them."""
        return _soft(variables.detach()) == 0

    def follow_(self, network: nn.Module) -> None:
        """Do nothing: the penalty reads the masks only."""

    def _follow(self, number: int, wanted: float, now: float) -> None:
        """Update the running sparsity of a metric, and its multiplier from the gap."""
        self._sparsity[number] = self._memory * self._sparsity[number] + (1 - self._memory) * now
        if not self._rise:
            self._multiplier[number] = wanted - self._sparsity[number]
        elif now < wanted:
            self._multiplier[number] += self._rise * (wanted - now)
        else:
            self._multiplier[number] = 0


def _soft(variables: Tensor) -> Tensor:
    return (variables + 0.5).clamp(0, 1)


def _weighted_mean(mask: Tensor, weights: Tensor) -> Tensor:
    return (mask * weights).sum() / weights.sum().clamp_min(1e-30)


def build(setup: MethodSetup[options.MaskConvNet]) -> MaskConvNet:
    """One target for each budget, each with its own base multipliers.

    Raises RecipeError if the warm-up takes all steps.
    """
    section, number = setup.options, len(setup.budgets)
    lambdas_m = section.lambda_m * number if len(section.lambda_m) == 1 else section.lambda_m
    lambdas_v = section.lambda_v * number if len(section.lambda_v) == 1 else section.lambda_v
    warmup = round(section.warmup * setup.epoch_steps)
    if warmup >= setup.steps:
        found = (
            f"warm-up takes {warmup} of {setup.steps} mask training steps, so the masks never move"
        )
        raise RecipeError(
            "method.warmup",
            found,
            "shorten the warm-up, or raise finetune.epochs or method.sparsify",
        )
    targets = []
    for budget, metric, m, v in zip(
        setup.budgets, setup.metrics(), lambdas_m, lambdas_v, strict=True
    ):
        price = metric.price if section.pull == "cost" else None
        targets.append(Target(1 - budget.ratio, metric.sparsity, m, v, price))
    return MaskConvNet(
        setup.graph.units,
        targets,
        start=section.mask_start,
        warmup=warmup,
        rise=DUAL_PACE / (setup.steps - warmup) if section.controller == "dual" else 0.0,
        hard=section.forward == "hard",
    )
