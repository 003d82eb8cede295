"""Data of encoded images that lie in containers: tar files or Arrow tables."""

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO

import torch
from PIL import Image
from torch import Tensor

from slimmer.data.decode import BROKEN, ImageBytes
from slimmer.data.folder import GREY_MEAN, GREY_STD, MEAN, SIZE, STD
from slimmer.data.image_files import ImageFiles, readable_only
from slimmer.data.images import Data, Skipped, Wanted

_SAMPLES = 8  # images whose size is looked at


@dataclass(frozen=True)
class EncodedPart:
    """The encoded images of a part, and their labels, int64 (N,)."""

    files: Sequence[ImageBytes]
    labels: Tensor


def encoded_data(
    name: str, train: EncodedPart, test: EncodedPart, classes: tuple[str, ...], wanted: Wanted
) -> Data:
    """The data set of two parts, prepared as those of a folder are.

    The size is the wanted one; else that of the images, if a few samples agree, or 224x224.
    """
    size = wanted.size or _common_size(train.files) or SIZE
    parts: list[ImageFiles] = []
    skipped: list[Skipped] = []
    for part, of in (("train", train), ("test", test)):
        files, labels = of.files, of.labels
        if wanted.skip_broken:
            files, labels, broken = readable_only(files, labels, wanted, f"{name}, {part}")
            skipped += broken
        options = (size, wanted.grey, wanted.exif_rotation, wanted.workers)
        parts.append(ImageFiles(files, labels, *options))
    return Data(
        name=name,
        train=parts[0],
        test=parts[1],
        classes=classes,
        mean=GREY_MEAN if wanted.grey else MEAN,
        std=GREY_STD if wanted.grey else STD,
        size=size,
        augment="crop_flip",
        skipped=tuple(skipped),
    )


def _common_size(files: Sequence[ImageBytes]) -> tuple[int, int] | None:
    """The (height, width) that a few evenly spaced images have; None if they differ."""
    count = min(_SAMPLES, len(files))
    sizes = set()
    for place in torch.linspace(0, len(files) - 1, count, dtype=torch.float64).round().tolist():
        try:
            with Image.open(BytesIO(files[int(place)].read_bytes())) as image:
                sizes.add((image.height, image.width))
        except BROKEN:  # named when it is read
            continue
    return sizes.pop() if len(sizes) == 1 else None
