"""Where data come from: one entry a source, by name, by what lies at a path, or FILE.py:FUNCTION."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from slimmer.data.cifar10 import cifar10, locate
from slimmer.data.digits import digits
from slimmer.data.folder import folder, is_folder
from slimmer.data.images import Wanted
from slimmer.data.user_data import from_file, is_reference
from slimmer.errors import DataError, first_line
from slimmer.registry import Registry, hint


def recognises_nothing(_path: Path) -> bool:
    """Whether a path is of a source that can only be named: never."""
    return False


@dataclass(frozen=True)
class DataSource:
    """A source of data: its name in recipes and how it makes the data.

    `label` says what lies at its path, in messages. `load` returns `Data`, or what a user's data
    function may return. `needs_path` is False for data that are named alone. `recognises` says
    whether what lies at an existing path is such data, where a path alone is given.
    """

    name: str
    label: str
    load: Callable[[Wanted], Any]
    needs_path: bool = True
    recognises: Callable[[Path], bool] = recognises_nothing


def _is_cifar10(path: Path) -> bool:
    return path.is_dir() and locate(path) is not None


def _is_image_folder(path: Path) -> bool:
    return path.is_dir() and is_folder(path)


SOURCES: Registry[DataSource] = Registry(
    "data set", DataError, entry_points="slimmer.data", kind=DataSource
)
for _entry in (
    DataSource("digits", "the set of scikit-learn's digits", digits, needs_path=False),
    DataSource(
        "cifar10",
        "CIFAR-10 in the binary layout (data_batch_1.bin)",
        cifar10,
        recognises=_is_cifar10,
    ),
    DataSource(
        "folder",
        "a folder of images by class (train/<class>/ and test/<class>/, or <class>/)",
        folder,
        recognises=_is_image_folder,
    ),
):
    SOURCES.add(_entry.name, _entry)


def source_of(name: str) -> DataSource:
    """The source of that name, or of FILE.py:FUNCTION. Raises DataError with the nearest name.

    >>> source_of("digits").needs_path
    False
    """
    if is_reference(name):
        return DataSource(
            name, "a function of a Python file", partial(from_file, name), needs_path=False
        )
    if name not in SOURCES:
        right = f"{hint(name, SOURCES)}, or FILE.py:FUNCTION"
        raise DataError("data", f"{name!r} is not known", right)
    return SOURCES[name]


def check_path(source: DataSource, wanted: Wanted) -> None:
    """Raise DataError for a source that needs a path and gets none, or the other way round."""
    if source.needs_path and wanted.path is None:
        raise DataError(source.name, "no path is given", f"give the path of {source.label}")
    if not source.needs_path and wanted.path not in (None, Path(source.name)):
        found = f"the path {wanted.path} is given"
        raise DataError(source.name, found, f"{source.label} needs no path; leave it out")


def guess(path: str | Path) -> str:
    """The name under which `load` reads what lies at `path`, or FILE.py:FUNCTION.

    The name of data that needs no path is its own. Raises DataError that says what was looked for,
    or which sources read it where there are several.
    """
    place = Path(path)
    if is_reference(str(path)):
        return str(path)
    found = [source.name for source in SOURCES.values() if place.exists() and _is_of(source, place)]
    if len(found) > 1:
        told = f"can be read as {' and as '.join(found)}"
        raise DataError(str(path), told, "say which with data.name, and the path with data.path")
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
        found = (
            f"data source {source.name} failed on it: {type(error).__name__}: {first_line(error)}"
        )
        raise DataError(str(place), found, "say which data they are with data.name") from error


def _not_known(place: Path) -> DataError:
    """What is said of an existing path that no source reads."""
    if place.is_dir():
        entries = sorted(entry.name for entry in place.iterdir())
        held = f"it holds {', '.join(entries[:8])}" if entries else "it is empty"
        return DataError(str(place), f"no data that is known; {held}", _looked())
    if place.suffix == ".py":
        return DataError(str(place), "the function is not named", f"write {place}:FUNCTION")
    found = "is a file, not a folder; an archive has to be unpacked"
    return DataError(str(place), found, _looked())


def _looked() -> str:
    """What lies at a path that some source reads."""
    labels = [source.label for source in SOURCES.values() if source.needs_path]
    return f"looked for {', '.join(labels)}, and FILE.py:FUNCTION"


def named_alone() -> list[str]:
    """The sources that are named without a path.

    >>> named_alone()[0]
    'digits'
    """
    return [source.name for source in SOURCES.values() if not source.needs_path]
