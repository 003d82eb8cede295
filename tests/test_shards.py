"""WebDataset shards and data sets of the Hugging Face hub's library on disk."""

import importlib
import io
import json
import sys
import tarfile
import warnings

import numpy as np
import pytest
import torch
from PIL import Image

from slimmer.data import batches, guess, load
from slimmer.errors import DataError


def pixels(seed, size=(12, 10)):
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


def encoded(array, kind="PNG"):
    file = io.BytesIO()
    Image.fromarray(array).save(file, kind)
    return file.getvalue()


def write_tar(path, members, mode="w"):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


def sample(number, label=None, inside=""):
    key = f"{inside}{number:04d}"
    label = number % 3 if label is None else label
    return [(f"{key}.png", encoded(pixels(number))), (f"{key}.cls", b"%d\n" % label)]


def write_shards(root, per_shard=5, names=("train-{:02d}.tar", "val-{:02d}.tar")):
    number = 0
    for name, shards in zip(names, (3, 1), strict=True):
        for shard in range(shards):
            members = []
            for _ in range(per_shard):
                members += sample(number)
                number += 1
            write_tar(root / name.format(shard), members)
    return root


def seen(split):
    return [
        (image.permute(1, 2, 0).numpy(), int(label))
        for image, label in zip(split.load(torch.arange(len(split))), split.labels, strict=True)
    ]


@pytest.mark.parametrize(
    "names",
    [
        ("train-{:02d}.tar", "val-{:02d}.tar"),
        ("imagenet-train-{:06d}.tar", "imagenet-validation-{:06d}.tar"),
        ("train/{:05d}.tar", "test/{:05d}.tar"),
    ],
)
def test_every_image_of_every_shard_is_read_with_its_label(tmp_path, names):
    write_shards(tmp_path, names=names)
    assert guess(tmp_path) == "webdataset"
    data = load("webdataset", path=tmp_path)
    assert (len(data.train), len(data.test), data.size) == (15, 5, (12, 10))
    assert data.classes == ("0", "1", "2")
    for number, (image, label) in enumerate([*seen(data.train), *seen(data.test)]):
        assert np.array_equal(image, pixels(number))
        assert label == number % 3


def test_shards_are_shuffled_as_a_whole_and_resume_exactly(tmp_path):
    write_shards(tmp_path)
    data = load("webdataset", path=tmp_path, size=8)
    options = {"batch_size": 3, "epoch": 1, "seed": 0, "augment": "crop_flip"}
    whole = list(batches(data.train, data, **options))
    rest = list(batches(data.train, data, start=2, **options))
    assert all(torch.equal(x, u) for (x, _), (u, _) in zip(whole[2:], rest, strict=True))


def test_json_labels_other_files_folders_and_class_names(tmp_path):
    for part in ("train", "val"):
        members = []
        for number in range(4):
            key = f"n{number}/{number:04d}"
            members += [
                (f"{key}.jpg", encoded(pixels(number), "JPEG")),
                (f"{key}.json", json.dumps({"label": number % 2, "text": "x"}).encode()),
                (f"{key}.txt", b"a caption"),
            ]
        write_tar(tmp_path / f"{part}-0.tar", members)
    (tmp_path / "classnames.txt").write_text("ant\nbee\n\n")
    data = load("webdataset", path=tmp_path)
    assert data.classes == ("ant", "bee")
    assert data.test.labels.tolist() == [0, 1, 0, 1]


@pytest.mark.filterwarnings("ignore")  # it leaves files open
def test_the_library_reads_the_same_samples(tmp_path):
    library = package("webdataset")
    write_shards(tmp_path)
    shards = [str(file) for file in sorted(tmp_path.glob("train-*.tar"))]
    stream = library.WebDataset(shards, shardshuffle=False).decode("rgb8").to_tuple("png", "cls")
    data = load("webdataset", path=tmp_path)
    theirs = list(stream)
    assert len(theirs) == len(data.train)
    for (image, label), (right, theirs_label) in zip(seen(data.train), theirs, strict=True):
        assert np.array_equal(image, right)
        assert label == theirs_label


def spoil(root, kind):
    file = root / "train-01.tar"
    if kind == "cut":
        file.write_bytes(file.read_bytes()[:1500])
    elif kind == "text":
        file.write_bytes(b"not a tar file" * 100)
    elif kind == "compressed":
        file.unlink()
        write_tar(file, sample(5), "w:gz")
    elif kind == "label":
        write_tar(file, [("0001.png", encoded(pixels(1))), ("0002.cls", b"2")])
    elif kind == "word":
        write_tar(file, [("0001.png", encoded(pixels(1))), ("0001.cls", b"cat")])
    elif kind == "image":
        write_tar(file, [("0001.cls", b"1"), ("0001.mp4", b"")])


