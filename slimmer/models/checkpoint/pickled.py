"""Files of torch.save, read without running anything of them."""

import pickle
import pickletools
import re
import warnings
import zipfile
from pathlib import Path
from typing import Any, BinaryIO, Final

import torch
from torch.serialization import safe_globals

from slimmer.errors import CheckpointError, first_line
from slimmer.models.checkpoint.archive import COPY_AGAIN, SAVE_AGAIN, check_archive
from slimmer.models.checkpoint.plain import stand_ins

_ZIP: Final = b"PK\x03\x04"
_PICKLE: Final = b"\x80"
_OLD_PARTS = 5  # of a file of the older format: four small pickles and the value's; numbers follow
_DEEPEST = 100
_TUPLES = ("TUPLE", "TUPLE1", "TUPLE2", "TUPLE3")
_SILENT = ("BINPUT", "LONG_BINPUT", "MARK")  # between two tuples, one of which holds the other
# PyTorch's own reader makes one of any length that a file names.
_UNBOUNDED = ("builtins bytearray", "__builtin__ bytearray")
_SAVE_MODULE = (
    "where you trust the file, load it yourself and save its weights alone:\n"
    "    model = torch.load({path!r}, map_location='cpu', weights_only=False)\n"
    "    torch.save(model.state_dict(), 'weights.pth')"
)


def read_pickled(path: Path) -> Any:
    """What torch.save wrote to `path`, on the CPU; in place of other plain objects stand some that
    hold nothing.

    Raises CheckpointError for a file that is none, is damaged, or holds objects with code of their
    own.
    """
    where = str(path)
    with path.open("rb") as file:
        head = file.read(12)
    if head.startswith(_ZIP):
        check_archive(path)
    elif not head.startswith(_PICKLE):
        raise CheckpointError(where, f"is not a checkpoint: it begins with {head!r}", SAVE_AGAIN)
    with warnings.catch_warnings(), safe_globals(stand_ins()):
        warnings.simplefilter("ignore")  # about protocols and escapes; what matters is raised
        try:
            _check_pickle(path, zipped=head.startswith(_ZIP))
            return torch.load(path, map_location="cpu", weights_only=True)
        except CheckpointError:
            raise
        except Exception as error:  # damaged pickles raise anything from KeyError to RuntimeError
            raise _refused(path, error, zipped=head.startswith(_ZIP)) from error


def _refused(path: Path, error: Exception, *, zipped: bool) -> CheckpointError:
    where = str(path)
    if not zipped and _is_cut(path):
        return CheckpointError(where, "the file is cut short", COPY_AGAIN)
    if not isinstance(error, pickle.UnpicklingError):
        return CheckpointError(
            where, f"the file is cut short or damaged ({first_line(error)[:200]})", COPY_AGAIN
        )
    named = re.search(r"GLOBAL (\w[\w.]{0,200}\w)", str(error))
    what = f"{named[1]}, which is" if named else "pickled objects that are"
    found = (
        f"it holds {what} no tensor; slimmer does not load it, since such an object can run code"
    )
    return CheckpointError(where, found, _SAVE_MODULE.format(path=where))


def _check_pickle(path: Path, *, zipped: bool) -> None:
    """Raise CheckpointError for what takes all memory or the whole stack while it is read."""
    if not zipped:
        with path.open("rb") as file:
            for _ in range(_OLD_PARTS):
                _check_operations(str(path), file)
        return
    with zipfile.ZipFile(path) as archive:
        name = next(name for name in archive.namelist() if Path(name).name == "data.pkl")
        with archive.open(name) as member:
            _check_operations(str(path), member)


def _check_operations(where: str, file: Any) -> None:
    deep = 0
    try:
        for operation, argument, _ in pickletools.genops(file):
            if operation.name == "GLOBAL" and argument in _UNBOUNDED:
                raise CheckpointError(where, "it holds a bytearray, which is no tensor", SAVE_AGAIN)
            if operation.name in _TUPLES:
                deep += 1
            elif operation.name not in _SILENT:
                deep = 0
            if deep > _DEEPEST:
                raise CheckpointError(
                    where, "the file is damaged: it is nested too deep", COPY_AGAIN
                )
    except ValueError:  # no pickle: torch.load says what is wrong
        return


def _is_cut(path: Path) -> bool:
    """Whether a file of the older format (five pickles, then numbers) ends inside a pickle; runs
    none.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        try:
            for _ in range(_OLD_PARTS):
                _pass_over(file)
                if file.tell() == size:
                    return False
        except ValueError:
            return file.tell() == size
    return False


def _pass_over(file: BinaryIO) -> None:
    for _ in pickletools.genops(file):
        pass
