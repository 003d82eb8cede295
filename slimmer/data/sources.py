"""Data sources: chosen by name, by the files at a path, or as FILE.py:FUNCTION."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from slimmer.data.cifar import CIFAR10, CIFAR100, is_cifar, load_cifar
from slimmer.data.digits import digits
from slimmer.data.folder import folder, is_folder
from slimmer.data.hugging_face import hugging_face, is_hugging_face
from slimmer.data.images import Wanted
from slimmer.data.shards import is_webdataset, webdataset
from slimmer.data.user_data import from_file, is_reference
from slimmer.errors import DataError, first_line
from slimmer.registry import Registry, hint


def recognises_nothing(_path: Path) -> bool:
    """False: the default of sources that can only be chosen by name."""
    return False


@dataclass(frozen=True)
class DataSource:
    """A data source: its name in recipes and the function that loads the data.

    `label` describes in messages what is at its path. `load` returns `Data`, or anything that a
    user's data function may return. `needs_path` is False for data that need only their name.
    `recognises` tells whether an existing path contains such data, for when only a path is given.
    """

    name: str
    label: str
    load: Callable[[Wanted], Any]
    needs_path: bool = True
    recognises: Callable[[Path], bool] = recognises_nothing


def _is_image_folder(path: Path) -> bool:
    return path.is_dir() and is_folder(path)


SOURCES: Registry[DataSource] = Registry(
    "data set", DataError, entry_points="slimmer.data", kind=DataSource
)
for _entry in (
    DataSource("digits", "the set of scikit-learn's digits", digits, needs_path=False),
    DataSource(
        "cifar10",
        "CIFAR-10 (data_batch_1.bin, or torchvision's data_batch_1)",
        partial(load_cifar, CIFAR10),
        recognises=partial(is_cifar, CIFAR10),
    ),
    DataSource(
        "cifar100",
        "CIFAR-100 (train.bin, or torchvision's train)",
        partial(load_cifar, CIFAR100),
        recognises=partial(is_cifar, CIFAR100),
    ),
    DataSource(
        "folder",
        "a folder of images by class (train/<class>/ and test/<class>/, or <class>/)",
        folder,
        recognises=_is_image_folder,
    ),
    DataSource(
        "webdataset",
        "WebDataset shards (train-*.tar and test-*.tar or val-*.tar)",
        webdataset,
        recognises=is_webdataset,
    ),
    DataSource(
        "huggingface",
        "a DatasetDict that save_to_disk of the package datasets wrote",
        hugging_face,
        recognises=is_hugging_face,
    ),
):
    SOURCES.add(_entry.name, _entry)


def source_of(name: str) -> DataSource:
    """The source of that name, or of FILE.py:FUNCTION. Raises DataError with the nearest name.

    >>> source_of("digits").needs_path
    False
    """
    if is_reference(name):
        label = "a function in a Python file"
        return DataSource(name, label, partial(from_file, name), needs_path=False)
    if name not in SOURCES:
        right = f"{hint(name, SOURCES)}, or FILE.py:FUNCTION"
        raise DataError("data", f"{name!r} is not known", right)
    return SOURCES[name]


def check_path(source: DataSource, wanted: Wanted) -> None:
    """Raise DataError if a source needs a path and none is given, or the other way round."""
    if source.needs_path and wanted.path is None:
        raise DataError(source.name, "no path given", f"give the path of {source.label}")
    if not source.needs_path and wanted.path not in (None, Path(source.name)):
        found = f"the path {wanted.path} is given"
        raise DataError(source.name, found, f"{source.label} needs no path; leave it out")


def guess(path: str | Path) -> str:
    """The name of the data source that reads `path`; FILE.py:FUNCTION is returned unchanged.

    So is the name of data that need no path. Raises DataError if no source, or more than one, reads
    the path.
    """
    place = Path(path)
    if is_reference(str(path)):
        return str(path)
    sources = SOURCES.values() if place.exists() else ()
    found = [source.name for source in sources if _is_of(source, place)]
    if len(found) > 1:
        several = f"can be read as {' and as '.join(found)}"
        right = "choose one with data.name, and give the path with data.path"
        raise DataError(str(path), several, right)
    if found:
        return found[0]
    if place.exists():
        raise _not_known(place)
    if str(path) in named_alone():
        return str(path)
    names = " or ".join(repr(name) for name in named_alone())
    raise DataError(str(path), "does not exist", f"{_looked()}; or the name {names}")


def _is_of(source: DataSource, place: Path) -> bool:
    try:
        return source.recognises(place)
    except Exception as error:
        reason = f"{type(error).__name__}: {first_line(error)}"
        found = f"data source {source.name} failed to recognise it: {reason}"
        raise DataError(str(place), found, "choose the data source with data.name") from error


def _not_known(place: Path) -> DataError:
    """The error for an existing path that no source reads."""
    if place.is_dir():
        entries = sorted(entry.name for entry in place.iterdir())
        held = f"it contains {', '.join(entries[:8])}" if entries else "it is empty"
        return DataError(str(place), f"no known kind of data; {held}", _looked())
    if place.suffix == ".py":
        return DataError(str(place), "the function is missing", f"write {place}:FUNCTION")
    found = "is a file, not a folder; an archive must be unpacked first"
    return DataError(str(place), found, _looked())


def _looked() -> str:
    """The kinds of data that the sources read."""
    labels = [source.label for source in SOURCES.values() if source.needs_path]
    return f"looked for {', '.join(labels)}, and FILE.py:FUNCTION"


def named_alone() -> list[str]:
    """The names of the sources that need no path.

    >>> named_alone()[0]
    'digits'
    """
    return [source.name for source in SOURCES.values() if not source.needs_path]
