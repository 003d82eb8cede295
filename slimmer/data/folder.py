"""Image files in one folder per class; a test part may also be flat, with a file of its labels."""

import os
from collections.abc import Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch

from slimmer.data.image_files import ImageFiles, readable_only
from slimmer.data.images import Data, Skipped, Wanted
from slimmer.data.label_files import find_labels, read_labels
from slimmer.errors import DataError

# Those of torchvision's ImageFolder.
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".ppm", ".pgm", ".tif", ".tiff")
SIZE = (224, 224)
# Of ImageNet; the grey figures are the means over its channels.
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
GREY_MEAN, GREY_STD = (0.449,), (0.226,)
TRAIN, HELD = ("train", "training"), ("test", "val", "valid", "validation")
_WHAT = (
    "a folder with train/<class>/ and test/<class>/ (or val, valid, validation), or <class>/, "
    f"with {' '.join(SUFFIXES)} files"
)

Listing = dict[str, list[Path]]


def folder(wanted: Wanted) -> Data:
    """Images by class: PATH/train/<class>/ and PATH/test/<class>/, or PATH/<class>/.

    The test part may also be called val, valid or validation, and it may be a flat folder with a
    file of its labels, as ImageNet is shipped (see `label_files`). Class folders may contain
    folders. Labels follow the sorted class names. Without the two parts, a tenth of each class (at
    least one image) becomes the test part, chosen by a hash of the file's name. If several test
    parts contain classes, test/ is used, then val/. An image that already has the requested size is
    used as it is, and a random crop shifts it; otherwise evaluation scales it to cover 256/224 of
    the size and takes the centre, and training takes a random resized crop. EXIF rotation is not
    applied by default, as in torchvision. Raises DataError for anything that is missing, empty or
    inconsistent.
    """
    path = wanted.needed_path("folder", _WHAT)
    train, test, notes = _split(path, wanted.labels)
    parts: list[ImageFiles] = []
    skipped: list[Skipped] = []
    for name, listing in (("train", train), ("test", test)):
        files, broken = _images(listing, wanted, f"{path}, {name}")
        parts.append(files)
        skipped += broken
    return Data(
        name="folder",
        train=parts[0],
        test=parts[1],
        classes=tuple(sorted(train)),
        mean=GREY_MEAN if wanted.grey else MEAN,
        std=GREY_STD if wanted.grey else STD,
        size=wanted.size or SIZE,
        augment="crop_flip",
        notes=notes,
        skipped=tuple(skipped),
    )


def is_folder(path: Path) -> bool:
    """Whether `path` looks like a folder of images by class, even if it has mistakes."""
    return _is_split(path) or any(_has_image(folder) for folder in _folders(path))


def _images(listing: Listing, wanted: Wanted, where: str) -> tuple[ImageFiles, tuple[Skipped, ...]]:
    """The files of a part in the order of their classes, and those that are skipped."""
    files: list[Path] = []
    places: list[int] = []
    for label, name in enumerate(sorted(listing)):
        files += listing[name]
        places += [label] * len(listing[name])
    labels = torch.tensor(places, dtype=torch.int64)
    skipped: tuple[Skipped, ...] = ()
    if wanted.skip_broken:
        files, labels, skipped = readable_only(files, labels, wanted, where)
    size = wanted.size or SIZE
    made = ImageFiles(tuple(files), labels, size, wanted.grey, wanted.exif_rotation, wanted.workers)
    return made, skipped


def _split(path: Path, labels: Path | None) -> tuple[Listing, Listing, tuple[str, ...]]:
    """The training and the test files by class, and notes on the labels of a flat folder."""
    if not _is_split(path):
        return (*_divided(path), ())
    named = [path / name for name in TRAIN if (path / name).is_dir()]
    train = _listing(named[0] if named else path / TRAIN[0])
    held = [path / name for name in HELD if (path / name).is_dir()]
    if labels is None:
        for part in held:
            if train.keys() & {folder.name for folder in _folders(part)}:
                test = _listing(part)
                _check_same(part, train, test)
                return train, test, ()
    for part in held[1:] + held[:1]:  # a flat test/ seldom has labels
        file = labels or find_labels(part)
        if file is not None:
            return train, *read_labels(file, part, _image_files(part), sorted(train))
    for part in held:
        if _folders(part):
            _check_same(part, train, _listing(part))
    found = f"there is train/, but there are no classes in {', '.join(HELD)}"
    right = f"give {_WHAT}; for a flat folder of test images, give its labels with data.labels"
    raise DataError(str(path), found, right)


def _divided(path: Path) -> tuple[Listing, Listing]:
    """The training and the test files by class, for a folder without these two parts."""
    listing = _listing(path)
    lone = [name for name, files in listing.items() if len(files) < 2]
    if lone:
        right = "without train/ and test/, a class needs at least two images"
        raise DataError(str(path), f"only one image in {', '.join(lone[:8])}", right)
    train, test = {}, {}
    for name, files in listing.items():
        held = _held_out(files)
        test[name] = held
        train[name] = sorted(set(files) - set(held))
    return train, test


def _is_split(path: Path) -> bool:
    return any(_folders(path / name) for name in (*TRAIN, *HELD))


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
    """The image files in a folder and in its subfolders, sorted."""
    return list(map(Path, sorted(_found(folder))))  # text sorts much faster than paths


def _found(folder: Path) -> Iterator[str]:
    for root, folders, names in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in (*names, *folders):
            if name.lower().endswith(SUFFIXES) and not name.startswith("."):
                yield os.path.join(root, name)  # noqa: PTH118 - a million paths take seconds


def _has_image(folder: Path) -> bool:
    """Whether an image file lies in the folder itself."""
    return any(entry.suffix.lower() in SUFFIXES for entry in folder.iterdir())


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
