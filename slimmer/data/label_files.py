"""Labels of images in a flat folder, from a text file: ImageNet's validation part and its like."""

import csv
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from slimmer.errors import DataError

TRUTH = "ILSVRC2012_validation_ground_truth.txt"
_DEVKIT = Path("ILSVRC2012_devkit_t12", "data")
_SYNSET = re.compile(r"n\d{8}\b")
_RIGHT = (
    "give a file with one line per image: FILE LABEL, or FILE,LABEL; "
    "a label is the name of a class folder, or its place 0..{last} in sorted order"
)

Listing = dict[str, list[Path]]


def find_labels(held: Path) -> Path | None:
    """The file with the labels of the images in the flat folder `held`, which is in the folder or
    next to it; None if there is none.

    It is called as the folder is (val.txt, val.csv, val_labels.txt, val_annotations.txt), or as in
    ImageNet (ILSVRC2012_validation_ground_truth.txt, also in the unpacked devkit, or
    LOC_val_solution.csv).
    """
    stems = (held.name, f"{held.name}_labels", f"{held.name}_annotations")
    names = []
    for stem in (*stems, "labels"):
        names += [f"{stem}.txt", f"{stem}.csv"]
    for place in (held, held.parent):
        for name in names:
            if (place / name).is_file():
                return place / name
    if held.name == "test":
        return None  # the following have the labels of ImageNet's validation part
    for place in (held, held.parent, held.parent / _DEVKIT):
        for name in ("LOC_val_solution.csv", TRUTH):
            if (place / name).is_file():
                return place / name
    return None


def read_labels(
    file: Path, held: Path, images: Sequence[Path], classes: Sequence[str]
) -> tuple[Listing, tuple[str, ...]]:
    """The images by class, and a note on the label file.

    A line has a file name and a label, separated by a comma, a tab or spaces, or only a label, in
    the order of the sorted file names. Labels are names of `classes` or places in it. Raises
    DataError if they are not, or if an image has no label.
    """
    if not images:
        raise DataError(str(held), "there are no images", "give at least one image")
    rows = _rows(file)
    if all(len(row) == 1 for row in rows):
        labels = _in_order(file, held, [row[0] for row in rows], images)
    else:
        labels = _by_file(file, held, rows, images)
    named = _named(file, labels, classes)
    listing: Listing = {name: [] for name in classes}
    for image, name in zip(images, named, strict=True):
        listing[name].append(image)
    empty = sum(not files for files in listing.values())
    note = f"{held.name}/: the labels are those in {file}"
    if empty:
        note += f"; {empty} of {len(classes)} classes have no image"
    return listing, (note,)


