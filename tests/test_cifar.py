"""CIFAR-10 and CIFAR-100 in both layouts, and pickles that run no code."""

import os
import pickle
import struct
from typing import ClassVar

import numpy as np
import pytest
import torch
from test_data import CIFAR_NAMES, write_cifar
from torchvision_ops import detection

from slimmer.data import guess, load
from slimmer.errors import DataError

HUNDRED = [f"thing{number:02d}" for number in range(100)]


class OfPython2(pickle._Pickler):
    """A pickler that writes text and bytes as the strings of Python 2, as in the archives."""

    dispatch: ClassVar = pickle._Pickler.dispatch.copy()

    def string(self, value):
        raw = value.encode() if isinstance(value, str) else value
        self.write(b"T" + struct.pack("<i", len(raw)) + raw)

    dispatch[bytes] = string
    dispatch[str] = string


def dump(value, path, *, python2):
    with path.open("wb") as file:
        if python2:
            OfPython2(file, 2).dump(value)
        else:
            pickle.dump(value, file, 2)


def write_python(folder, kind="cifar10", per_file=12, *, python2=True):
    """The files that torchvision downloads; returns images and labels by file name."""
    folder.mkdir(parents=True, exist_ok=True)
    rng, written = np.random.default_rng(3), {}
    files = [*(f"data_batch_{k}" for k in range(1, 6)), "test_batch"]
    key, count = "labels", 10
    if kind == "cifar100":
        files, key, count = ["train", "test"], "fine_labels", 100
    for name in files:
        pixels = rng.integers(0, 256, (per_file, 3072), dtype=np.uint8)
        labels = rng.integers(0, count, per_file).tolist()
        held = {"batch_label": name, key: labels, "data": pixels, "filenames": ["a.png"] * per_file}
        dump(held, folder / name, python2=python2)
        written[name] = pixels, labels
    names = {"fine_label_names": HUNDRED, "coarse_label_names": HUNDRED[:20]}
    if kind == "cifar10":
        names = {"num_cases_per_batch": 10_000, "label_names": CIFAR_NAMES, "num_vis": 3072}
    dump(names, folder / ("meta" if kind == "cifar100" else "batches.meta"), python2=python2)
    return written


@pytest.mark.parametrize("inside", ["", "cifar-10-batches-bin"])
def test_cifar10_reads_the_official_layout(tmp_path, inside):
    written = write_cifar(tmp_path / inside)
    data = load("cifar10", path=tmp_path)
    assert (len(data.train), len(data.test)) == (60, 12)
    assert data.classes == tuple(CIFAR_NAMES)
    assert data.mean == (0.4914, 0.4822, 0.4465)
    # Image 27 is record 3 of the third file; pixel (row 5, column 9) of the green plane.
    record = written["data_batch_3.bin"][3]
    assert data.train.labels[27] == record[0]
    assert data.train.load(torch.tensor([27]))[0, 1, 5, 9] == record[1 + 1024 + 5 * 32 + 9]
    assert data.test.images[11].flatten().tolist() == written["test_batch.bin"][11, 1:].tolist()


@pytest.mark.parametrize(
    ("spoil", "where", "found"),
    [
        (lambda f: (f / "data_batch_4.bin").unlink(), "data_batch_4.bin", "missing"),
        (lambda f: (f / "test_batch.bin").unlink(), "test_batch.bin", "missing"),
        (lambda f: (f / "batches.meta.txt").unlink(), "batches.meta.txt", "missing"),
        (
            lambda f: (f / "batches.meta.txt").write_text("cat\ndog\n"),
            "batches.meta.txt",
            "2 class names",
        ),
        (
            lambda f: (f / "data_batch_2.bin").write_bytes(b"\0" * 3072),
            "data_batch_2.bin",
            "3,072 bytes",
        ),
        (lambda f: (f / "data_batch_2.bin").write_bytes(b""), "data_batch_2.bin", "0 bytes"),
        (
            lambda f: (f / "data_batch_5.bin").write_bytes(b"\x0a" + b"\0" * 3072),
            "data_batch_5.bin",
            "above 9",
        ),
    ],
)
def test_a_spoilt_cifar10_file_is_named(tmp_path, spoil, where, found):
    write_cifar(tmp_path)
    spoil(tmp_path)
    with pytest.raises(DataError, match=found) as error:
        load("cifar10", path=tmp_path)
    assert error.value.where == str(tmp_path / where)


@pytest.mark.parametrize("python2", [True, False])
@pytest.mark.parametrize("inside", ["", "cifar-10-batches-py"])
def test_cifar10_reads_the_layout_that_torchvision_downloads(tmp_path, inside, python2):
    written = write_python(tmp_path / inside, python2=python2)
    assert guess(tmp_path) == "cifar10"
    data = load("cifar10", path=tmp_path)
    assert (len(data.train), len(data.test), data.classes) == (60, 12, tuple(CIFAR_NAMES))
    pixels, labels = written["data_batch_3"]
    assert torch.equal(data.train.images[24:36].flatten(1), torch.from_numpy(pixels))
    assert data.train.labels[24:36].tolist() == labels
    # Pixel (row 5, column 9) of the green plane.
    assert data.test.images[7, 1, 5, 9] == written["test_batch"][0][7, 1024 + 5 * 32 + 9]


def test_an_array_stored_by_columns_is_read_too(tmp_path):
    written = write_python(tmp_path)
    pixels, labels = written["test_batch"]
    held = {"labels": labels, "data": np.asfortranarray(pixels)}
    dump(held, tmp_path / "test_batch", python2=True)
    data = load("cifar10", path=tmp_path)
    assert torch.equal(data.test.images.flatten(1), torch.from_numpy(pixels))


