"""Find the channel groups of a network by tracing it."""

from slimmer.graph.attributes import find_attributes
from slimmer.graph.calls import Arguments, called, moved, rows
from slimmer.graph.channels import (
    Attribute,
    Axis,
    ChannelGraph,
    ChannelGroup,
    ChannelSlice,
    Fixed,
    Layer,
    Operation,
    Split,
    slim_width,
)
from slimmer.graph.equation import letters_of
from slimmer.graph.inputs import (
    Captured,
    Inputs,
    by_position,
    example_inputs,
    is_image,
    own_inputs,
    several_images,
    shapes,
)
from slimmer.graph.names import is_inside
from slimmer.graph.nested import logits, named_tensors, refilled, tensors_in, top1_hits
from slimmer.graph.parts import Call, Parts, capture, traceable
from slimmer.graph.program import evaluating, following_calls, own_line, place_of, quiet, tracing
from slimmer.graph.trace import build_graph
from slimmer.graph.wrapper import check_is_network

__all__ = [
    "Arguments",
    "Attribute",
    "Axis",
    "Call",
    "Captured",
    "ChannelGraph",
    "ChannelGroup",
    "ChannelSlice",
    "Fixed",
    "Inputs",
    "Layer",
    "Operation",
    "Parts",
    "Split",
    "build_graph",
    "by_position",
    "called",
    "capture",
    "check_is_network",
    "evaluating",
    "example_inputs",
    "find_attributes",
    "following_calls",
    "is_image",
    "is_inside",
    "letters_of",
    "logits",
    "moved",
    "named_tensors",
    "own_inputs",
    "own_line",
    "place_of",
    "quiet",
    "refilled",
    "rows",
    "several_images",
    "shapes",
    "slim_width",
    "tensors_in",
    "top1_hits",
    "traceable",
    "tracing",
]
