"""Exclusive use of a folder by one process, through a lock file that holds the process id."""

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from filelock import lock_descriptor

from slimmer.errors import RunError

NAME: Final = ".lock"
MARK: Final = b"slimmer, process "
_HELD: Final[set[int]] = set()  # the descriptors of the claims of this process
NO_FOLLOW: Final[int] = getattr(os, "O_NOFOLLOW", 0)  # Windows has no such flag


@dataclass(frozen=True)
class Claim:
    """A folder that this process alone uses until `claimed` ends; `descriptor` is the lock
    file's.
    """

    folder: Path
    descriptor: int

    def check(self) -> None:
        """Raise RunError if the folder was removed in the meantime."""
        if not _is_at(self.folder / NAME, self.descriptor):
            found = "was removed, or its lock file was, while slimmer was using it"
            raise RunError(str(self.folder), found, "its contents are lost; start the run again")


@contextmanager
def claimed(folder: Path, what: str) -> Iterator[Claim]:
    """The claim on a folder, which is created if it does not exist. The claim ends with the block
    or with the process.

    A folder whose process was killed is free again: the operating system drops the lock of a dead
    process. A program that is started with the descriptor also holds the claim; a forked process,
    such as a worker of a DataLoader, does not, since it may outlive a killed parent. If the block
    fails, folders that were created for it and are still empty are removed. Raises RunError if
    `what`, such as "a run", already uses the folder, if the folder can't be created, and at the end
    if it was removed while the block ran.
    """
    with _made(folder):
        descriptor = _lock(folder / NAME)
        if descriptor is None:
            found = f"{what} is already using this directory ({_holder(folder / NAME)})"
            right = "wait until it ends, stop it, or choose another --out"
            raise RunError(str(folder), found, right)
        claim = Claim(folder, descriptor)
        _keep_from_forks(descriptor)
        try:
            yield claim
            claim.check()
        except FileNotFoundError:
            claim.check()
            raise
        finally:
            _release(claim)


def is_marked(folder: Path) -> bool:
    """Whether a folder contains a lock file of slimmer's, whether its process is alive or not."""
    try:
        with (folder / NAME).open("rb") as file:
            return file.read(len(MARK)) == MARK
    except OSError:
        return False


@contextmanager
def _made(folder: Path) -> Iterator[None]:
    """Create the folder if it does not exist. If the block fails, remove what was created and is
    still empty.
    """
    if folder.is_symlink() and not folder.exists():
        right = "remove the link, or choose another --out"
        raise RunError(str(folder), "is a broken symbolic link", right)
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
    """The descriptor of the lock file, locked by this process; None if another process holds it."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | NO_FOLLOW, 0o666)
        # The operating system's lock on the open file: flock, or LockFileEx on Windows.
        if not lock_descriptor(descriptor, blocking=False):
            os.close(descriptor)
            return None
        if _is_at(path, descriptor):
            break
        os.close(descriptor)  # the previous process removed the file when it ended
    os.ftruncate(descriptor, 0)
    os.write(descriptor, MARK + f"{os.getpid()} on {platform.node()}\n".encode())
    return descriptor


def _is_at(path: Path, descriptor: int) -> bool:
    """Whether the open file is the one that lies at the path."""
    try:
        return os.path.samestat(path.stat(follow_symlinks=False), os.fstat(descriptor))
    except OSError:
        return False


def _holder(path: Path) -> str:
    """A description of the process that a lock file belongs to."""
    try:
        text = path.read_bytes()[:200].removeprefix(b"slimmer, ")
    except FileNotFoundError:
        return "which has just ended"
    except OSError:  # Windows lets nobody else read a locked file
        return "another process"
    return text.decode(errors="replace").strip() or "another process"


def _keep_from_forks(descriptor: int) -> None:
    """Close the descriptor in processes that this one forks while it holds it."""
    _register()
    _HELD.add(descriptor)


@cache
def _register() -> None:
    if hasattr(os, "register_at_fork"):  # Windows does not fork
        os.register_at_fork(after_in_child=_close_held)


def _close_held() -> None:
    while _HELD:
        with suppress(OSError):
            os.close(_HELD.pop())


def _release(claim: Claim) -> None:
    _HELD.discard(claim.descriptor)
    path = claim.folder / NAME
    if _is_at(path, claim.descriptor):
        with suppress(OSError):  # Windows does not remove an open file; it is left, unlocked
            path.unlink()
    os.close(claim.descriptor)