@pytest.mark.parametrize("inside", ["", "cifar-100-python"])
def test_cifar100_reads_the_fine_labels_of_the_python_layout(tmp_path, inside):
    written = write_python(tmp_path / inside, "cifar100")
    assert guess(tmp_path) == "cifar100"
    data = load("cifar100", path=tmp_path)
    assert data.train.labels.tolist() == written["train"][1]
    assert torch.equal(data.test.images.flatten(1), torch.from_numpy(written["test"][0]))
    assert data.classes == tuple(HUNDRED)


@pytest.mark.parametrize("inside", ["", "cifar-100-binary"])
def test_cifar100_reads_the_fine_labels_of_the_binary_layout(tmp_path, inside):
    folder = tmp_path / inside
    folder.mkdir(exist_ok=True)
    records = np.random.default_rng(4).integers(0, 256, (9, 3074), dtype=np.uint8)
    records[:, 0], records[:, 1] = 7, np.arange(90, 99)  # coarse, fine
    for name in ("train.bin", "test.bin"):
        (folder / name).write_bytes(records.tobytes())
    (folder / "fine_label_names.txt").write_text("\n".join(HUNDRED))
    assert guess(tmp_path) == "cifar100"
    data = load("cifar100", path=tmp_path)
    assert data.train.labels.tolist() == list(range(90, 99))
    assert data.test.images[2].flatten().tolist() == records[2, 2:].tolist()


class Hostile:
    def __reduce__(self):
        return os.system, ("touch hacked",)


class Names:
    """An object that a pickle refers to by its class."""


def spoilt(folder, **changes):
    held = {"labels": [1, 2], "data": np.zeros((2, 3072), np.uint8)} | changes
    dump(held, folder / "data_batch_2", python2=False)


@pytest.mark.parametrize(
    ("spoil", "found"),
    [
        (lambda f: spoilt(f, extra=Hostile()), r"contains \w+\.system"),
        (lambda f: spoilt(f, extra=Names()), r"contains (copyreg\._reconstructor|test_cifar)"),
        (lambda f: spoilt(f, extra=np.float64(1)), r"contains numpy.*scalar"),
        (lambda f: spoilt(f, data=np.zeros((2, 3072), np.int64)), "'i8', not of uint8"),
        (lambda f: spoilt(f, data=np.zeros((2, 3072), object)), "'O8', not of uint8"),
        (lambda f: spoilt(f, data=np.zeros((2, 3071), np.uint8)), r"shape \(2, 3071\)"),
        (lambda f: spoilt(f, data=[1, 2]), "'data' is a list"),
        (lambda f: spoilt(f, labels=[1]), "not a list of 2 whole numbers"),
        (lambda f: spoilt(f, labels=[1, 1.5]), "not a list of 2 whole numbers"),
        (lambda f: spoilt(f, labels=[1, 10]), "labels are 1 to 10"),
        (lambda f: dump([1], f / "data_batch_2", python2=False), "a list, not a dict"),
        (lambda f: dump({"data": 1}, f / "data_batch_2", python2=False), "no entry 'labels'"),
        (lambda f: (f / "data_batch_2").write_bytes(b""), "damaged"),
        (lambda f: (f / "data_batch_2").write_bytes(b"\x80\x02}q\x00."), "no entry 'data'"),
        (lambda f: (f / "data_batch_2").write_bytes(b"\x80\x02}r\xff\xff\xff\x7f."), "stores"),
        (
            lambda f: (f / "data_batch_2").write_bytes((f / "data_batch_1").read_bytes()[:9000]),
            "damaged",
        ),
    ],
)
def test_a_spoilt_pickle_is_named_and_runs_nothing(tmp_path, monkeypatch, spoil, found):
    write_python(tmp_path)
    monkeypatch.chdir(tmp_path)
    spoil(tmp_path)
    with pytest.raises(DataError, match=found) as error:
        load("cifar10", path=tmp_path)
    assert error.value.where == str(tmp_path / "data_batch_2")
    assert not (tmp_path / "hacked").exists()


def test_a_file_that_is_missing_or_has_too_few_names_is_named(tmp_path):
    write_python(tmp_path)
    (tmp_path / "batches.meta").unlink()
    with pytest.raises(DataError, match=r"batches\.meta: is missing"):
        load("cifar10", path=tmp_path)
    dump({"label_names": ["cat"]}, tmp_path / "batches.meta", python2=False)
    with pytest.raises(DataError, match="1 class names"):
        load("cifar10", path=tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"no data_batch_1\.bin"):
        load("cifar10", path=tmp_path / "empty")


def test_torchvision_reads_the_same_images_from_the_same_files(tmp_path, monkeypatch):
    detection()  # makes torchvision importable, or skips
    from torchvision.datasets import CIFAR10, CIFAR100, cifar

    monkeypatch.setattr(
        cifar, "check_integrity", lambda *_: True
    )  # the files are not the real ones
    monkeypatch.setattr(CIFAR10, "_check_integrity", lambda _: True)
    write_python(tmp_path / "cifar-10-batches-py")
    write_python(tmp_path / "hundred" / "cifar-100-python", "cifar100")
    for name, theirs, root in (
        ("cifar10", CIFAR10, tmp_path),
        ("cifar100", CIFAR100, tmp_path / "hundred"),
    ):
        data = load(name, path=root)
        for split, part in ((data.train, theirs(root)), (data.test, theirs(root, train=False))):
            assert np.array_equal(split.images.permute(0, 2, 3, 1).numpy(), part.data)
            assert split.labels.tolist() == part.targets
        assert data.classes == tuple(theirs(root).classes)
