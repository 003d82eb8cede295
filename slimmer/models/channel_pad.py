"""The shortcut without parameters: subsampled rows and columns, zero channels on both sides."""

from torch import Tensor, nn
from torch.nn.functional import pad


class ChannelPad(nn.Module):
    """Option A of He et al. (2015), section 4.2, with the zeros placed as in
    akamaster/pytorch_resnet_cifar10.

    Input channel k becomes output channel `before` + k; the first `before` and the last `after`
    channels are zero. A slim network uses the same class with other counts.

    >>> import torch
    >>> ChannelPad(before=1, after=2, stride=2)(torch.ones(1, 3, 8, 8)).sum(dim=(2, 3)).tolist()
    [[0.0, 16.0, 16.0, 16.0, 0.0, 0.0]]
    """

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.before = before
        self.after = after
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, before + C + after, ceil(H / stride), ceil(W / stride))."""
        return pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.before, self.after))

    def extra_repr(self) -> str:
        """The text that `print(model)` shows."""
        return f"before={self.before}, after={self.after}, stride={self.stride}"
