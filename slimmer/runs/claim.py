"""A folder that one process at a time works in, by a lock file that names the process."""

import fcntl
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from slimmer.errors import RunError

NAME: Final = ".lock"
MARK: Final = b"slimmer, process "


@dataclass(frozen=True)
class Claim:
    """A folder that is this process's own until `claimed` ends; `descriptor` is of the lock file."""

    folder: Path
    descriptor: int

    def check(self) -> None:
        """Nothing; raises RunError where the folder was removed in the meantime."""
        if not _is_at(self.folder / NAME, self.descriptor):
            found = "was removed, or its lock file was, while slimmer was at work in it"
            raise RunError(str(self.folder), found, "what it held is lost; begin anew")


@contextmanager
def claimed(folder: Path, what: str) -> Iterator[Claim]:
    """The claim on a folder, which is made where it is not there; it ends with the block, or with
    the process.

    A folder whose process was killed is free again: the system drops a dead process's lock. A child
    that keeps the descriptor open holds the claim too. Where the block fails, folders that were
    made for it and are empty go again. Raises RunError where `what`, such as "a run", is at work
    there already, where the folder can't be made, and at the end where it was removed while the
    block ran.
    """
    with _made(folder):
        descriptor = _lock(folder / NAME)
        if descriptor is None:
            found = f"{what} is at work there already ({_holder(folder / NAME)})"
            raise RunError(str(folder), found, "wait for its end or stop it, or name another --out")
        claim = Claim(folder, descriptor)
        try:
            yield claim
            claim.check()
        except FileNotFoundError:
            claim.check()
            raise
        finally:
            _release(claim)


def is_marked(folder: Path) -> bool:
    """Whether a folder holds the lock file of a process of slimmer's, alive or dead."""
    try:
        with (folder / NAME).open("rb") as file:
            return file.read(len(MARK)) == MARK
    except OSError:
        return False


@contextmanager
def _made(folder: Path) -> Iterator[None]:
    """The folder, made where it is not there; what had to be made and is empty goes where the block
    fails.
    """
    if folder.is_symlink() and not folder.exists():
        raise RunError(
            str(folder), "is a link that leads nowhere", "remove the link, or name another --out"
        )
    made = []
    try:
        for each in reversed([each for each in (folder, *folder.parents) if not each.exists()]):
            with suppress(FileExistsError):  # another process made it just now
                each.mkdir()
                made.append(each)
        yield
    except BaseException:
        for each in reversed(made):
            with suppress(OSError):
                each.rmdir()
        raise


def _lock(path: Path) -> int | None:
    """The descriptor of the lock file, held by this process; None where another holds it."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        if _is_at(path, descriptor):
            break
        os.close(descriptor)  # the process before took the file away when it ended
    os.ftruncate(descriptor, 0)
    os.write(descriptor, MARK + f"{os.getpid()} on {platform.node()}\n".encode())
    return descriptor


def _is_at(path: Path, descriptor: int) -> bool:
    """Whether the open file is the one that is found at the path."""
    try:
        return os.path.samestat(path.stat(follow_symlinks=False), os.fstat(descriptor))
    except OSError:
        return False


def _holder(path: Path) -> str:
    """The process that a lock file names."""
    try:
        text = path.read_bytes()[:200].removeprefix(b"slimmer, ")
    except OSError:
        return "it has just ended"
    return text.decode(errors="replace").strip() or "another process"


def _release(claim: Claim) -> None:
    path = claim.folder / NAME
    if _is_at(path, claim.descriptor):
        with suppress(OSError):
            path.unlink()
    os.close(claim.descriptor)
