"""Reading pickles of plain values and arrays of bytes without running any code in them."""

import io
import math
import pickle
import pickletools
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from slimmer.errors import DataError, first_line

_AGAIN = "download the file again"


class PickledArray:
    """An array as it stands in a pickle: NumPy is not called to make it."""

    __slots__ = ("_state",)

    def __init__(self, *_arguments: Any) -> None:
        self._state: Any = None

    def __setstate__(self, state: Any) -> None:
        self._state = state

    def uint8(self) -> NDArray[np.uint8]:
        """The array. Raises ValueError if it is not a whole one of uint8."""
        _, shape, kind, by_column, content = self._state
        if kind.name not in ("u1", b"u1", "uint8"):
            raise ValueError(f"an array of {kind.name!r}, not of uint8")
        if len(content) != math.prod(shape):
            raise ValueError(f"an array of shape {shape} in {len(content)} bytes")
        return np.frombuffer(content, np.uint8).reshape(shape, order="F" if by_column else "C")


class _Kind:
    """The type of an array's entries."""

    __slots__ = ("name",)

    def __init__(self, name: Any, *_arguments: Any) -> None:
        self.name = name

    def __setstate__(self, state: Any) -> None:
        """Byte order and fields mean nothing for single bytes."""


def _encoded(text: str, encoding: str) -> bytes:
    """Bytes in a pickle of protocol 2 that Python 3 wrote."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"bytes in {encoding!r}")
    return text.encode("latin1")


_ALLOWED: Final = {
    ("numpy.core.multiarray", "_reconstruct"): PickledArray,
    ("numpy._core.multiarray", "_reconstruct"): PickledArray,
    ("numpy", "ndarray"): PickledArray,
    ("numpy", "dtype"): _Kind,
    ("_codecs", "encode"): _encoded,
}


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        """The stand-in for a name; any other name is an error."""
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"it contains {module}.{name}")
        return _ALLOWED[module, name]


def read_plain(path: Path) -> Any:
    """The value pickled in a file, of dicts, lists, tuples, text, bytes and numbers, with its
    arrays as `PickledArray`. Text that Python 2 wrote is bytes.

    Raises DataError for a file that is damaged or contains anything else.
    """
    try:
        content = path.read_bytes()
        _check_memo(content)
        # The reader only makes plain values and the stand-ins above.
        return _Reader(io.BytesIO(content), encoding="bytes").load()
    except pickle.UnpicklingError as error:
        found = f"{first_line(error)}; only plain values and arrays of bytes are read"
        raise DataError(str(path), found, _AGAIN) from error
    except OSError as error:
        raise DataError(str(path), f"can't be read ({error})", _AGAIN) from error
    except Exception as error:  # a damaged pickle raises anything
        found = f"is damaged ({type(error).__name__}: {first_line(error)})"
        raise DataError(str(path), found, _AGAIN) from error


def _check_memo(content: bytes) -> None:
    """Raise ValueError for a place in the memo beyond the file's length, whose table would exhaust
    the memory.
    """
    for operation, argument, _ in pickletools.genops(content):
        if operation.name == "LONG_BINPUT" and argument is not None and argument > len(content):
            raise ValueError(f"it stores {argument} values")