@pytest.mark.parametrize(
    ("kind", "found"),
    [
        ("cut", "can't be read as a tar file"),
        ("text", "can't be read as a tar file"),
        ("compressed", r"can't be read as a tar file(?s:.*)compressed"),
        ("label", r"0001: has no label; it has \.png"),
        ("word", r"0001\.cls: contains b'cat'"),
        ("image", r"0001: has no image; it has \.cls, \.mp4"),
    ],
)
def test_a_shard_that_does_not_fit_is_named(tmp_path, kind, found):
    write_shards(tmp_path)
    spoil(tmp_path, kind)
    with pytest.raises(DataError, match=found) as error:
        load("webdataset", path=tmp_path)
    assert error.value.where.startswith(str(tmp_path / "train-01.tar"))


def test_a_shard_that_is_cut_anywhere_is_never_read_as_a_shorter_one(tmp_path):
    write_shards(tmp_path)
    file = tmp_path / "train-01.tar"
    content = file.read_bytes()
    end = len(content.rstrip(b"\0"))
    for length in (*range(0, end, 97), *range(512, end, 512)):
        file.write_bytes(content[:length])
        with pytest.raises(DataError) as error:
            load("webdataset", path=tmp_path)
        assert error.value.where.startswith(str(file))


def test_broken_images_in_shards_are_named_or_skipped(tmp_path):
    write_shards(tmp_path)
    write_tar(tmp_path / "train-00.tar", [*sample(0), ("7.png", b"broken"), ("7.cls", b"1")])
    data = load("webdataset", path=tmp_path)
    with pytest.raises(DataError, match=r"train-00\.tar/7\.png: can't be read as an image"):
        seen(data.train)
    skipped = load("webdataset", path=tmp_path, skip_broken=True)
    assert len(skipped.train) == len(data.train) - 1
    assert "train-00.tar/7.png" in skipped.skipped[0].note


def test_parts_that_are_missing_are_said(tmp_path):
    write_shards(tmp_path, names=("train-{:02d}.tar", "rest-{:02d}.tar"))
    with pytest.raises(DataError, match=r"no \.tar files of both parts; there are rest-00\.tar"):
        load("webdataset", path=tmp_path)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "a.tar").write_bytes(b"")
    with pytest.raises(DataError, match="no known kind of data"):
        guess(tmp_path / "other")


# Hugging Face.


def package(name):
    """A package, or the test is skipped; what it warns about at import is its own business."""
    pytest.importorskip(name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module(name)


@pytest.fixture
def datasets():
    return package("datasets")


def split(datasets, numbers):
    kinds = {"img": datasets.Image(), "label": datasets.ClassLabel(names=["ant", "bee", "cat"])}
    features = datasets.Features(kinds | {"note": datasets.Value("string")})
    rows = {
        "img": [{"bytes": encoded(pixels(number)), "path": None} for number in numbers],
        "label": [number % 3 for number in numbers],
        "note": ["x" for _ in numbers],
    }
    return datasets.Dataset.from_dict(rows, features=features)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("held", ["test", "validation"])
def test_a_dataset_dict_on_disk_is_read(datasets, tmp_path, held):
    shuffled = split(datasets, range(12)).shuffle(seed=3)
    parts = datasets.DatasetDict({"train": shuffled, held: split(datasets, range(20, 25))})
    parts.save_to_disk(str(tmp_path / "saved"))
    assert guess(tmp_path / "saved") == "huggingface"
    data = load("huggingface", path=tmp_path / "saved")
    assert (data.classes, data.size) == (("ant", "bee", "cat"), (12, 10))
    for (image, label), row in zip(seen(data.train), shuffled, strict=True):
        assert np.array_equal(image, np.asarray(row["img"]))
        assert label == row["label"]
    assert data.test.labels.tolist() == [number % 3 for number in range(20, 25)]


@pytest.mark.filterwarnings("ignore")
def test_splits_and_columns_that_do_not_fit_are_said(datasets, tmp_path):
    def saved(name, value):
        value.save_to_disk(str(tmp_path / name))
        return tmp_path / name

    one = split(datasets, range(6))
    cases = [
        (saved("one", one), "contains a single split"),
        (saved("alone", datasets.DatasetDict({"train": one})), "has the splits train"),
        (
            saved(
                "plain", datasets.DatasetDict({"train": one.remove_columns("label"), "test": one})
            ),
            r"has the columns img \(Image\), note \(Value\)",
        ),
    ]
    for path, found in cases:
        assert guess(path) == "huggingface"
        with pytest.raises(DataError, match=found):
            load("huggingface", path=path)
    (tmp_path / "alone" / "train" / "state.json").write_text("{")
    with pytest.raises(DataError, match="can't be read by datasets"):
        load("huggingface", path=tmp_path / "alone")


def test_without_the_package_one_message_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    (tmp_path / "dataset_dict.json").write_text("{}")
    with pytest.raises(DataError, match=r"needs the package datasets(?s:.*)pip install datasets"):
        load(guess(tmp_path), path=tmp_path)
