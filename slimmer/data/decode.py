"""Decoding one image file of any mode into 8-bit RGB or grey."""

import struct
from collections.abc import Callable
from io import BytesIO
from typing import Protocol

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from slimmer.errors import DataError

_ORIENTATION = 0x0112  # the EXIF tag; 1 is upright
_GAP = 2  # a JPEG is decoded at no less than twice the size that it is resized to
# The exceptions that Pillow raises for broken files, depending on the format.
BROKEN = (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError)


class ImageBytes(Protocol):
    """An encoded image, such as the `Path` of a file; `str` of it names it in messages."""

    def read_bytes(self) -> bytes:
        """The content of the file."""
        ...


def decoded(
    file: ImageBytes,
    mode: str,
    *,
    upright: bool = False,
    resized: Callable[[int, int], tuple[float, float]] | None = None,
) -> tuple[Image.Image, tuple[int, int]]:
    """The image in `mode` ("RGB" or "L"), and its own (width, height).

    Images of 16 bits are divided by 257. With `upright`, the rotation in the EXIF data is applied.
    `resized` maps the image's own width and height to those that it will be resized to; a JPEG that
    is much larger is then decoded at a half, a quarter or an eighth of its size, which is faster.
    Raises DataError with the name of a file that can't be read.
    """
    try:
        with Image.open(BytesIO(file.read_bytes())) as image:
            turned = upright and image.getexif().get(_ORIENTATION, 1) != 1
            size = image.size
            if resized is not None and image.format == "JPEG" and not turned:
                wide, high = resized(*size)
                image.draft(None, (int(_GAP * wide), int(_GAP * high)))
            image.load()
            plain = _eight_bits(image, str(file)) if image.mode.startswith(("I", "F")) else image
            if turned:
                plain = ImageOps.exif_transpose(plain)
                size = plain.size
            return _converted(plain, mode), size
    except BROKEN as error:
        found = f"can't be read as an image ({_fault(error)})"
        right = "repair or remove the file, or set data.skip_broken=true to leave such files out"
        raise DataError(str(file), found, right) from error


def _fault(error: Exception) -> str:
    """What Pillow says of a file, without the memory address that it may name."""
    said = "cannot identify image file" if isinstance(error, UnidentifiedImageError) else error
    return f"{type(error).__name__}: {said}"


def _converted(image: Image.Image, mode: str) -> Image.Image:
    if image.mode == mode:
        return image
    if "transparency" in image.info and image.mode != "RGBA":
        # Pillow warns about a palette's transparency unless it is converted through RGBA.
        image = image.convert("RGBA")
    return image.convert(mode)


def _eight_bits(image: Image.Image, where: str) -> Image.Image:
    """A grey image of 16 bits with 8 bits; Pillow's own conversion clips it at 255."""
    if not image.mode.startswith("I;16") and (image.mode, image.format) != ("I", "PPM"):
        right = "convert the image to 8 or 16 bits per channel"
        raise DataError(where, f"has pixels of mode {image.mode}", right)
    pixels = np.asarray(image).astype(np.uint32)
    made = Image.fromarray(((pixels + 128) // 257).astype(np.uint8))
    made.info.update(image.info)
    return made
