"""Image files in one folder per class."""

import math
import os
import struct
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from slimmer.data.augment import margin
from slimmer.data.images import Data, Wanted
from slimmer.errors import DataError

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")
SIZE = (224, 224)
# Of ImageNet; the grey figures are the means over its channels.
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
GREY_MEAN, GREY_STD = (0.449,), (0.226,)
_WHAT = (
    "a folder with train/<class>/ and test/<class>/ (or val/<class>/), or <class>/, "
    f"with {' '.join(SUFFIXES)} files"
)
# The exceptions that Pillow raises for broken files, depending on the format.
_BROKEN = (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError)

Listing = dict[str, list[Path]]


@dataclass(frozen=True)
class ImageFiles:
    """Images that are decoded on loading, in several threads."""

    files: tuple[Path, ...]
    labels: Tensor
    size: tuple[int, int]
    grey: bool
    ahead: int = 2

    def __len__(self) -> int:
        return len(self.files)

    def load(self, indices: Tensor, crops: Tensor | None = None) -> Tensor:
        """The images at `indices`; see `Images.load`. Raises DataError with the name of a file that
        can't be read.
        """
        files = [self.files[index] for index in indices.tolist()]
        drawn = [None] * len(files) if crops is None else crops.tolist()
        # Pillow lets other threads run while it decodes and resizes.
        with ThreadPoolExecutor(max_workers=min(16, os.cpu_count() or 1)) as pool:
            views = list(pool.map(self._view, files, drawn))
        return torch.from_numpy(np.stack(views)).permute(0, 3, 1, 2).contiguous()

    def _view(self, file: Path, crop: list[float] | None) -> NDArray[np.uint8]:
        image = _decoded(file, "L" if self.grey else "RGB")
        seen = _centre(image, self.size) if crop is None else _random_crop(image, self.size, crop)
        return np.asarray(seen).reshape(*self.size, -1)


def folder(wanted: Wanted) -> Data:
    """Images by class: PATH/train/<class>/ and PATH/test/<class>/ (or val), or PATH/<class>/.

    Labels follow the sorted class names. Without the two parts, a tenth of each class (at least one
    image) becomes the test part, chosen by a hash of the file's name. If test/ and val/ both
    contain classes, test/ is used. An image that already has the requested size is used as it is,
    and a random crop shifts it; otherwise evaluation scales it to cover 256/224 of the size and
    takes the centre, and training takes a random resized crop. EXIF rotation is not applied, as in
    torchvision. Raises DataError for anything that is missing, empty or inconsistent.
    """
    path = wanted.needed_path("folder", _WHAT)
    train, test = _split(path)
    classes = tuple(sorted(train))
    size = wanted.size or SIZE
    return Data(
        name="folder",
        train=_images(train, size, wanted.grey),
        test=_images(test, size, wanted.grey),
        classes=classes,
        mean=GREY_MEAN if wanted.grey else MEAN,
        std=GREY_STD if wanted.grey else STD,
        size=size,
        augment="crop_flip",
    )


def is_folder(path: Path) -> bool:
    """Whether `path` looks like a folder of images by class, even if it has mistakes."""
    return _is_split(path) or any(map(_image_files, _folders(path)))


def _images(listing: Listing, size: tuple[int, int], grey: bool) -> ImageFiles:
    files: list[Path] = []
    labels: list[int] = []
    for label, name in enumerate(sorted(listing)):
        files += listing[name]
        labels += [label] * len(listing[name])
    return ImageFiles(tuple(files), torch.tensor(labels, dtype=torch.int64), size, grey)


def _split(path: Path) -> tuple[Listing, Listing]:
    """The training and the test files by class."""
    if not _is_split(path):
        return _divided(path)
    train = _listing(path / "train")
    held = [path / name for name in ("test", "val") if _folders(path / name)]
    if not held:
        found = "there is train/, but there are no classes in test/ or val/"
        raise DataError(str(path), found, f"give {_WHAT}")
    test = _listing(held[0])
    _check_same(held[0], train, test)
    return train, test


def _divided(path: Path) -> tuple[Listing, Listing]:
    """The training and the test files by class, for a folder without these two parts."""
    listing = _listing(path)
    lone = [name for name, files in listing.items() if len(files) < 2]
    if lone:
        right = "without train/ and test/, a class needs at least two images"
        raise DataError(str(path), f"only one image in {', '.join(lone[:8])}", right)
    train, test = {}, {}
    for name, files in listing.items():
        test[name] = _held_out(files)
        train[name] = [file for file in files if file not in test[name]]
    return train, test


