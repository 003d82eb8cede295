"""The training loop of short_training.py: distillation with answers that are known, and the
optimizers and losses that were tried.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from torch import Tensor, nn

from slimmer.tasks.distill import divergence, squared_difference

Moved = tuple[Tensor, Tensor, Tensor]
"""A batch: images, labels, and the dense network's answers."""

WARMUP = 0.05  # of the steps
MOMENTUM = 0.9
ROUNDS = (3.4445, -4.7750, 2.0315)  # Muon's polynomial (Jordan et al. 2024)


def train_(
    slim: nn.Module,
    dense: nn.Module,
    epoch: Callable[[int], Sequence[Callable[[], Moved]]],
    asked: dict[str, Any],
) -> None:
    """Train `slim` in place. `epoch` returns an epoch's batches, each made when it is called."""
    features = watched(slim, dense) if asked["features"] else None
    update = optimizer_of(slim, asked)
    per = len(epoch(0))
    steps = round(asked["epochs"] * per)
    slim.train()
    for step in range(steps):
        if step % per == 0:
            batches = epoch(step // per)
        if step == round((1 - asked["frozen"]) * steps):
            freeze_norms_(slim)
        images, labels, answers = batches[step % per]()
        found = slim(images)
        loss = distilled(found, answers, labels, asked)
        if features is not None:
            with torch.no_grad():
                dense(images)
            loss = loss + asked["features"] * (1 - step / steps) * features()
        slim.zero_grad(set_to_none=True)
        loss.backward()
        update(asked["lr"] * pace(step, steps))


def pace(step: int, steps: int) -> float:
    """The share of the learning rate: linear warm-up times a cosine to 0."""
    warm = max(1, round(WARMUP * steps))
    done = max(0, step - warm) / max(1, steps - warm)
    return min(1.0, (step + 1) / warm) * 0.5 * (1 + math.cos(math.pi * done))


def distilled(found: Tensor, answers: Tensor, labels: Tensor, asked: dict[str, Any]) -> Tensor:
    """The distance from the answers (at a temperature, if there is one), and cross entropy."""
    heat, share = asked["temperature"], asked["distill"]
    if heat:
        loss: Tensor = share * divergence(found, answers, heat)
    else:
        loss = share * squared_difference(found, answers)
    if share < 1:
        loss = loss + (1 - share) * F.cross_entropy(found, labels)
    return loss


def watched(slim: nn.Module, dense: nn.Module) -> Callable[[], Tensor]:
    """The mean squared difference of the blocks' outputs, relative to the dense network's."""
    seen: dict[tuple[bool, str], Tensor] = {}
    names = [name for name, _ in dense.named_modules() if name.count(".") == 1 and "layer" in name]
    for whole, network in ((False, slim), (True, dense)):
        for name in names:

            def see(_: nn.Module, __: Any, out: Tensor, key: Any = (whole, name)) -> None:
                seen[key] = out

            network.get_submodule(name).register_forward_hook(see)

    def apart() -> Tensor:
        total = torch.zeros(())
        for name in names:
            mine, theirs = seen[False, name], seen[True, name]
            total = total + (mine - theirs).square().mean() / theirs.square().mean()
        return total / len(names)

    return apart


def optimizer_of(slim: nn.Module, asked: dict[str, Any]) -> Callable[[float], None]:
    """A step with a learning rate: SGD with Nesterov's momentum, AdamW, or Muon for convolutions
    after the first, with SGD for the rest.
    """
    matrices = [each for each in slim.parameters() if each.dim() > 1]
    vectors = [each for each in slim.parameters() if each.dim() <= 1]
    decay = asked["weight_decay"]
    if asked["optimizer"] == "adamw":
        groups = [{"params": matrices, "weight_decay": decay}]
        groups.append({"params": vectors, "weight_decay": 0.0})
        return stepping(torch.optim.AdamW(groups, lr=asked["lr"]))
    turned = []
    if asked["optimizer"] == "muon":
        named = slim.named_parameters()
        turned = [each for name, each in named if each.dim() == 4 and name != "conv1.weight"]
    others = [each for each in (*matrices, *vectors) if all(each is not one for one in turned)]
    rest = stepping(
        torch.optim.SGD(
            others, lr=asked["lr"], momentum=MOMENTUM, weight_decay=decay, nesterov=True
        )
    )
    buffers = [torch.zeros_like(each) for each in turned]
    norms = [float(each.detach().norm()) for each in turned]

    @torch.no_grad()
    def step(lr: float) -> None:
        rest(lr)
        for weight, buffer, norm in zip(turned, buffers, norms, strict=True):
            assert weight.grad is not None
            turn = orthogonal(buffer, weight.grad)
            size = asked["muon_step"] * lr / asked["lr"] * norm / float(turn.norm().clamp_min(1e-9))
            weight.add_(turn, alpha=-size)

    return step


def stepping(optimizer: torch.optim.Optimizer) -> Callable[[float], None]:
    """A step of an optimizer with a learning rate."""

    def step(lr: float) -> None:
        for group in optimizer.param_groups:
            group["lr"] = lr
        optimizer.step()

    return step


def orthogonal(buffer: Tensor, gradient: Tensor) -> Tensor:
    """Muon's direction: the momentum's nearest matrix with equal singular values, by five rounds of
    Newton and Schulz; `buffer` is updated.
    """
    buffer.mul_(MOMENTUM).add_(gradient)
    flat = gradient.add(buffer, alpha=MOMENTUM).flatten(1)
    tall = flat.shape[0] > flat.shape[1]
    x = flat.T if tall else flat
    x = x / (x.norm() + 1e-7)
    first, second, third = ROUNDS
    for _ in range(5):
        square = x @ x.T
        x = first * x + (second * square + third * square @ square) @ x
    return (x.T if tall else x).reshape(gradient.shape)


def freeze_norms_(slim: nn.Module) -> None:
    """Batch norms keep their statistics from here on."""
    for module in slim.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
