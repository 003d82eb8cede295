"""WebDataset shards: tar files of images and their labels, indexed once for random access."""

import json
import re
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from slimmer.data.encoded_images import EncodedPart, encoded_data
from slimmer.data.images import Data, Wanted
from slimmer.errors import DataError, first_line

IMAGES = ("jpg", "jpeg", "png", "webp", "bmp", "ppm", "pgm", "tif", "tiff")
LABELS = ("cls", "json")
NAMES = "classnames.txt"
_PART = re.compile(r"(?<![a-z])(train|test|validation|valid|val)(?![a-z])")
_WHAT = (
    "a folder of .tar files whose names contain 'train' and 'test' (or 'val'), or with folders of "
    "these names; each image, such as 0001.jpg, is next to its label in 0001.cls"
)


@dataclass(frozen=True)
class TarMember:
    """A file inside an uncompressed tar file, which is read without the others."""

    shard: Path
    name: str
    offset: int
    size: int

    def read_bytes(self) -> bytes:
        """The content. Raises OSError if the tar file has become shorter."""
        with self.shard.open("rb") as opened:
            opened.seek(self.offset)
            content = opened.read(self.size)
        if len(content) != self.size:
            raise OSError("the tar file ends before the image does")
        return content

    def __str__(self) -> str:
        return f"{self.shard}/{self.name}"


@dataclass
class _Sample:
    """The files with one key, as they follow one another in a shard."""

    key: str
    image: TarMember | None = None
    label: int | None = None
    others: list[str] = field(default_factory=list)


def webdataset(wanted: Wanted) -> Data:
    """The images in WebDataset shards, in the order of the shards' names and of their files.

    The label is the number in the file .cls, or the "label" in .json. Class names are the lines of
    classnames.txt, if it is there, else numbers. Every shard's table is read once; the images then
    have random access, so that they are shuffled as a whole and resuming is exact. Raises DataError
    for a shard that is damaged or compressed, and for an image without a label.
    """
    path = wanted.needed_path("webdataset", _WHAT)
    train, test = _parts(path)
    parts = [_part(shards, path) for shards in (train, test)]
    names = _class_names(path, parts)
    return encoded_data("webdataset", parts[0], parts[1], names, wanted)


def is_webdataset(path: Path) -> bool:
    """Whether a folder contains shards: tar files that begin with an image and its label."""
    shards = _shards(path)
    if not shards:
        return False
    try:
        with tarfile.open(shards[0], "r:") as opened:
            endings = {_ending(member.name) for member, _ in zip(opened, range(8), strict=False)}
    except (OSError, tarfile.TarError):
        return False
    return not endings.isdisjoint(IMAGES) and not endings.isdisjoint(LABELS)


def _shards(path: Path) -> list[Path]:
    if not path.is_dir():
        return []
    return sorted([*path.glob("*.tar"), *path.glob("*/*.tar")])


def _parts(path: Path) -> tuple[list[Path], list[Path]]:
    """The shards of the training and of the test images."""
    named: dict[str, list[Path]] = {}
    for shard in _shards(path):
        found = _PART.findall(shard.relative_to(path).as_posix().lower())
        if found:
            named.setdefault(found[-1], []).append(shard)
    held = [name for name in ("test", "val", "valid", "validation") if name in named]
    if "train" not in named or not held:
        found_names = [shard.name for shard in _shards(path)][:5]
        found_text = f"no .tar files of both parts; there are {', '.join(found_names) or 'none'}"
        raise DataError(str(path), found_text, f"give {_WHAT}")
    return named["train"], named[held[0]]


def _part(shards: Sequence[Path], path: Path) -> EncodedPart:
    files, labels = [], []
    for shard in shards:
        for image, label in _samples(shard):
            files.append(image)
            labels.append(label)
    if not files:
        raise DataError(str(path), f"no image in {shards[0].name}", f"give {_WHAT}")
    return EncodedPart(files, torch.tensor(labels, dtype=torch.int64))


def _samples(shard: Path) -> Iterator[tuple[TarMember, int]]:
    """The image and the label of each sample in a shard."""
    for sample in _grouped(shard):
        where = f"{shard}/{sample.key}"
        if sample.image is None and sample.label is None:
            continue
        if sample.image is None or sample.label is None:
            missing = "label" if sample.label is None else "image"
            found = f"has no {missing}; it has {', '.join(sample.others)}"
            right = "each key needs an image, such as .jpg, and a label, .cls or .json"
            raise DataError(where, found, right)
        yield sample.image, sample.label


def _grouped(shard: Path) -> Iterator[_Sample]:
    sample: _Sample | None = None
    try:
        with tarfile.open(shard, "r:") as opened:  # not compressed: offsets are those of the file
            for member in opened:
                if not member.isreg() or member.issparse():
                    continue
                key = _key(member.name)
                if sample is None or key != sample.key:
                    if sample is not None:
                        yield sample
                    sample = _Sample(key)
                _add_(sample, shard, opened, member)
            _check_end(shard, opened.offset)
    except (tarfile.TarError, OSError) as error:
        found = f"can't be read as a tar file ({type(error).__name__}: {first_line(error)})"
        right = "copy it again; a compressed one has to be unpacked to a plain .tar"
        raise DataError(str(shard), found, right) from error
    if sample is not None:
        yield sample


def _check_end(shard: Path, offset: int) -> None:
    """Raise TarError if a tar file has no end mark at `offset`; tarfile takes a cut for the end."""
    with shard.open("rb") as file:
        file.seek(offset)
        if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
            raise tarfile.ReadError("it is cut, or damaged in the middle")


def _add_(sample: _Sample, shard: Path, opened: tarfile.TarFile, member: tarfile.TarInfo) -> None:
    """Add a file to the sample: as its image, as its label, or by name only."""
    ending = _ending(member.name)
    sample.others.append(f".{ending}")
    if ending in IMAGES:
        sample.image = TarMember(shard, member.name, member.offset_data, member.size)
    elif ending in LABELS:
        content = opened.extractfile(member)
        text = b"" if content is None else content.read(1 << 20)
        label = _label(text, ending)
        if label is None and ending == "cls":
            right = "a label is a whole number, 0 or more"
            raise DataError(f"{shard}/{member.name}", f"contains {text[:40]!r}", right)
        if label is not None:
            sample.label = label


def _label(text: bytes, ending: str) -> int | None:
    if ending == "cls":
        stripped = text.strip()
        return int(stripped) if stripped.isdigit() else None
    try:
        value = json.loads(text)
    except ValueError:
        return None
    label = value.get("label") if isinstance(value, dict) else None
    return label if type(label) is int else None


def _key(name: str) -> str:
    """The key of a sample: the path up to the first dot of the file's name, as in WebDataset."""
    folder, slash, base = name.rpartition("/")
    return f"{folder}{slash}{base.partition('.')[0]}"


def _ending(name: str) -> str:
    return name.rpartition(".")[2].lower()


def _class_names(path: Path, parts: Sequence[EncodedPart]) -> tuple[str, ...]:
    if (path / NAMES).is_file():
        lines = (path / NAMES).read_text(encoding="utf-8").splitlines()
        return tuple(line.strip() for line in lines if line.strip())
    count = max(int(part.labels.max()) for part in parts) + 1
    return tuple(str(label) for label in range(count))
