"""Devices and processes, through Lightning Fabric."""

import logging
import os
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies.ddp import DDPStrategy
from torch import Tensor, nn

from slimmer.errors import RuntimeUnavailableError
from slimmer.models.copying import duplicate, set_mode_

Precision = Literal["auto", "32-true", "bf16-mixed", "16-mixed"]


def make_engine(device: str = "auto", precision: Precision = "auto") -> Fabric:
    """A launched Fabric on `device`: one process, or as many as torchrun started.

    Precision `auto` is bf16 autocast on a GPU that supports it, and float32 otherwise: bf16 is
    slower on a CPU without hardware support for it. Raises RuntimeUnavailableError if CUDA is
    requested but not available, and for 16-mixed on the CPU.
    """
    cuda = torch.cuda.is_available()
    if device == "cuda" and not cuda:
        found = "cuda was requested, but PyTorch finds no GPU"
        raise RuntimeUnavailableError("device", found, "use --device cpu or auto")
    accelerator = "cuda" if cuda and device != "cpu" else "cpu"
    if precision == "16-mixed" and accelerator == "cpu":
        found = "16-mixed trains on GPUs only, and the device is the CPU"
        raise RuntimeUnavailableError(
            "finetune.precision", found, "use bf16-mixed or 32-true, or a GPU"
        )
    if precision == "auto":
        bf16 = accelerator == "cuda" and torch.cuda.is_bf16_supported()
        precision = "bf16-mixed" if bf16 else "32-true"
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # no banner
    local = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    world = int(os.environ.get("WORLD_SIZE", "1"))
    fabric = Fabric(
        accelerator=accelerator,
        devices=local,
        num_nodes=max(1, world // local),
        precision=precision,
        # A static graph allows layers that no image reaches.
        strategy=DDPStrategy(static_graph=True) if world > 1 else "auto",
    )
    fabric.launch()
    return fabric


def precision_state(fabric: Fabric) -> dict[str, Tensor]:
    """The state of the engine's gradient scaling, to be saved; empty unless it trains in fp16."""
    found = {}
    for name, value in fabric.strategy.precision.state_dict().items():
        found[name] = torch.tensor(value, dtype=torch.float64)
    return found


def restore_precision_(fabric: Fabric, tensors: Mapping[str, Tensor]) -> None:
    """Restore the state that `precision_state` returned."""
    wanted = {}
    for name, value in fabric.strategy.precision.state_dict().items():
        wanted[name] = type(value)(tensors[name].item())
    fabric.strategy.precision.load_state_dict(wanted)


def synchronised_(fabric: Fabric, network: nn.Module) -> nn.Module:
    """The network with batch norms that compute their statistics over the images of all processes.

    With one process it is unchanged. Raises RuntimeUnavailableError on the CPU, for which PyTorch
    has no such batch norm.
    """
    if fabric.world_size == 1:
        return network
    if fabric.device.type == "cpu":
        found = "PyTorch has no synchronised batch norm for the CPU"
        right = "train on GPUs, or leave it out"
        raise RuntimeUnavailableError("finetune.sync_batch_norm", found, right)
    converted: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(network)
    return converted


def place_(fabric: Fabric, network: nn.Module, call: Sequence[Any] = ()) -> nn.Module:
    """The network on the engine's device, with the weights of 2-D convolutions in the channels-last
    memory format, which trains fastest.

    `call` are the arguments of one call of the network. If its code fails with that format (for
    example `x.view` of a channels-last map), the weights keep their format.

    Source: https://docs.pytorch.org/tutorials/intermediate/memory_format_tutorial.html
    """
    network = fabric.to_device(network)
    weights = [parameter for parameter in network.parameters() if parameter.dim() == 4]
    before = [weight.data for weight in weights]
    after = [data.contiguous(memory_format=torch.channels_last) for data in before]
    call = fabric.to_device(tuple(call))
    _set_data_(weights, after)
    if not call:
        return network
    failed = [mode for mode in (False, True) if not _runs(network, call, training=mode)]
    if not failed:
        return network
    _set_data_(weights, before)
    if not any(_runs(network, call, training=mode) for mode in failed):
        _set_data_(weights, after)  # it fails with either format, so the format is not the cause
    return network


def _set_data_(weights: Sequence[nn.Parameter], data: Sequence[Tensor]) -> None:
    for weight, each in zip(weights, data, strict=True):
        weight.data = each


def _runs(network: nn.Module, call: Sequence[Any], *, training: bool) -> bool:
    """Whether the network's code runs without an exception; a copy is run."""
    try:
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            set_mode_(duplicate(network), training)(*call)
    except Exception:  # noqa: BLE001 - the network's own code may raise anything
        return False
    return True
