"""Copies: what a module holds of itself (a forward assigned to it, a hook) is the copy's own
afterwards.
"""

import functools

import pytest
import torch
from by_hand import assert_slim_is_masked
from torch import nn

import slimmer
from slimmer.costs.flops import count_by_module
from slimmer.graph import build_graph
from slimmer.models.copying import duplicate

SIZE = (3, 12, 12)


class Block(nn.Module):
    """A convolution and an activation that other blocks hold too."""

    def __init__(self, entering, leaving, act):
        super().__init__()
        self.conv = nn.Conv2d(entering, leaving, 3, padding=1)
        self.act = act

    def forward(self, x):
        raise AssertionError("replaced on the instance")

    def forward_fuse(self, x):
        return self.act(self.conv(x))


def as_method(block):
    block.forward = block.forward_fuse


def as_partial(block):
    block.forward = functools.partial(block.forward_fuse)


def as_closure(block):
    block.forward = lambda x: block.act(block.conv(x))


def as_wrapper(block):
    inner = block.forward_fuse

    @functools.wraps(inner)
    def forward(x):
        return inner(x)

    block.forward = forward


def as_partial_of_function(block):
    block.forward = functools.partial(lambda own, x: own.act(own.conv(x)), block)


def as_hooks(block):
    """The block passes on what enters it; hooks do the work."""
    block.forward = functools.partial(lambda x: x)
    block.register_forward_pre_hook(lambda module, x: (block.conv(x[0]),))
    block.register_forward_hook(functools.partial(lambda own, module, x, y: own.act(y), block))


HELD = (as_method, as_partial, as_closure, as_wrapper, as_partial_of_function, as_hooks)


@pytest.fixture(params=HELD)
def dense(request):
    """Three blocks that share one activation, as ultralytics' `fuse()` leaves them."""
    torch.manual_seed(0)
    act = nn.SiLU()
    blocks = [Block(3, 16, act), Block(16, 16, act), Block(16, 24, act)]
    for block in blocks:
        request.param(block)
    return nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(24, 5)).eval()


def test_a_copy_runs_its_own_weights_and_never_the_given_ones(dense):
    image = torch.randn(2, *SIZE)
    before = dense(image)
    copy = duplicate(dense)
    assert torch.equal(copy(image), before)
    with torch.no_grad():
        for parameter in copy.parameters():
            parameter.zero_()
    assert torch.equal(copy(image), torch.zeros(2, 5))
    assert torch.equal(dense(image), before)


def test_operations_are_booked_to_the_module_that_they_are_in(dense):
    """The graph's places are fvcore's, module by module; fvcore tells them by hooks of its own."""
    graph = build_graph(dense, SIZE)
    convolutions = {(each.module, each.kind) for each in graph.operations if each.kind == "conv"}
    assert convolutions == {("0.conv", "conv"), ("1.conv", "conv"), ("2.conv", "conv")}
    assert convolutions < count_by_module(dense, SIZE).keys()


def test_half_the_flops_are_reached_and_the_slim_network_is_the_masked_one(dense):
    assert_slim_is_masked(
        slimmer.prune(dense, flops=0.5, input_size=SIZE), dense, torch.randn(2, *SIZE)
    )


def test_a_function_that_holds_itself_is_copied():
    module = nn.ReLU()

    def again(x, times=2):
        return module.inner(x) if not times else again(x, times - 1)

    module.inner = nn.Linear(2, 3)
    module.forward = again
    copy = duplicate(module)
    copy.inner.weight.data.zero_()
    copy.inner.bias.data.zero_()
    assert torch.equal(copy(torch.ones(1, 2)), torch.zeros(1, 3))
