"""Code that a file refers to is run only if the user has named that code too."""

import hashlib
import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Final

from slimmer.atomic_files import digest
from slimmer.errors import TrustError

_KNOWN: Final = "trusted"
_MOST_BYTES = 1 << 24


def is_code(reference: str) -> bool:
    """Whether the name of an architecture or of data refers to a Python file: FILE.py:FUNC.

    >>> is_code("path/to/net.py:make"), is_code("timm/resnet34"), is_code("photos.py")
    (True, False, True)
    """
    return reference.endswith(".py") or ".py:" in reference


def is_gone(reference: str | None) -> bool:
    """Whether a name refers to a Python file that does not exist, however its path is written.

    >>> is_gone("nowhere/at_all.py:make"), is_gone("digits"), is_gone(None)
    (True, False, False)
    """
    if reference is None or not is_code(reference):
        return False
    return not Path(_parts(reference)[0]).resolve().exists()


def remember(*references: str | None) -> None:
    """Record as trusted those of `references` that are code, because the user named them: runs that
    name the same code later need no further permission.

    The record is a hash of the file's path, its content and the function, in the user's state
    directory. If that can't be written, nothing is recorded and the user is asked again.
    """
    for reference in references:
        if reference is None or not is_code(reference):
            continue
        with suppress(OSError):
            mark = _mark(reference)
            if mark not in _known():
                place = _place()
                place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                with place.open("a", encoding="ascii") as file:
                    file.write(f"{mark}\n")


def check_code(where: str, *references: str | None, trusted: bool) -> None:
    """Raise TrustError if the file at `where` refers to code that the user has not named in its
    present form, unless it is `trusted`.

    None of that code is run before the check.
    """
    for reference in references:
        if reference is None or not is_code(reference) or trusted or _is_known(reference):
            continue
        file, function = _parts(reference)
        called = f" and call its function {function[:100]!r}" if function else ""
        raise TrustError(
            where,
            f"refers to code: continuing would run {file[:300]}{called}",
            "read that file; if you trust it, give --trust-code (in Python: trust_code=True)",
        )


def _parts(reference: str) -> tuple[str, str]:
    """The file and the function of FILE.py:FUNC."""
    if ".py:" not in reference:
        return reference, ""
    file, _, function = reference.rpartition(":")
    return file, function


def _is_known(reference: str) -> bool:
    try:
        return _mark(reference) in _known()
    except (OSError, ValueError):  # missing or unreadable: loading it raises the clear error
        return False


def _mark(reference: str) -> str:
    """The hash of a file's path, its content and the function in it. Raises OSError."""
    file, function = _parts(reference)
    place = Path(file).resolve()
    if not place.is_file() or place.stat().st_size > _MOST_BYTES:
        raise FileNotFoundError(file)
    return hashlib.sha256(json.dumps([str(place), function, digest(place)]).encode()).hexdigest()


def _known() -> set[str]:
    try:
        return set(_place().read_text(encoding="ascii").split())
    except (OSError, UnicodeDecodeError):
        return set()


def _place() -> Path:
    state = os.environ.get("XDG_STATE_HOME") or ""
    base = Path(state) if Path(state).is_absolute() else Path.home() / ".local" / "state"
    return base / "slimmer" / _KNOWN
