"""A short training of the zoo's networks, which tests change in what they are about."""

from slimmer.training.schedule import Training

PLAIN = {
    "epochs": 2,
    "batch_size": 8,
    "lr": 0.1,
    "momentum": 0.9,
    "weight_decay": 1e-2,
    "warmup": 0.0,
    "distill": 0.5,
    "temperature": 2.0,
    "seed": 3,
    "mask_lr": 0.05,
}


def training(**changes):
    return Training(**{**PLAIN, **changes})
