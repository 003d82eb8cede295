"""Random images for the zoo's networks."""

import torch
import zoo

from slimmer.data import Data, InMemory


def noise():
    """32 random images of three classes: 4 batches of 8 an epoch."""
    generator = torch.Generator().manual_seed(0)
    split = InMemory(torch.rand(32, *zoo.SIZE, generator=generator), torch.arange(32) % 3)
    return Data("noise", split, split, ("a", "b", "c"), (0.5,) * 3, (0.25,) * 3, zoo.SIZE[1:])