def _rows(file: Path) -> list[list[str]]:
    """The fields of each line that is not empty."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(str(file), f"can't be read ({error})", "give a text file") from error
    filled = [line.strip() for line in lines if line.strip()]
    if not filled:
        raise DataError(str(file), "is empty", _RIGHT.format(last="N-1"))
    if file.suffix.lower() == ".csv":
        return list(map(_stripped, csv.reader(filled)))
    rows = []
    for line in filled:
        if "\t" in line:
            rows.append(_stripped(line.split("\t")))
        elif "," in line:
            rows.append(_stripped(line.split(",")))
        else:
            rows.append(line.rsplit(maxsplit=1))  # the name of a file may contain spaces
    return rows


def _stripped(fields: Iterable[str]) -> list[str]:
    return [field.strip() for field in fields]


def _in_order(file: Path, held: Path, labels: Sequence[str], images: Sequence[Path]) -> list[str]:
    if len(labels) != len(images):
        found = f"{len(labels)} labels for the {len(images)} images in {held}"
        raise DataError(str(file), found, "give one line for each image, in order of their names")
    if not all(label.isdecimal() for label in labels):
        return list(labels)
    if file.name != TRUTH:
        right = "give the file name and the label in each line"
        raise DataError(str(file), "has numbers only, without file names", right)
    synsets = _synsets_by_id(file.parent)
    unknown = [label for label in labels if int(label) not in synsets]
    if unknown:
        found = f"contains the number {unknown[0]}, which no synset has"
        raise DataError(str(file), found, "use the devkit of the same year")
    return [synsets[int(label)] for label in labels]


def _synsets_by_id(folder: Path) -> dict[int, str]:
    """ImageNet's synsets by their ILSVRC2012 ID, which is not their place in sorted order.

    They come from the devkit's meta.mat, or from a text file with synset and ID in each line.
    """
    if (folder / "meta.mat").is_file():
        return _from_meta(folder / "meta.mat")
    for name in ("map_clsloc.txt", "synset_words.txt", "synsets.txt"):
        if (folder / name).is_file():
            return _from_text(folder / name)
    found = "its numbers are IDs of ImageNet's devkit, and their synsets are not known"
    right = f"put meta.mat of the devkit next to {TRUTH}"
    raise DataError(str(folder / TRUTH), found, right)


def _from_meta(file: Path) -> dict[int, str]:
    from scipy.io import loadmat  # noqa: PLC0415 - only needed here

    try:
        synsets = loadmat(file, squeeze_me=True)["synsets"]
        leaves = [entry for entry in synsets if int(entry["num_children"]) == 0]
        return {int(entry["ILSVRC2012_ID"]): str(entry["WNID"]) for entry in leaves}
    except Exception as error:  # scipy raises anything for a damaged file
        found = f"can't be read ({type(error).__name__}: {error})"
        raise DataError(str(file), found, "unpack ImageNet's devkit again") from error


def _from_text(file: Path) -> dict[int, str]:
    lines = [line for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
    wrong = [line for line in lines if not _SYNSET.match(line)]
    if wrong:
        found = f"a line is {wrong[0][:60]!r}"
        raise DataError(str(file), found, "each line must begin with a synset, such as n02119789")
    synsets = [line.split()[0] for line in lines]
    ids = [line.split()[1] for line in lines if len(line.split()) > 1]
    if len(ids) == len(lines) and all(number.isdecimal() for number in ids):
        return {int(number): synset for number, synset in zip(ids, synsets, strict=True)}
    if synsets == sorted(synsets):
        found = f"lists synsets in sorted order, but the numbers in {TRUTH} are IDs of the devkit"
        raise DataError(str(file), found, "use meta.mat or map_clsloc.txt of ImageNet's devkit")
    return dict(enumerate(synsets, start=1))


def _by_file(
    file: Path, held: Path, rows: Sequence[Sequence[str]], images: Sequence[Path]
) -> list[str]:
    labels: dict[str, str] = {}
    for row in rows:
        name = row[0].removeprefix("./")
        if len(row) < 2 or not row[1]:
            raise DataError(str(file), f"{name} has no label", _RIGHT.format(last="N-1"))
        if labels.setdefault(name, row[1]) != row[1]:
            found = f"{name} has two labels, {labels[name]} and {row[1]}"
            raise DataError(str(file), found, "give one line for each image")
    found_labels, missing = [], []
    for image in images:
        below = image.relative_to(held)
        names = (below.as_posix(), f"{held.name}/{below.as_posix()}", image.name, image.stem)
        label = next((labels[name] for name in names if name in labels), None)
        if label is None:
            missing.append(below.as_posix())
        else:
            found_labels.append(label)
    if missing:
        found = f"{len(missing)} of {len(images)} images have no label: {', '.join(missing[:5])}"
        raise DataError(str(file), found, _RIGHT.format(last="N-1"))
    return found_labels


def _named(file: Path, labels: Sequence[str], classes: Sequence[str]) -> list[str]:
    """The class of each label, which is a name or a number."""
    known = set(classes)
    # "n03995372 85 1 499 272": ImageNet's solution file has the class and a box.
    firsts = [label if label in known else label.split()[0] for label in labels]
    if known.issuperset(firsts):
        return firsts
    right = _RIGHT.format(last=len(classes) - 1)
    if not all(label.isdecimal() for label in firsts):
        unknown = next(label for label in firsts if label not in known)
        raise DataError(str(file), f"the label {unknown!r} is not a class of train/", right)
    places = [int(label) for label in firsts]
    if max(places) >= len(classes):
        found = f"labels are {min(places)} to {max(places)}, but there are {len(classes)} classes"
        raise DataError(str(file), found, right)
    return [classes[place] for place in places]
