"""A masked network by plain PyTorch: the weights that read what a plan removes are set to zero,
nothing else.
"""

import torch


def mask_(dense, plan):
    """Set to zero what reads the channels that `plan` removes; axis 1 is the one that reads, but
    transposed.
    """
    tensors = dict(dense.named_parameters())
    for axis, positions in plan.removed().items():
        if axis.dim == 1 and axis.tensor in tensors:
            tensors[axis.tensor].data.index_fill_(1, torch.tensor(positions), 0)


def assert_slim_is_masked(result, dense, *inputs):
    """The slim network of a result without training is the masked dense one, and at most half of it
    remains.

    Both are float64 afterwards, and the dense one is masked.
    """
    assert 0.45 < result.report["flops"]["ratio"] <= 0.5
    assert sum(map(len, result.plan.removed().values())) > 8
    inputs = [value.double() for value in inputs]
    dense, slim = dense.double().eval(), result.model.double()
    with torch.no_grad():
        whole = dense(*inputs)
        mask_(dense, result.plan)
        wanted = dense(*inputs)
        torch.testing.assert_close(slim(*inputs), wanted, rtol=1e-9, atol=1e-9)
    assert not torch.allclose(whole, wanted, rtol=1e-3)  # something went
