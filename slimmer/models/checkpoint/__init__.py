"""Reading and writing weights; code in a file is never run."""

from slimmer.models.checkpoint.saved import load_weights_, read_metadata, save_weights
from slimmer.models.checkpoint.weights import Held, read_entry, read_weights

__all__ = ["Held", "load_weights_", "read_entry", "read_metadata", "read_weights", "save_weights"]
