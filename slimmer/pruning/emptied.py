"""Layers that lose all inputs or all outputs, which PyTorch can't run: what takes their place."""

from collections.abc import Mapping, Sequence

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd

OUT, ENTERING = "weight.0", "weight.1"


class Emptied(nn.Module):
    """A convolution or linear layer without inputs or outputs: it returns its bias, or zeros.

    >>> import torch
    >>> layer = Emptied(nn.Conv2d(4, 2, 3, stride=2), [0, 1])
    >>> layer(torch.zeros(1, 0, 9, 9)).shape
    torch.Size([1, 2, 4, 4])
    """

    bias: nn.Parameter | None

    def __init__(self, layer: _ConvNd | nn.Linear, kept: Sequence[int]) -> None:
        """`kept` are the outputs that are left."""
        super().__init__()
        self.channels = len(kept)
        bias = None if layer.bias is None or not kept else nn.Parameter(layer.bias.data[list(kept)])
        self.register_parameter("bias", bias)
        self.windows: tuple[tuple[int, ...], ...] = ()
        self.padding: str | Sequence[int] = "same"
        if isinstance(layer, _ConvNd):
            self.windows = layer.kernel_size, layer.stride, layer.dilation
            self.padding = layer.padding
        self.train(layer.training)

    def extra_repr(self) -> str:
        """The number of outputs."""
        return f"channels={self.channels}"

    def forward(self, x: Tensor) -> Tensor:
        """(N, 0, H, W) -> (N, channels, H', W'), or (N, ..., 0) -> (N, ..., channels)."""
        if not self.windows:
            made = x.new_zeros((*x.shape[:-1], self.channels))
            return made if self.bias is None else made + self.bias
        sizes = self._sizes(x.shape[2:])
        made = x.new_zeros((x.shape[0], self.channels, *sizes))
        return made if self.bias is None else made + self.bias.view(-1, *[1] * len(sizes))

    def _sizes(self, given: Sequence[int]) -> list[int]:
        """The height and width of the output."""
        if self.padding == "same":
            return list(given)
        padding = [0] * len(given) if self.padding == "valid" else self.padding
        found = []
        for size, edge, kernel, stride, dilation in zip(given, padding, *self.windows, strict=True):
            found.append((size + 2 * int(edge) - dilation * (kernel - 1) - 1) // stride + 1)
        return found


def emptied(layer: nn.Module, gone: Mapping[str, Sequence[int]]) -> nn.Module | None:
    """What takes the place of a layer that loses the positions `gone` of its axes; None if it keeps
    inputs and outputs.
    """
    if isinstance(layer, _NormBase | nn.GroupNorm):
        lost = max(map(len, gone.values()), default=0)
        own = layer.num_channels if isinstance(layer, nn.GroupNorm) else layer.num_features
        return nn.Identity() if lost == own else None
    if not isinstance(layer, _ConvNd | nn.Linear) or getattr(layer, "transposed", False):
        return None
    made, entering = layer.weight.shape[:2]
    kept = sorted(set(range(made)).difference(gone.get(OUT, ())))
    if kept and len(gone.get(ENTERING, ())) < entering:
        return None
    return Emptied(layer, kept)
