"""Tasks: what a network is trained for, and how it is measured."""

from slimmer.tasks.classification import classification
from slimmer.tasks.distill import distance
from slimmer.tasks.epochs import Epoch, Epochs
from slimmer.tasks.measure import accumulated
from slimmer.tasks.task import MetricKind, Task

__all__ = [
    "Epoch",
    "Epochs",
    "MetricKind",
    "Task",
    "accumulated",
    "classification",
    "distance",
]
