"""Atomic writing of files, and reading of regular files with a limit on their size."""

import errno
import hashlib
import json
import os
import re
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

MOST_BYTES: Final = 256 << 20  # of a text file
_PART: Final = re.compile(r"\.(?P<name>.+)\.\w{8}\.part")


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A temporary path to write to. It replaces `path` in one step if the block succeeds, and is
    deleted otherwise.

    Raises what the block raises. An OSError without a file name, or with that of the temporary
    file, gets the name `path`.
    """
    with naming(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    os.close(handle)
    part = Path(name)
    try:
        with naming(path, instead_of=part):
            yield part
            with part.open("rb+") as written:
                os.fsync(written.fileno())
            part.chmod(0o666 & ~_umask())
            part.replace(path)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def naming(path: Path, instead_of: Path | None = None) -> Iterator[None]:
    """A block whose OSErrors get the name `path`, if they have none or that of `instead_of`."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.filename in (None, "", str(instead_of), instead_of):
            error.filename = str(path)
        raise


def written_part(path: Path) -> str | None:
    """The name of the file for which `whole` left the temporary file `path`; None for other files.

    >>> written_part(Path("run/.plan.json.ab12cd34.part")), written_part(Path("mine.part"))
    ('plan.json', None)
    """
    found = _PART.fullmatch(path.name)
    if not found:
        return None
    return found["name"]


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path` atomically."""
    with whole(path) as part:
        part.write_text(text, encoding="utf-8")


def write_json(path: Path, value: object) -> None:
    """Write `value` to `path` atomically, as indented JSON."""
    write_text(path, json.dumps(value, indent=2) + "\n")


def read_bytes(path: Path, most: int = MOST_BYTES) -> bytes:
    """The bytes of a regular file of at most `most` bytes.

    Raises OSError, also if the file is larger or is not regular (a pipe or a device may never end).
    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError(errno.EINVAL, "is not a regular file", str(path))
    with path.open("rb") as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise OSError(errno.EFBIG, f"is larger than {most:,} bytes", str(path))
    return content


def read_text(path: Path, most: int = MOST_BYTES) -> str:
    """The text of a regular UTF-8 file. Raises OSError, as `read_bytes`, or UnicodeDecodeError."""
    return read_bytes(path, most).decode("utf-8")


def read_json(path: Path) -> Any:
    """The value of a JSON file. Raises OSError, or ValueError if it is not valid or too deep."""
    return parse_json(read_text(path))


def parse_json(text: str | bytes) -> Any:
    """The value of a JSON text. Raises ValueError if it is not valid or nested too deep.

    >>> parse_json("[1, 2.5]")
    [1, 2.5]
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deep") from None


def digest(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hex. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
