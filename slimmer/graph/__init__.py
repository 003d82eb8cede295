"""Which channels of a network go together, read off its own program."""

from slimmer.graph.channels import Axis, ChannelGraph, ChannelGroup, ChannelSlice, Fixed, Layer, Operation
from slimmer.graph.inputs import Inputs, example_inputs, is_image, own_inputs, shapes
from slimmer.graph.nested import logits, tensors_in
from slimmer.graph.program import evaluating, own_line, place_of, quiet
from slimmer.graph.trace import build_graph

__all__ = [
    "Axis",
    "ChannelGraph",
    "ChannelGroup",
    "ChannelSlice",
    "Fixed",
    "Inputs",
    "Layer",
    "Operation",
    "build_graph",
    "evaluating",
    "example_inputs",
    "is_image",
    "logits",
    "own_inputs",
    "own_line",
    "place_of",
    "quiet",
    "shapes",
    "tensors_in",
]
