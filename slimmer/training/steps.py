"""What a training step does around the loss: gradients of several batches, clipping, compiling."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from statistics import fmean
from typing import Any, cast

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_

from slimmer.errors import RuntimeUnavailableError, first_line


def backward_(
    fabric: Fabric,
    parts: Sequence[Any],
    loss_of: Callable[[Any], tuple[Tensor, float | None]],
    penalty: Callable[[], Tensor | None] | None = None,
) -> tuple[float, float | None]:
    """Add to the weights' gradients those of one step: of the mean loss of its batches and of the
    penalty.

    `loss_of` computes the loss and the accuracy of a batch, or None for a task without. Their means
    over the batches are returned, without the penalty.
    """
    losses: list[Tensor] = []
    shares: list[float] = []
    for part in parts:
        loss, share = loss_of(part)
        loss = loss / len(parts)
        losses.append(loss.detach())
        if share is not None:
            shares.append(share)
        added = penalty() if penalty is not None else None
        penalty = None  # it is added once
        fabric.backward(loss if added is None else loss + added)
    return float(torch.stack(losses).sum()), fmean(shares) if shares else None


def clip_(
    fabric: Fabric, optimizer: torch.optim.Optimizer, network: nn.Module, largest: float
) -> None:
    """Scale the gradients of the network's weights so that their norm is at most `largest`.

    The norm is the Euclidean norm of all gradients together. Gradients of fp16 are unscaled first.
    Gradients that are not finite stay so; the loss of the next step shows them.
    """
    fabric.strategy.precision.unscale_gradients(optimizer)
    clip_grad_norm_(network.parameters(), largest)


def check_compiler(fabric: Fabric) -> None:
    """Raise RuntimeUnavailableError if torch.compile does not work on this machine."""
    with compiler_errors(compiling=True):
        torch.compile(_plus_one)(torch.zeros(2, device=fabric.device))
    torch.compiler.reset()


def compiled(network: nn.Module) -> nn.Module:
    """The network, compiled by `torch.compile` at its first call; both share their weights."""
    return cast("nn.Module", torch.compile(network))


@contextmanager
def compiler_errors(*, compiling: bool) -> Iterator[None]:
    """A block that may run a compiled network: errors of the compiler become one message.

    Raises RuntimeUnavailableError for them. Without `compiling` the block is left alone.
    """
    try:
        yield
    except RuntimeError as error:
        if not compiling or not _is_from_compiler(error):
            raise
        found = f"torch.compile fails: {first_line(error)}"
        right = "install what it needs, such as a C++ compiler, or leave out finetune.compile"
        raise RuntimeUnavailableError("finetune.compile", found, right) from error


def _is_from_compiler(error: RuntimeError) -> bool:
    from torch._dynamo.exc import TorchDynamoException  # noqa: PLC0415 - slow to import

    return isinstance(error, TorchDynamoException)


def _plus_one(values: Tensor) -> Tensor:
    return values + 1
