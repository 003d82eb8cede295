"""Data sets by name, and their batches for training and testing classifiers."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from slimmer.data.batches import Batch, batches, evaluation_batches, steps
from slimmer.data.check_data import check
from slimmer.data.images import Data, Images, InMemory, Wanted, fingerprint, in_order
from slimmer.data.processes import in_processes
from slimmer.data.sources import SOURCES, DataSource, check_path, guess, source_of
from slimmer.data.transforms import Spec, transformed
from slimmer.data.user_data import from_value
from slimmer.errors import DataError

__all__ = [
    "Batch",
    "Data",
    "DataSource",
    "Images",
    "InMemory",
    "Wanted",
    "batches",
    "check",
    "evaluation_batches",
    "fingerprint",
    "guess",
    "load",
    "names",
    "steps",
]


def names() -> tuple[str, ...]:
    """The names of data sets; data can also be given as FILE.py:FUNCTION.

    >>> names()[:3]
    ('digits', 'cifar10', 'cifar100')
    """
    return tuple(SOURCES)


def load(
    name: str,
    *,
    path: str | Path | None = None,
    size: int | tuple[int, int] | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    classes: Sequence[str] | Path | None = None,
    augment: str | None = None,
    labels: str | Path | None = None,
    workers: int | None = None,
    skip_broken: bool = False,
    exif_rotation: bool = False,
    transforms: Sequence[Spec] = (),
) -> Data:
    """The data set of that name, or of FILE.py:FUNCTION; arguments that are left out have the data
    set's own defaults.

    `size` is a side or (height, width) in pixels; `mean` and `std` are per channel, in units of
    0..1, and one number each makes a folder's images grey; `classes` is the order of the network's
    outputs, as names or as a file with one name per line. `labels` is a file with the labels of a
    flat folder of test images. `workers` is the number of threads that read image files, or of
    processes for a torch Dataset. Image files that can't be read are left out with `skip_broken`,
    and rotated with `exif_rotation`. `transforms` are names of torchvision.transforms.v2, for
    training images. Raises DataError for data that is missing, broken, or does not match the
    arguments.
    """
    sides = (size, size) if isinstance(size, int) else size and (size[0], size[1])
    grey = mean is not None and len(mean) == 1
    wanted = Wanted(
        None if path is None else Path(path),
        sides,
        augment,
        grey,
        labels=None if labels is None else Path(labels),
        workers=workers,
        skip_broken=skip_broken,
        exif_rotation=exif_rotation,
    )
    source = source_of(name)
    check_path(source, wanted)
    data = from_value(name, source.load(wanted), wanted)
    _check_size(data, sides)
    order = data.classes if classes is None else _class_names(classes)
    train, test = (data.train, data.test) if order == data.classes else in_order(data, order)
    data = replace(
        data,
        train=train,
        test=test,
        classes=order,
        mean=data.mean if mean is None else tuple(mean),
        std=data.std if std is None else tuple(std),
        augment=data.augment if augment is None else augment,
    )
    check(data)
    if transforms:
        return transformed(data, transforms, workers)
    if data.augment == "transforms" and in_processes(data.train) is None:
        raise DataError(data.name, "augment is 'transforms'", "give data.transforms")
    return data


def _check_size(data: Data, sides: tuple[int, int] | None) -> None:
    if sides is not None and sides != data.size:
        found = f"images are {data.size}, not {sides}"
        raise DataError(data.name, found, f"use size {data.size}, or leave it out")


def _class_names(classes: Sequence[str] | str | Path) -> tuple[str, ...]:
    if not isinstance(classes, str | Path):
        return tuple(classes)
    try:
        lines = Path(classes).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        right = "give a text file with one class name per line"
        raise DataError(str(classes), f"can't be read ({error})", right) from error
    return tuple(line.strip() for line in lines if line.strip())
