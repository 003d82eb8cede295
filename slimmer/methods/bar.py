"""Budget-aware regularization (BAR): hard-concrete gates that a barrier function keeps within a
falling budget.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, log

import torch
from torch import Tensor, nn

from slimmer.methods.method import MethodSetup
from slimmer.methods.metric import Metric
from slimmer.recipe import trained_methods as options

# temperature and bounds of the stretched concrete distribution
BETA, GAMMA, ZETA = 0.667, -0.1, 1.1
SLACK = 0.01  # the budget starts this far above the dense cost
FLOOR = 1e-4  # the barrier starts this far below the budget, relative to the initial budget
CEILING = 1e10  # the largest value of the barrier
LONGEST = 5.0  # the largest norm of a metric's gradient on all gates
SCALE = 1e4  # of the penalty, see Bar


@dataclass(frozen=True, eq=False)
class Barrier:
    """A metric and its budget, relative to dense."""

    metric: Metric
    limit: float


class Bar:
    """Gates z = clip(s (zeta - gamma) + gamma, 0, 1) under L = L_task + sum over metrics of c f C.

    During training, s is sigmoid((logit(u) + ln alpha) / beta) with u uniform in 0..1, drawn for
    every unit and step; in evaluation it is sigmoid(ln alpha), not divided by beta, as Louizos'
    code and the known implementation do. C is the sum of P(z > 0) = sigmoid(ln alpha - beta
    ln(-gamma / zeta)) over all units, each times its price: what one more unit of its group costs
    at the widths that these probabilities add up to, relative to dense. f is the barrier: 0 while
    the gates that are open in evaluation cost less than the final budget, and unbounded toward the
    current budget, which falls to the final one along a sigmoid.

    c is strength * 10,000. The published term is lambda / batch times the number of active
    activations, of which a CIFAR network has 5e5 to 1e6 at batches of 64; since C is relative to
    dense, `strength` has the scale of the published lambda. As f has a pole, c only decides how
    close to the current budget the gates stay.

    Differences from the publication: c f is capped, so that the gradient of a metric on all gates
    has a norm of at most 5. Otherwise the ceiling of f, 1e10, would end training at any step that
    leaves the cost above the current budget; the known implementation clips the gradients of all
    weights at that norm. And the final gates are folded into the weights as they are, not rounded
    up to 1, so that the slim network computes what the gates computed.

    Source: Lemaire et al., Structured Pruning of Neural Networks with Budget-Aware Regularization
    (2019); gates by Louizos et al., Learning Sparse Neural Networks through L0 Regularization
    (2018). The paper's text could not be had: constants and formulas follow
    github.com/A-LinCui/Structured-Pruning-of-Neural-Networks-with-Budget-Aware- Regularization
    (2022), which cites its equations.
    """

    has_masks = True
    trains_masks = True
    closed = -20.0  # a gate that is never drawn open

    def __init__(
        self,
        units: int,
        barriers: Sequence[Barrier],
        *,
        steps: int,
        strength: float,
        steepness: float,
        start: float,
    ) -> None:
        """`start` is the initial ln alpha; the budget falls over `steps` steps, with
        `steepness`.
        """
        self._units = units
        self._barriers = tuple(barriers)
        self._steps = steps
        self._strength = strength * SCALE
        self._steepness = steepness
        self._start = start

    @property
    def state(self) -> dict[str, Tensor]:
        """Empty: the current budget follows from the step."""
        return {}

    def start(self) -> Tensor:
        """The initial ln alpha of every unit."""
        return torch.full((self._units,), self._start, dtype=torch.float32)

    def gate(self, variables: Tensor, *, training: bool) -> Tensor:
        """Gates drawn from their distribution in training; deterministic gates in evaluation."""
        if training:
            u = torch.rand_like(variables).clamp(1e-7, 1 - 1e-7)
            s = ((u.log() - (-u).log1p() + variables) / BETA).sigmoid()
        else:
            s = variables.sigmoid()
        return (s * (ZETA - GAMMA) + GAMMA).clamp(0, 1)

    def penalty(self, variables: Tensor, step: int) -> Tensor:
        """The sum over metrics of the barrier times the cost of the gates expected to be open."""
        alive = chance(variables)
        open_gates = self.gate(variables.detach(), training=False) > 0
        total = alive.new_zeros(())
        for barrier in self._barriers:
            now = falling_budget(barrier.limit, step / max(1, self._steps), self._steepness)
            weight = self._strength * barrier_of(
                barrier.metric.left(open_gates), barrier.limit, now
            )
            if not weight:
                continue
            price = barrier.metric.price(alive)
            pull = float((price * alive * (1 - alive)).detach().norm())
            total = total + min(weight, LONGEST / max(pull, 1e-30)) * (price * alive).sum()
        return total

    def after_backward_(self, variables: nn.Parameter, step: int) -> None:
        """Do nothing: the optimizer updates ln alpha."""

    def scores(self, variables: Tensor) -> Tensor:
        """The values of ln alpha, which have the same order as the probabilities."""
        return variables.detach().double().cpu()

    def settled(self, variables: Tensor) -> Tensor:
        """The gates that are closed in evaluation."""
        return self.gate(variables.detach(), training=False) == 0

    def follow_(self, network: nn.Module) -> None:
        """Do nothing: the penalty reads the gates only."""


def chance(variables: Tensor) -> Tensor:
    """P(z > 0) of every gate, (units,), from ln alpha.

    >>> round(float(chance(torch.tensor(0.0))), 3)
    0.832
    """
    return (variables - BETA * log(-GAMMA / ZETA)).sigmoid()


def falling_budget(limit: float, way: float, steepness: float) -> float:
    """The budget after the share `way` (0..1) of its fall from slightly above dense (1.01) to
    `limit`, relative to dense.

    >>> [round(falling_budget(0.5, way, 10.0), 3) for way in (0.0, 0.5, 1.0)]
    [1.01, 0.755, 0.5]
    """
    foot = 1 / (1 + exp(steepness / 2))
    progress = (1 / (1 + exp(steepness * (0.5 - way))) - foot) / (1 - 2 * foot)
    return (1 - progress) * (1 + SLACK) + progress * limit


def barrier_of(cost: float, limit: float, now: float) -> float:
    """The barrier f = r^2 / (1 - r) of a cost: 0 below `limit`, and 1e10 from the current budget
    `now` on.

    All arguments are relative to dense. r is the position of the cost between slightly below the
    final limit (0) and the current budget (1).

    >>> barrier_of(0.4, 0.5, 0.8), round(barrier_of(0.65, 0.5, 0.8), 2), barrier_of(0.8, 0.5, 0.8)
    (0.0, 0.5, 10000000000.0)
    """
    low = limit - FLOOR * (1 + SLACK)
    r = max(0.0, (cost - low) / (now - low))
    return min(r * r / (1 - r), CEILING) if r < 1 else CEILING


def build(setup: MethodSetup[options.Bar]) -> Bar:
    """One barrier for each budget, which falls over all steps with gates."""
    pairs = zip(setup.metrics(), setup.budgets, strict=True)
    return Bar(
        setup.graph.units,
        [Barrier(metric, budget.ratio) for metric, budget in pairs],
        steps=setup.steps,
        strength=setup.options.strength,
        steepness=setup.options.steepness,
        start=setup.options.gate_start,
    )
