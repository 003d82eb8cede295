"""Devices and processes, through Lightning Fabric."""

import logging
import os
from typing import Literal

import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies.ddp import DDPStrategy
from torch import nn

from slimmer.errors import RuntimeUnavailableError

Precision = Literal["auto", "32-true", "bf16-mixed", "16-mixed"]


def make_engine(device: str = "auto", precision: Precision = "auto") -> Fabric:
    """A launched Fabric on `device`: one process, or as many as torchrun started.

    Precision `auto` is bf16 autocast on a GPU that has it and float32 elsewhere: bf16 is slower on a CPU without
    units for it. Raises RuntimeUnavailableError where CUDA is asked for and absent.
    """
    cuda = torch.cuda.is_available()
    if device == "cuda" and not cuda:
        raise RuntimeUnavailableError(
            "device", "cuda was asked for and PyTorch sees no GPU", "use --device cpu or auto"
        )
    accelerator = "cuda" if cuda and device != "cpu" else "cpu"
    if precision == "auto":
        precision = "bf16-mixed" if accelerator == "cuda" and torch.cuda.is_bf16_supported() else "32-true"
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # no banner
    local = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    world = int(os.environ.get("WORLD_SIZE", "1"))
    fabric = Fabric(
        accelerator=accelerator,
        devices=local,
        num_nodes=max(1, world // local),
        precision=precision,
        strategy=DDPStrategy(static_graph=True) if world > 1 else "auto",  # static: layers no image reaches are allowed
    )
    fabric.launch()
    return fabric


def place_(fabric: Fabric, network: nn.Module) -> nn.Module:
    """The network on the engine's device, weights of 2-D convolutions in the memory format that trains fastest.

    Source: https://docs.pytorch.org/tutorials/intermediate/memory_format_tutorial.html
    """
    for parameter in network.parameters():
        if parameter.dim() == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    return fabric.to_device(network)
