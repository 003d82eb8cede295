"""Reading files of torch.save without running any code in them."""

import mmap
import pickle
import pickletools
import re
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import torch
from torch.serialization import safe_globals

from slimmer.errors import CheckpointError, first_line
from slimmer.models.checkpoint.archive import COPY_AGAIN, SAVE_AGAIN, check_archive
from slimmer.models.checkpoint.plain import stand_ins

_ZIP: Final = b"PK\x03\x04"
_PICKLE: Final = b"\x80"
_OLD_PARTS = 5  # pickles in a file of the older format: four small ones and the value; data follow
_DEEPEST = 100
_TUPLES = ("TUPLE", "TUPLE1", "TUPLE2", "TUPLE3")
_SILENT = ("BINPUT", "LONG_BINPUT", "MARK")  # may occur between two nested tuples
# PyTorch's own reader creates one of any length that a file states.
_UNBOUNDED = ("builtins bytearray", "__builtin__ bytearray")
_SAVE_MODULE = (
    "if you trust the file, load it yourself and save only its weights:\n"
    "    model = {load}\n"
    "    torch.save(model.state_dict(), 'weights.pth')"
)
_LOAD = "torch.load({path!r}, map_location='cpu', weights_only=False)"
_LOAD_YOLO = "ultralytics.YOLO({path!r}).model"  # its files hold a network in a dict


def read_pickled(path: Path) -> Any:
    """The value that torch.save wrote to `path`, on the CPU; other plain objects are replaced by
    empty stand-ins.

    Raises CheckpointError for a file that is not a checkpoint, is damaged, or contains objects with
    code of their own.
    """
    where = str(path)
    with path.open("rb") as file:
        head = file.read(12)
    if head.startswith(_ZIP):
        check_archive(path)
    elif not head.startswith(_PICKLE):
        raise CheckpointError(where, f"is not a checkpoint: it begins with {head!r}", SAVE_AGAIN)
    with warnings.catch_warnings(), safe_globals(stand_ins()):
        warnings.simplefilter("ignore")  # about protocols and escapes; real problems are raised
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
        return CheckpointError(where, "the file is truncated", COPY_AGAIN)
    if not isinstance(error, pickle.UnpicklingError):
        found = f"the file is truncated or damaged ({first_line(error)[:200]})"
        return CheckpointError(where, found, COPY_AGAIN)
    named = re.search(r"GLOBAL (\w[\w.]{0,200}\w)", str(error))
    what = f"{named[1]}, which is not a tensor" if named else "pickled objects that are not tensors"
    found = f"it contains {what}; slimmer does not load it, since such an object can run code"
    load = _LOAD_YOLO if named and named[1].startswith("ultralytics.") else _LOAD
    right = _SAVE_MODULE.format(load=load.format(path=where))
    return CheckpointError(where, found, right)


def _check_pickle(path: Path, *, zipped: bool) -> None:
    """Raise CheckpointError for content that would exhaust the memory or the stack when read."""
    if not zipped:
        with _mapped(path) as content:
            for _ in range(_OLD_PARTS):
                _check_operations(str(path), content)
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
                found = "it contains a bytearray, which is not a tensor"
                raise CheckpointError(where, found, SAVE_AGAIN)
            if operation.name in _TUPLES:
                deep += 1
            elif operation.name not in _SILENT:
                deep = 0
            if deep > _DEEPEST:
                found = "the file is damaged: it is nested too deeply"
                raise CheckpointError(where, found, COPY_AGAIN)
    except ValueError:  # not a pickle; torch.load raises the clear error
        return


def _is_cut(path: Path) -> bool:
    """Whether a file of the older format (five pickles, then data) ends inside a pickle; no pickle
    is run.
    """
    with _mapped(path) as content:
        try:
            for _ in range(_OLD_PARTS):
                _pass_over(content)
                if content.tell() == len(content):
                    return False
        except ValueError:
            return content.tell() == len(content)
    return False


def _pass_over(content: Any) -> None:
    for _ in pickletools.genops(content):
        pass


@contextmanager
def _mapped(path: Path) -> Iterator[mmap.mmap]:
    """The content of a file, which is not empty.

    Unlike a file, it takes no memory for a damaged length of up to 2^63 bytes.
    """
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        yield content
