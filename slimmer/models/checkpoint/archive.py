"""Checks of the zip archives that torch.save writes, before they are read: that they are complete,
of the right kind, and do not expand to more than their size.
"""

import zipfile
from pathlib import Path
from typing import Final

from slimmer.errors import CheckpointError, first_line

COPY_AGAIN: Final = "copy or download the file again"
SAVE_AGAIN: Final = "save only the weights: torch.save(model.state_dict(), PATH)"
SAVE_SCRIPT: Final = (
    "if you trust the file, load it yourself and save only its weights:\n"
    "    model = torch.jit.load({path!r}, map_location='cpu')\n"
    "    torch.save(model.state_dict(), 'weights.pth')"
)


def check_archive(path: Path) -> None:
    """Raise CheckpointError for an archive of another kind, with wrong sizes or wrong checksums,
    which torch.load does not check.
    """
    where = str(path)
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            _check_kind(where, [Path(member.filename).name for member in members])
            _check_sizes(where, members, path.stat().st_size)
            damaged = archive.testzip()
    except CheckpointError:
        raise
    except Exception as error:
        # A damaged directory raises anything from UnicodeDecodeError to struct.error.
        found = f"the file is truncated or damaged ({first_line(error)})"
        raise CheckpointError(where, found, COPY_AGAIN) from error
    if damaged is not None:
        found = f"the file is damaged (checksum of {Path(damaged).name})"
        raise CheckpointError(where, found, COPY_AGAIN)


def _check_sizes(where: str, members: list[zipfile.ZipInfo], size: int) -> None:
    """Raise CheckpointError if reading would give more bytes than the file has: torch.save does not
    compress.
    """
    packed = [member.filename for member in members if member.compress_type != zipfile.ZIP_STORED]
    if packed:
        found = f"is a compressed archive ({Path(packed[0]).name}), which torch.save never writes"
        raise CheckpointError(where, found, SAVE_AGAIN)
    claimed = sum(member.file_size for member in members)
    if claimed > size:
        found = f"the file is damaged: its parts claim {claimed:,} bytes, but it has {size:,}"
        raise CheckpointError(where, found, COPY_AGAIN)


def _check_kind(where: str, members: list[str]) -> None:
    if "constants.pkl" in members:
        found = "is a TorchScript program, which contains code"
        raise CheckpointError(where, found, SAVE_SCRIPT.format(path=where))
    if "data.pkl" not in members:
        found = "is a zip archive, but not one that torch.save wrote"
        raise CheckpointError(where, found, SAVE_AGAIN)
