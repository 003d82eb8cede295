"""The handwritten digits that come with scikit-learn: no file and no download is needed."""

import torch
from torch import Tensor
from torch.nn import functional

from slimmer.data.images import Data, InMemory, Wanted
from slimmer.errors import DataError

SIZE = (16, 16)
# Of the training images at 16x16.
MEAN, STD = (0.3052,), (0.3191,)


def digits(wanted: Wanted) -> Data:
    """1,797 grey digits, enlarged from 8x8 to 16x16 or the requested size; every fifth is a test
    image.

    Raises DataError for a size below 8x8, and for an augmentation that mirrors images.
    Source: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits (UCI, 1998).
    """
    from sklearn.datasets import load_digits  # noqa: PLC0415 - a second to import

    size = wanted.size or SIZE
    if min(size) < 8:
        raise DataError("digits", f"size {size}", "use at least 8x8")
    if wanted.augment is not None and "flip" in wanted.augment:
        right = "use 'none' or 'crop'; a mirrored digit is not a digit"
        raise DataError("digits", f"augment {wanted.augment!r}", right)
    bunch = load_digits()
    images = _enlarged(torch.from_numpy(bunch.images), size)
    labels = torch.from_numpy(bunch.target).long()
    test = torch.arange(len(labels)) % 5 == 0
    return Data(
        name="digits",
        train=InMemory(images[~test], labels[~test]),
        test=InMemory(images[test], labels[test]),
        classes=tuple(str(digit) for digit in range(10)),
        mean=MEAN,
        std=STD,
        size=size,
    )


def _enlarged(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Greys of 0..16, (N, 8, 8), as uint8 (N, 1, H, W)."""
    grey = images[:, None].float() * (255 / 16)
    return (
        functional.interpolate(grey, size=size, mode="bilinear", align_corners=False)
        .round()
        .to(torch.uint8)
    )
