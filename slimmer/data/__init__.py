"""Data sets by name, and their batches for training and testing classifiers."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from slimmer.data.batches import Batch, batches, evaluation_batches, steps
from slimmer.data.cifar10 import cifar10, locate
from slimmer.data.digits import digits
from slimmer.data.folder import folder, is_folder
from slimmer.data.images import Data, Images, InMemory, Wanted, check, fingerprint, in_order
from slimmer.data.user_data import from_file, is_reference
from slimmer.errors import DataError
from slimmer.registry import Registry, hint

__all__ = [
    "Batch",
    "Data",
    "Images",
    "InMemory",
    "batches",
    "check",
    "evaluation_batches",
    "fingerprint",
    "guess",
    "load",
    "names",
    "steps",
]

_SOURCES: Registry[Callable[[Wanted], Data]] = Registry("data set", DataError)
_SOURCES.add("digits", digits)
_SOURCES.add("cifar10", cifar10)
_SOURCES.add("folder", folder)


def names() -> tuple[str, ...]:
    """The data sets that have a name; FILE.py:FUNCTION is another way to give one.

    >>> names()
    ('digits', 'cifar10', 'folder')
    """
    return tuple(_SOURCES)


def load(
    name: str,
    *,
    path: str | Path | None = None,
    size: int | tuple[int, int] | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    classes: Sequence[str] | Path | None = None,
    augment: str | None = None,
) -> Data:
    """The data set of that name, or of FILE.py:FUNCTION; what is left out is the data set's own default.

    `size` is a side or (height, width) in pixels; `mean` and `std` are per channel, in units of 0..1, and one
    number each makes a folder's images grey; `classes` is the order of the network's outputs, as names or as
    a file with one name a line. Raises DataError for data that is missing, broken, or not what was asked for.
    """
    sides = (size, size) if isinstance(size, int) else size and (size[0], size[1])
    grey = mean is not None and len(mean) == 1
    wanted = Wanted(None if path is None else Path(path), sides, augment, grey)
    if is_reference(name):
        data = from_file(name, wanted)
    elif name in _SOURCES:
        data = _SOURCES[name](wanted)
    else:
        raise DataError("data", f"{name!r} is not known", f"{hint(name, _SOURCES)}, or FILE.py:FUNCTION")
    if sides is not None and sides != data.size:
        raise DataError(data.name, f"images are {data.size}, not {sides}", f"use size {data.size}, or leave it out")
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
    return data


def guess(path: str | Path) -> str:
    """The name under which `load` reads what lies at `path`: "cifar10", "folder" or FILE.py:FUNCTION.

    The name of data that needs no path is its own. Raises DataError that says what was looked for.
    """
    place = Path(path)
    looked = (
        "looked for CIFAR-10 in the binary layout (data_batch_1.bin), a folder of images by class "
        "(train/<class>/ and test/<class>/, or <class>/), and FILE.py:FUNCTION"
    )
    if is_reference(str(path)):
        return str(path)
    if place.is_dir():
        if locate(place) is not None:
            return "cifar10"
        if is_folder(place):
            return "folder"
        entries = sorted(entry.name for entry in place.iterdir())
        held = f"it holds {', '.join(entries[:8])}" if entries else "it is empty"
        raise DataError(str(path), f"no data that is known; {held}", looked)
    if place.suffix == ".py" and place.is_file():
        raise DataError(str(path), "the function is not named", f"write {path}:FUNCTION")
    if place.exists():
        raise DataError(str(path), "is a file, not a folder; an archive has to be unpacked", looked)
    if str(path) == "digits":
        return "digits"
    raise DataError(str(path), "does not exist", f"{looked}; or the name 'digits'")


def _class_names(classes: Sequence[str] | str | Path) -> tuple[str, ...]:
    if not isinstance(classes, str | Path):
        return tuple(classes)
    try:
        lines = Path(classes).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(str(classes), f"can't be read ({error})", "a text file with one class name a line") from error
    return tuple(line.strip() for line in lines if line.strip())
