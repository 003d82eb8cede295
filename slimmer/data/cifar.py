"""CIFAR-10 and CIFAR-100, in the binary layout and in the Python layout that torchvision
downloads.
"""

from dataclasses import dataclass
from pathlib import Path

from slimmer.data.cifar_binary import BinaryFiles
from slimmer.data.cifar_pickled import PickledFiles
from slimmer.data.images import Data, Wanted
from slimmer.errors import DataError

Layout = BinaryFiles | PickledFiles


@dataclass(frozen=True)
class Cifar:
    """One of the two sets: its figures, and its layouts by the folder that the archive makes."""

    name: str
    classes: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    layouts: dict[str, Layout]

    @property
    def what(self) -> str:
        """The files of each layout, for messages."""
        texts = []
        for folder, layout in self.layouts.items():
            texts.append(f"{', '.join(layout.files)} ({folder})")
        return " or ".join(texts)


_BATCHES = tuple(f"data_batch_{number}" for number in range(1, 6))
CIFAR10 = Cifar(
    "cifar10",
    10,
    mean=(0.4914, 0.4822, 0.4465),
    std=(0.2470, 0.2435, 0.2616),
    layouts={
        "cifar-10-batches-bin": BinaryFiles(
            train=tuple(f"{name}.bin" for name in _BATCHES),
            test="test_batch.bin",
            names="batches.meta.txt",
            label_bytes=1,
        ),
        "cifar-10-batches-py": PickledFiles(
            train=_BATCHES,
            test="test_batch",
            meta="batches.meta",
            labels="labels",
            names="label_names",
        ),
    },
)
CIFAR100 = Cifar(
    "cifar100",
    100,
    mean=(0.5071, 0.4865, 0.4409),
    std=(0.2673, 0.2564, 0.2762),
    layouts={
        "cifar-100-binary": BinaryFiles(
            train=("train.bin",), test="test.bin", names="fine_label_names.txt", label_bytes=2
        ),
        "cifar-100-python": PickledFiles(
            train=("train",),
            test="test",
            meta="meta",
            labels="fine_labels",
            names="fine_label_names",
        ),
    },
)


def locate(cifar: Cifar, path: Path) -> tuple[Path, Layout] | None:
    """The folder with a file of images of this set, and its layout: `path`, or the archive's folder
    inside it; None if there is none.
    """
    for name, layout in cifar.layouts.items():
        for folder in (path, path / name):
            if any((folder / file).is_file() for file in (*layout.train, layout.test)):
                return folder, layout
    return None


def is_cifar(cifar: Cifar, path: Path) -> bool:
    """Whether a folder contains this set; names as common as `train` also need the file of the
    class names.
    """
    found = locate(cifar, path)
    if found is None:
        return False
    folder, layout = found
    return "batch" in layout.test or (folder / layout.files[-1]).is_file()


def load_cifar(cifar: Cifar, wanted: Wanted) -> Data:
    """CIFAR-10 or CIFAR-100 (fine labels) from a folder; mean and std are those of its training
    images.

    The files may contain any number of images. Python's pickles are read without running code in
    them. Raises DataError with the name of a file that is missing, damaged, or contains a label
    that is out of range.
    Source: A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images (2009).
    """
    what = f"a folder with {cifar.what}"
    path = wanted.needed_path(cifar.name, what)
    found = locate(cifar, path)
    if found is None:
        first = next(iter(cifar.layouts.values())).train[0]
        raise DataError(str(path), f"there is no {first}", f"give the path of {what}")
    folder, layout = found
    missing = [name for name in layout.files if not (folder / name).is_file()]
    if missing:
        raise DataError(str(folder / missing[0]), "is missing", f"{cifar.name} is {what}")
    train = layout.read([folder / name for name in layout.train], cifar.classes)
    test = layout.read([folder / layout.test], cifar.classes)
    names = layout.class_names(folder / layout.files[-1])
    if len(names) != cifar.classes:
        found_names = f"contains {len(names)} class names"
        right = f"the set has {cifar.classes}; download it again"
        raise DataError(str(folder / layout.files[-1]), found_names, right)
    return Data(
        name=cifar.name,
        train=train,
        test=test,
        classes=names,
        mean=cifar.mean,
        std=cifar.std,
        size=(32, 32),
        augment="crop_flip",
    )
