"""Random augmentation of training images, each a function of only the seed, epoch and image."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

# "transforms" stands for no other change than those of data.transforms or of the user's Dataset.
MODES = ("none", "crop", "flip", "crop_flip", "transforms")

# The columns of an image's random numbers: its place in the epoch, its crop (top, left, area,
# ratio), its flip, the seed of its other random changes.
PLACE, CROP, FLIP, SEED, DRAWS = 0, slice(1, 5), 5, 6, 7

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def draws(seed: int, epoch: int, indices: Tensor, columns: int = DRAWS) -> Tensor:
    """Uniform numbers in [0, 1), float64 (B, columns); those of an image do not depend on its place
    in a batch.

    A counter-based generator: SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number
    Generators, OOPSLA 2014) over (seed, epoch, index, column), so that no state has to be kept,
    split or resumed.

    >>> both = draws(0, 3, torch.tensor([7, 9]))
    >>> bool((both[1] == draws(0, 3, torch.tensor([9]))[0]).all())
    True
    """
    key = _mixed(_words([seed]))
    key = _mixed(key + _words([epoch]))
    rows = _mixed(key + indices.numpy().astype(np.uint64) * _GOLDEN)
    words = _mixed(rows[:, None] + np.arange(columns, dtype=np.uint64) * _GOLDEN)
    return torch.from_numpy((words >> np.uint64(11)) * 2.0**-53)


def _words(values: Sequence[int]) -> NDArray[np.uint64]:
    return np.array([value % 2**64 for value in values], dtype=np.uint64)


def _mixed(words: NDArray[np.uint64]) -> NDArray[np.uint64]:
    words = words + _GOLDEN
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: NDArray[np.uint64] = words ^ (words >> np.uint64(31))
    return mixed


def margin(size: tuple[int, int]) -> tuple[int, int]:
    """The padding of a random crop, (rows, columns): an eighth of the size, as 4 for 32x32.

    >>> margin((32, 32)), margin((4, 16))
    ((4, 4), (1, 2))
    """
    return max(1, size[0] // 8), max(1, size[1] // 8)


def shifted(images: Tensor, crops: Tensor, fill: int = 0) -> Tensor:
    """The images (B, C, H, W), each padded with `fill` by `margin` and cropped back to its size.

    `crops` (B, 4) are uniform draws; the first two choose the top and the left edge.
    """
    height, width = images.shape[2:]
    rows, columns = margin((height, width))
    padded = functional.pad(images, (columns, columns, rows, rows), value=fill)
    windows = padded.unfold(2, height, 1).unfold(3, width, 1)
    crops = crops.to(images.device)
    top = (crops[:, 0] * (2 * rows + 1)).long()
    left = (crops[:, 1] * (2 * columns + 1)).long()
    return windows[torch.arange(len(images), device=images.device), :, top, left]


def flipped(images: Tensor, flips: Tensor) -> Tensor:
    """The images (B, C, H, W), mirrored left to right where the draw in `flips` (B,) is below one
    half.
    """
    chosen = flips < 0.5
    if images.device.type != "cpu":
        return torch.where(chosen.to(images.device)[:, None, None, None], images.flip(-1), images)
    mirrored = images.clone()
    for place in chosen.nonzero().flatten().tolist():
        mirrored[place] = images[place].flip(-1)
    return mirrored


def normalised(images: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """(images / 255 - mean) / std as float32, per channel; float images are not divided by 255."""
    # One new tensor, changed in place: on a CPU, most of the time is spent on new memory.
    units = images.to(torch.float32, copy=True, memory_format=torch.contiguous_format)
    if images.dtype == torch.uint8:
        # The divisor is a tensor on the same device: for a plain number CUDA multiplies by the
        # reciprocal, which rounds differently.
        units.div_(torch.full((), 255.0, dtype=torch.float32, device=images.device))
    shift = torch.tensor(mean, dtype=torch.float32, device=images.device)[:, None, None]
    scale = torch.tensor(std, dtype=torch.float32, device=images.device)[:, None, None]
    return units.sub_(shift).div_(scale)
