"""The part of an image that a network sees: the centre in evaluation, a random crop in training."""

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from slimmer.data.augment import margin
from slimmer.data.decode import ImageBytes, decoded

Box = tuple[int, int, int, int]  # left, top, right, bottom in pixels


def view(
    file: ImageBytes,
    size: tuple[int, int],
    crop: Sequence[float] | None,
    *,
    grey: bool = False,
    upright: bool = False,
) -> NDArray[np.uint8]:
    """The pixels (H, W, C) of an image file at `size` (H, W), C is 3 or with `grey` 1.

    An image that already has that size is used as it is, and a crop shifts it. Otherwise, without
    `crop`, the image is scaled to cover 256/224 of the size and its centre is taken; with `crop`,
    four numbers in [0, 1), a random part is resized. Raises DataError for a file that can't be
    read.
    """
    mode = "L" if grey else "RGB"
    image, own = decoded(file, mode, upright=upright, resized=_resized(size, crop))
    return fitted(image, own, size, crop)


def fitted(
    image: Image.Image, own: tuple[int, int], size: tuple[int, int], crop: Sequence[float] | None
) -> NDArray[np.uint8]:
    """The pixels (H, W, C) of an image at `size`, see `view`; `own` is the (width, height) of the
    file that it was decoded from.
    """
    seen = _centre(image, own, size) if crop is None else _random_part(image, own, size, crop)
    return np.asarray(seen).reshape(*size, -1)


def _resized(
    size: tuple[int, int], crop: Sequence[float] | None
) -> Callable[[int, int], tuple[float, float]]:
    """The function from an image's width and height to those that it is resized to."""

    def resized(width: int, height: int) -> tuple[float, float]:
        if (height, width) == size:
            return width, height
        if crop is None:
            return _covering(width, height, size)
        left, top, right, bottom = random_box(width, height, crop)
        return width * size[1] / (right - left), height * size[0] / (bottom - top)

    return resized


def _covering(width: int, height: int, size: tuple[int, int]) -> tuple[int, int]:
    """The width and height of an image that is scaled to cover 256/224 of `size`."""
    scale = max(size[0] / height, size[1] / width) * 256 / 224
    # Rounding must not make the image smaller than the crop.
    return max(size[1], round(width * scale)), max(size[0], round(height * scale))


def _centre(image: Image.Image, own: tuple[int, int], size: tuple[int, int]) -> Image.Image:
    height, width = size
    if own == (width, height):
        return image
    wide, high = _covering(*own, size)
    left, top = (wide - width) // 2, (high - height) // 2
    larger = image.resize((wide, high), Image.Resampling.BILINEAR)
    return larger.crop((left, top, left + width, top + height))


def random_box(width: int, height: int, crop: Sequence[float]) -> Box:
    """A random part of an image: 8 to 100 % of its area, sides 3:4 to 4:3 (Szegedy et al., 2015).

    Sides that don't fit are clipped to the image instead of drawn again, so that four random
    numbers are always enough.

    >>> random_box(400, 300, (0.0, 0.0, 0.5, 0.5))
    (0, 0, 255, 255)
    """
    area = width * height * (0.08 + 0.92 * crop[2])
    ratio = math.exp((2 * crop[3] - 1) * math.log(4 / 3))
    wide = min(width, max(1, round(math.sqrt(area * ratio))))
    high = min(height, max(1, round(math.sqrt(area / ratio))))
    top, left = int(crop[0] * (height - high + 1)), int(crop[1] * (width - wide + 1))
    return left, top, left + wide, top + high


def _random_part(
    image: Image.Image, own: tuple[int, int], size: tuple[int, int], crop: Sequence[float]
) -> Image.Image:
    height, width = size
    if own == (width, height):
        rows, columns = margin(size)
        top = int(crop[0] * (2 * rows + 1)) - rows
        left = int(crop[1] * (2 * columns + 1)) - columns
        return image.crop((left, top, left + width, top + height))
    left, top, right, bottom = random_box(*own, crop)
    if image.size == own:
        part = image.crop((left, top, right, bottom))
        return part.resize((width, height), Image.Resampling.BILINEAR)
    across, down = image.width / own[0], image.height / own[1]
    box = (left * across, top * down, right * across, bottom * down)
    return image.resize((width, height), Image.Resampling.BILINEAR, box=box)