def _is_split(path: Path) -> bool:
    return any(_folders(path / name) for name in ("train", "test", "val"))


def _listing(root: Path) -> Listing:
    listing = {folder.name: _image_files(folder) for folder in _folders(root)}
    if not any(listing.values()):
        raise DataError(str(root), "there are no images in folders by class", f"give {_WHAT}")
    empty = [name for name, files in listing.items() if not files]
    if empty:
        found = f"no image in {len(empty)} class folders: {', '.join(empty[:8])}"
        raise DataError(str(root), found, f"fill them ({' '.join(SUFFIXES)}) or remove them")
    if len(listing) < 2:
        found = f"only one class: {next(iter(listing))}"
        raise DataError(str(root), found, "a classifier needs at least two")
    return listing


def _folders(root: Path) -> list[Path]:
    if not root.is_dir():
        return []
    visible = [entry for entry in root.iterdir() if not entry.name.startswith(".")]
    return sorted(filter(Path.is_dir, visible))


def _image_files(folder: Path) -> list[Path]:
    files = (entry for entry in folder.iterdir() if entry.suffix.lower() in SUFFIXES)
    return sorted(file for file in files if not file.name.startswith("."))


def _held_out(files: list[Path]) -> list[Path]:
    by_hash = sorted(
        files, key=lambda file: sha256(file.name.encode("utf-8", "surrogateescape")).digest()
    )
    return sorted(by_hash[: max(1, round(len(files) / 10))])


def _check_same(held: Path, train: Mapping[str, Any], test: Mapping[str, Any]) -> None:
    missing, foreign = sorted(train.keys() - test.keys()), sorted(test.keys() - train.keys())
    if missing or foreign:
        found = f"classes in train/ only: {missing[:8]}; in {held.name}/ only: {foreign[:8]}"
        raise DataError(str(held), found, "both parts need the same class folders")


def _decoded(file: Path, mode: str) -> Image.Image:
    try:
        with Image.open(file) as image:
            image.load()
            if image.mode.startswith(("I", "F")):
                right = "convert the image to 8 bits per channel"
                raise DataError(str(file), f"has pixels of mode {image.mode}", right)
            # Pillow warns about a palette's transparency unless it is converted through RGBA.
            opaque = image.convert("RGBA") if "transparency" in image.info else image
            return opaque.convert(mode)
    except _BROKEN as error:
        found = f"can't be read as an image ({type(error).__name__}: {error})"
        raise DataError(str(file), found, "repair or remove the file") from error


def _centre(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    height, width = size
    if image.size == (width, height):
        return image
    scale = max(height / image.height, width / image.width) * 256 / 224
    # Rounding must not make the image smaller than the crop.
    wide, high = max(width, round(image.width * scale)), max(height, round(image.height * scale))
    left, top = (wide - width) // 2, (high - height) // 2
    larger = image.resize((wide, high), Image.Resampling.BILINEAR)
    return larger.crop((left, top, left + width, top + height))


def _random_crop(image: Image.Image, size: tuple[int, int], crop: list[float]) -> Image.Image:
    """A random part of the image: 8 to 100 % of its area, sides 3:4 to 4:3 (Szegedy et al., 2015),
    resized.

    Sides that don't fit are clipped to the image instead of drawn again, so that four random
    numbers are always enough.
    """
    height, width = size
    if image.size == (width, height):
        rows, columns = margin(size)
        top = int(crop[0] * (2 * rows + 1)) - rows
        left = int(crop[1] * (2 * columns + 1)) - columns
        return image.crop((left, top, left + width, top + height))
    area = image.width * image.height * (0.08 + 0.92 * crop[2])
    ratio = math.exp((2 * crop[3] - 1) * math.log(4 / 3))
    wide = min(image.width, max(1, round(math.sqrt(area * ratio))))
    high = min(image.height, max(1, round(math.sqrt(area / ratio))))
    top, left = int(crop[0] * (image.height - high + 1)), int(crop[1] * (image.width - wide + 1))
    part = image.crop((left, top, left + wide, top + high))
    return part.resize((width, height), Image.Resampling.BILINEAR)
