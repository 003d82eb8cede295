"""Devices and processes, through Lightning Fabric."""

import logging
import os
from collections.abc import Sequence
from typing import Any, Literal

import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies.ddp import DDPStrategy
from torch import nn

from slimmer.errors import RuntimeUnavailableError
from slimmer.models.copying import duplicate, set_mode_

Precision = Literal["auto", "32-true", "bf16-mixed", "16-mixed"]


def make_engine(device: str = "auto", precision: Precision = "auto") -> Fabric:
    """A launched Fabric on `device`: one process, or as many as torchrun started.

    Precision `auto` is bf16 autocast on a GPU that has it and float32 elsewhere: bf16 is slower on
    a CPU without units for it. Raises RuntimeUnavailableError where CUDA is asked for and absent.
    """
    cuda = torch.cuda.is_available()
    if device == "cuda" and not cuda:
        raise RuntimeUnavailableError(
            "device", "cuda was asked for and PyTorch sees no GPU", "use --device cpu or auto"
        )
    accelerator = "cuda" if cuda and device != "cpu" else "cpu"
    if precision == "auto":
        precision = (
            "bf16-mixed" if accelerator == "cuda" and torch.cuda.is_bf16_supported() else "32-true"
        )
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # no banner
    local = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    world = int(os.environ.get("WORLD_SIZE", "1"))
    fabric = Fabric(
        accelerator=accelerator,
        devices=local,
        num_nodes=max(1, world // local),
        precision=precision,
        strategy=DDPStrategy(static_graph=True)
        if world > 1
        else "auto",  # static: layers no image reaches are allowed
    )
    fabric.launch()
    return fabric


def synchronised_(fabric: Fabric, network: nn.Module) -> nn.Module:
    """The network with batch norms that take their statistics over the images of all processes.

    With one process it is as it was. Raises RuntimeUnavailableError on the CPU, where PyTorch has
    no such batch norm.
    """
    if fabric.world_size == 1:
        return network
    if fabric.device.type == "cpu":
        found = "PyTorch has no synchronised batch norm for the CPU"
        raise RuntimeUnavailableError(
            "finetune.sync_batch_norm", found, "train on GPUs, or leave it out"
        )
    converted: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(network)
    return converted


def place_(fabric: Fabric, network: nn.Module, call: Sequence[Any] = ()) -> nn.Module:
    """The network on the engine's device, weights of 2-D convolutions in the memory format that
    trains fastest.

    `call` are the arguments of one call of it. Where the network's code can't follow (`x.view` of a
    map whose channels lie last), its weights stay as they were.

    Source: https://docs.pytorch.org/tutorials/intermediate/memory_format_tutorial.html
    """
    network = fabric.to_device(network)
    before = [
        (parameter, parameter.data) for parameter in network.parameters() if parameter.dim() == 4
    ]
    call = fabric.to_device(tuple(call))
    for parameter, data in before:
        parameter.data = data.contiguous(memory_format=torch.channels_last)
    after = [parameter.data for parameter, _ in before]
    failed = [
        training
        for training in (False, True)
        if call and not _runs(network, call, training=training)
    ]
    if not failed:
        return network
    for parameter, data in before:
        parameter.data = data
    if not any(
        _runs(network, call, training=training) for training in failed
    ):  # whatever the layout
        for (parameter, _), data in zip(before, after, strict=True):
            parameter.data = data
    return network


def _runs(network: nn.Module, call: Sequence[Any], *, training: bool) -> bool:
    """Whether the network's code goes through; it stays as it was."""
    try:
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            set_mode_(duplicate(network), training)(*call)
    except Exception:  # noqa: BLE001 - the network's own code may raise anything
        return False
    return True
