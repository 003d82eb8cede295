"""Data sets: what is read, in which order, how it varies, and what is refused."""

import sys
import threading
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from PIL import Image

from slimmer.data import (
    Data,
    InMemory,
    batches,
    evaluation_batches,
    fingerprint,
    guess,
    load,
    names,
    steps,
)
from slimmer.data.augment import _mixed, draws, flipped, shifted
from slimmer.data.batches import held
from slimmer.data.images import Relabelled
from slimmer.errors import DataError

CIFAR_NAMES = [
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
]
SUFFIXES = ["png", "jpg", "jpeg", "bmp", "webp"]


def write_cifar(folder, per_file=12):
    """Records of (label byte, 3072 pixel bytes); returns them by file name."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    written = {}
    for name in [f"data_batch_{k}.bin" for k in range(1, 6)] + ["test_batch.bin"]:
        records = rng.integers(0, 256, (per_file, 3073), dtype=np.uint8)
        records[:, 0] = np.arange(per_file) % 10
        (folder / name).write_bytes(records.tobytes())
        written[name] = records
    (folder / "batches.meta.txt").write_text("\n".join(CIFAR_NAMES) + "\n\n")
    return written


def write_image(path, size=(16, 16), mode="RGB", seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    channels = {"RGB": (3,), "L": (), "RGBA": (4,)}[mode]
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, *channels), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return pixels


def write_folder(
    root, classes=("ant", "bee", "cat"), count=10, parts=("train", "test"), size=(16, 16)
):
    for number, name in enumerate(classes):
        for k in range(count):
            for part in parts:
                write_image(root / part / name / f"{k:03d}.png", size, seed=100 * number + k)
    return root


def write_file(tmp_path, body):
    file = tmp_path / "mine.py"
    file.write_text("import torch\nfrom slimmer.data import Data, InMemory\n" + body)
    return f"{file}:made"


PAIRS = """
def made():
    g = torch.Generator().manual_seed(0)
    def part(n):
        images = torch.randint(0, 256, (n, 3, 8, 8), generator=g, dtype=torch.uint8)
        return images, torch.arange(n) % 3
    return {"train": part(30), "test": part(9), "augment": "crop_flip"}
"""


def numbered(count=24, size=(8, 8), channels=3, augment="crop_flip", **changes):
    """Random images whose label is their index, in units of 0..1 without normalisation."""
    rng = np.random.default_rng(1)
    images = torch.from_numpy(rng.integers(1, 256, (count, channels, *size), dtype=np.uint8))
    split = InMemory(images, torch.arange(count))
    fields = {
        "name": "numbered",
        "train": split,
        "test": split,
        "classes": tuple(map(str, range(count))),
        "mean": (0.0,) * channels,
        "std": (1.0,) * channels,
        "size": size,
        "augment": augment,
    }
    return Data(**(fields | changes))


@pytest.fixture(params=["digits", "cifar10", "folder", "file"])
def data(request, tmp_path):
    if request.param == "digits":
        return load("digits", augment="crop")
    if request.param == "cifar10":
        write_cifar(tmp_path)
        return load("cifar10", path=tmp_path)
    if request.param == "folder":
        # Larger than the wanted size, so that random resized crops are at work.
        return load("folder", path=write_folder(tmp_path, size=(21, 27)), size=16)
    return load(write_file(tmp_path, PAIRS))


def train(data, split=None, **changes):
    options = {"batch_size": 8, "epoch": 0, "seed": 0, "augment": data.augment} | changes
    return list(batches(split or data.train, data, **options))


def same(a, b):
    return len(a) == len(b) and all(
        torch.equal(x, u) and torch.equal(y, v) for (x, y), (u, v) in zip(a, b, strict=True)
    )


def by_label(parts):
    return {int(label): image for x, y in parts for image, label in zip(x, y, strict=True)}


# Every source of data: the same contract.


def test_batches_have_the_promised_shapes_and_types(data):
    got = train(data)
    assert len(got) == steps(data.train, 8) == len(data.train) // 8
    for x, y in got:
        assert x.shape == (8, *data.input_size)
        assert (x.dtype, y.dtype) == (torch.float32, torch.int64)
        assert y.min() >= 0
        assert y.max() < data.num_classes
    assert data.train.load(torch.tensor([3, 0])).dtype == torch.uint8


def test_the_same_seed_and_epoch_give_the_same_batches_and_others_do_not(data):
    first = train(data, epoch=2, seed=5)
    assert same(first, train(data, epoch=2, seed=5))
    assert not same(first, train(data, epoch=3, seed=5))
    assert not same(first, train(data, epoch=2, seed=6))


@pytest.mark.parametrize("world", [2, 4])
def test_ranks_together_see_bit_for_bit_what_one_process_sees(data, world):
    whole = train(data, epoch=1)
    ranks = [train(data, epoch=1, rank=rank, world=world) for rank in range(world)]
    joined = [
        tuple(torch.cat(parts) for parts in zip(*shares, strict=True))
        for shares in zip(*ranks, strict=True)
    ]
    assert all(len(share[0][0]) == 8 // world for share in ranks)
    assert same(whole, joined)


def test_start_skips_batches_and_changes_no_other(data):
    whole = train(data, epoch=1)
    assert same(whole[2:], train(data, epoch=1, start=2))
    assert train(data, epoch=1, start=len(whole)) == []


def test_augmentation_changes_images_and_keeps_order_and_labels(data):
    varied, plain = train(data), train(data, augment="none")
    assert all(torch.equal(y, v) for (_, y), (_, v) in zip(varied, plain, strict=True))
    changed = [
        not torch.equal(a, b)
        for (x, _), (u, _) in zip(varied, plain, strict=True)
        for a, b in zip(x, u, strict=True)
    ]
    assert sum(changed) > 0.8 * len(changed)


def test_evaluation_covers_every_image_once_in_natural_order(data):
    for split in (data.train, data.test):
        got = list(evaluation_batches(split, data, 7))
        assert [len(y) for _, y in got[:-1]] == [7] * (len(got) - 1)
        assert torch.equal(torch.cat([y for _, y in got]), split.labels)
        one_by_one = torch.cat([x for x, _ in evaluation_batches(split, data, 1)])
        assert torch.equal(torch.cat([x for x, _ in got]), one_by_one)


def test_class_order_moves_labels_and_leaves_images(data):
    from slimmer.data.images import in_order

    # The first class moves to the end, so that label k becomes k - 1.
    turned, _ = in_order(data, data.classes[1:] + data.classes[:1])
    assert torch.equal(turned.labels, (data.train.labels - 1) % data.num_classes)
    assert torch.equal(turned.load(torch.tensor([1])), data.train.load(torch.tensor([1])))
    assert (len(turned), turned.ahead) == (len(data.train), data.train.ahead)


# Order and random views.


def test_a_fingerprint_tells_labels_images_and_numbers_apart():
    data = numbered()
    assert fingerprint(data) == fingerprint(numbered(mean=(0.5,) * 3))
    images, labels = data.test.images, data.test.labels
    last = images.clone()
    last[-1, 0, 0, 0] += 1
    others = (
        InMemory(last, labels),
        InMemory(images, labels.flip(0)),
        InMemory(images[:-1], labels[:-1]),
    )
    assert len({fingerprint(data), *(fingerprint(numbered(test=other)) for other in others)}) == 4


def test_the_generator_is_splitmix64():
    # The first outputs for state 0, as published with the reference implementation.
    golden = np.uint64(0x9E3779B97F4A7C15)
    states = np.arange(3, dtype=np.uint64) * golden
    assert [hex(word) for word in _mixed(states)] == [
        "0xe220a8397b1dcdaf",
        "0x6e789e6aa1b965f4",
        "0x6c45d188009454f",
    ]


def test_draws_are_uniform_and_independent_of_one_another():
    numbers = draws(0, 0, torch.arange(20_000))
    assert numbers.min() >= 0
    assert numbers.max() < 1
    counts = torch.stack([torch.histc(column.float(), 10, 0, 1) for column in numbers.T])
    assert (counts - 2000).abs().max() < 5 * (20_000 * 0.1 * 0.9) ** 0.5
    neighbours = torch.cat(
        [
            numbers[:-1],
            numbers[1:],
            draws(0, 1, torch.arange(19_999)),
            draws(1, 0, torch.arange(19_999)),
        ],
        1,
    )
    off_diagonal = torch.corrcoef(neighbours.T).fill_diagonal_(0)
    assert off_diagonal.abs().max() < 5 / 20_000**0.5


def test_an_epoch_holds_each_image_once_and_drops_only_the_rest():
    data = numbered(count=21)
    seen = torch.cat([y for _, y in train(data, batch_size=5)])
    assert len(seen) == 20
    assert len(seen.unique()) == 20
    assert not torch.equal(seen, seen.sort().values)


def test_a_split_smaller_than_one_batch_is_one_batch():
    data = numbered(count=6)
    (only,) = train(data, batch_size=64)
    assert sorted(only[1].tolist()) == list(range(6))
    halves = [train(data, batch_size=64, rank=rank, world=2)[0] for rank in range(2)]
    assert torch.equal(torch.cat([x for x, _ in halves]), only[0])


def test_the_view_of_an_image_depends_on_nothing_but_seed_epoch_and_index():
    data = numbered()
    small, large = by_label(train(data, batch_size=3)), by_label(train(data, batch_size=12))
    assert small.keys() == large.keys() == set(range(24))
    assert all(torch.equal(small[k], large[k]) for k in small)
    other = by_label(train(data, batch_size=3, epoch=1))
    assert sum(not torch.equal(small[k], other[k]) for k in small) > 18


@pytest.mark.parametrize(("size", "pad"), [((32, 32), (4, 4)), ((8, 16), (1, 2)), ((4, 4), (1, 1))])
def test_every_view_is_a_window_of_the_padded_image_or_its_mirror(size, pad):
    data = numbered(count=60, size=size)
    found = []
    for label, view in by_label(train(data, batch_size=60)).items():
        padded = np.pad(
            data.train.images[label].numpy(), ((0, 0), (pad[0], pad[0]), (pad[1], pad[1]))
        )
        pixels = (view * 255).round().to(torch.uint8).numpy()
        places = [
            (top, left, mirror)
            for top in range(2 * pad[0] + 1)
            for left in range(2 * pad[1] + 1)
            for mirror in (False, True)
            if np.array_equal(
                padded[:, top : top + size[0], left : left + size[1]][..., :: -1 if mirror else 1],
                pixels,
            )
        ]
        assert len(places) == 1
        found += places
    assert {top for top, _, _ in found} == set(range(2 * pad[0] + 1))
    assert {left for _, left, _ in found} == set(range(2 * pad[1] + 1))
    assert 15 < sum(mirror for *_, mirror in found) < 45


def test_each_mode_does_what_it_is_called():
    data = numbered()
    plain = by_label(train(data, augment="none"))
    assert all(torch.equal(plain[k], data.train.images[k] / 255) for k in plain)
    mirrored = by_label(train(data, augment="flip"))
    assert all(
        torch.equal(mirrored[k], plain[k]) or torch.equal(mirrored[k], plain[k].flip(-1))
        for k in plain
    )
    assert any(not torch.equal(mirrored[k], plain[k]) for k in plain)
    cropped = by_label(train(data, augment="crop"))
    assert any((cropped[k] == 0).any() for k in plain)


def test_views_leave_their_input_as_it_was():
    images = numbered().train.images
    before = images.clone()
    shifted(images, draws(0, 0, torch.arange(24))[:, 1:5])
    flipped(images, draws(0, 0, torch.arange(24))[:, 5])
    list(evaluation_batches(numbered().train, numbered(), 4))
    assert torch.equal(images, before)


# Normalisation.


def test_normalisation_is_what_a_hand_computes():
    split = InMemory(
        torch.tensor([0, 128, 255], dtype=torch.uint8)[None, :, None, None], torch.tensor([0])
    )
    data = Data(
        "hand", split, split, ("a", "b"), (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616), (1, 1)
    )
    ((x, _),) = evaluation_batches(split, data, 1)
    # -0.4914 / 0.2470; 0.01976078 / 0.2435; 0.5535 / 0.2616
    by_hand = [-1.9894737, 0.0811531, 2.1158257]
    assert x.flatten().tolist() == pytest.approx(by_hand, abs=1e-6)
    ((trained, _),) = train(data, split=split)
    assert torch.equal(trained, x)


def test_float_images_are_not_divided_by_255():
    split = InMemory(torch.full((2, 1, 4, 4), 0.75, dtype=torch.float64), torch.tensor([0, 1]))
    data = Data("floats", split, split, ("a", "b"), (0.5,), (0.25,), (4, 4))
    ((x, _),) = evaluation_batches(split, data, 2)
    assert x.dtype == torch.float32
    assert torch.equal(x, torch.ones(2, 1, 4, 4))
    assert split.images[0, 0, 0, 0] == 0.75


# digits


def test_digits_are_split_by_every_fifth_and_enlarged():
    from sklearn.datasets import load_digits

    bunch, data = load_digits(), load("digits")
    assert (data.input_size, data.num_classes, data.augment) == ((1, 16, 16), 10, "none")
    assert (len(data.train), len(data.test)) == (1437, 360)
    assert data.test.labels.tolist() == bunch.target[::5].tolist()
    # Bilinear enlargement by two keeps an image's mean but for its border.
    enlarged = data.test.images.double().mean((1, 2, 3)) / 255
    assert torch.allclose(
        enlarged, torch.from_numpy(bunch.images[::5].mean((1, 2)) / 16), atol=5e-3
    )


def test_digits_figures_are_those_of_the_training_images():
    data = load("digits")
    units = data.train.images.double() / 255
    assert data.mean[0] == pytest.approx(units.mean().item(), abs=5e-5)
    assert data.std[0] == pytest.approx(units.std().item(), abs=5e-5)
    assert load("digits", size=32).input_size == (1, 32, 32)


# cifar10


def test_what_is_given_replaces_the_defaults(tmp_path):
    write_cifar(tmp_path)
    order = tuple(sorted(CIFAR_NAMES, reverse=True))
    data = load(
        "cifar10",
        path=str(tmp_path),
        mean=[0.5] * 3,
        std=[0.25] * 3,
        classes=order,
        augment="flip",
        size=32,
    )
    assert (data.mean, data.std, data.augment, data.classes) == (
        (0.5,) * 3,
        (0.25,) * 3,
        "flip",
        order,
    )
    assert [order[label] for label in data.test.labels] == [CIFAR_NAMES[k % 10] for k in range(12)]
    listed = tmp_path / "order.txt"
    listed.write_text("\n".join(order) + "\n\n")
    assert torch.equal(load("cifar10", path=tmp_path, classes=listed).test.labels, data.test.labels)


# folder


@pytest.mark.parametrize("held", ["test", "val"])
def test_a_folder_in_two_parts_is_read_by_sorted_class(tmp_path, held):
    write_folder(tmp_path, classes=("bee", "ant"), count=4, parts=("train", held))
    (tmp_path / "train" / ".cache").mkdir()
    (tmp_path / "train" / "ant" / "notes.txt").write_text("no image")
    data = load("folder", path=tmp_path, size=16)
    assert data.classes == ("ant", "bee")
    assert data.train.labels.tolist() == data.test.labels.tolist() == [0] * 4 + [1] * 4
    assert data.mean == (0.485, 0.456, 0.406)
    assert load("folder", path=tmp_path).size == (224, 224)


@pytest.mark.parametrize("suffix", [*SUFFIXES, "JPG"])
def test_every_kind_of_image_file_is_read(tmp_path, suffix):
    for name in ("a", "b"):
        for k in range(2):
            write_image(tmp_path / name / f"{k}.{suffix}", seed=k)
    assert len(load("folder", path=tmp_path, size=16).train) == 2


def test_a_folder_without_parts_holds_out_a_tenth_of_each_class_for_good(tmp_path):
    write_folder(tmp_path / "one", count=20, parts=("",))
    write_folder(tmp_path / "two", classes=("cat", "bee", "ant"), count=20, parts=("",))
    one, two = (load("folder", path=tmp_path / name, size=16) for name in ("one", "two"))
    assert one.test.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert not set(one.train.files) & set(one.test.files)
    assert len(one.train) == 54
    held = [
        [file.relative_to(tmp_path / name) for file in data.test.files]
        for name, data in (("one", one), ("two", two))
    ]
    assert held[0] == held[1]


def test_evaluation_scales_by_256_to_224_and_takes_the_centre(tmp_path):
    # The shorter side is 256 already, so that no pixel is interpolated.
    for part in ("train", "test"):
        pixels = write_image(tmp_path / part / "a" / "0.png", (256, 512))
        write_image(tmp_path / part / "b" / "0.png", (256, 512), seed=1)
    seen = load("folder", path=tmp_path, size=224).test.load(torch.tensor([0]))[0]
    assert np.array_equal(seen.permute(1, 2, 0).numpy(), pixels[16:240, 144:368])


def test_an_image_of_the_wanted_size_is_taken_whole_and_shifted_in_training(tmp_path):
    write_folder(tmp_path, size=(16, 16))
    data = load("folder", path=tmp_path, size=16, mean=(0, 0, 0), std=(1, 1, 1))
    pixels = np.asarray(Image.open(data.train.files[0]))
    whole = data.train.load(torch.tensor([0]))
    assert np.array_equal(whole[0].permute(1, 2, 0).numpy(), pixels)
    crops = draws(0, 0, torch.tensor([0]))[:, 1:5]
    assert torch.equal(data.train.load(torch.tensor([0]), crops), shifted(whole, crops))


def test_a_random_resized_crop_keeps_the_colours_and_moves(tmp_path):
    # Red grows downwards and green to the right, so that a view shows where it was cut.
    rows, columns = np.mgrid[0:60, 0:80]
    pixels = np.stack([rows * 4, columns * 3, np.full_like(rows, 7)], axis=-1).astype(np.uint8)
    for name in ("a", "b"):
        for k in range(2):
            (tmp_path / name).mkdir(exist_ok=True)
            Image.fromarray(pixels).save(tmp_path / name / f"{k}.png")
    split = load("folder", path=tmp_path, size=24).train
    indices = torch.zeros(200, dtype=torch.int64)
    views = split.load(indices, draws(0, 0, torch.arange(200))[:, 1:5]).double()
    assert (views[:, 2] == 7).all()
    height = (views[:, 0, -1, :] - views[:, 0, 0, :]).mean(1) / 4 * 24 / 23
    width = (views[:, 1, :, -1] - views[:, 1, :, 0]).mean(1) / 3 * 24 / 23
    area = height * width / (60 * 80)
    assert area.min() > 0.05
    assert area.max() > 0.75
    assert (width / height).min() > 0.7
    assert (width / height).max() < 1.45
    assert views[:, 0, 0, 0].std() > 10
    assert views[:, 1, 0, 0].std() > 10


def test_grey_images_become_rgb_unless_mean_has_one_number(tmp_path):
    for name in ("a", "b"):
        for k in range(2):
            pixels = write_image(tmp_path / name / f"{k}.png", mode="L")
    rgb = load("folder", path=tmp_path, size=16).train.load(torch.tensor([0]))
    assert rgb.shape == (1, 3, 16, 16)
    assert all(np.array_equal(rgb[0, c].numpy(), pixels) for c in range(3))
    grey = load("folder", path=tmp_path, size=16, mean=[0.3], std=[0.3])
    assert grey.input_size == (1, 16, 16)
    assert np.array_equal(grey.train.load(torch.tensor([0]))[0, 0].numpy(), pixels)


def test_transparent_and_palette_images_are_read_without_a_warning(tmp_path):
    for name in ("a", "b"):
        write_image(tmp_path / name / "0.png", mode="RGBA")
        palette = Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16)).convert("P")
        palette.info["transparency"] = b"\x00" * 256
        palette.save(tmp_path / name / "1.png")
    data = load("folder", path=tmp_path, size=16)
    assert sum(len(y) for _, y in evaluation_batches(data.train, data, 8)) == 2


def spoil_image(kind):
    def spoil(root):
        file = root / "train" / "ant" / "000.png"
        if kind == "text":
            file.write_text("no image")
        elif kind == "empty":
            file.write_bytes(b"")
        elif kind == "truncated":
            file.write_bytes(file.read_bytes()[:300])
        elif kind == "folder":
            file.unlink()
            file.mkdir()
        else:
            # A float image, which may have any range of values.
            Image.fromarray(np.full((16, 16), 0.5, np.float32)).save(file, format="tiff")

    return spoil


@pytest.mark.parametrize("kind", ["text", "empty", "truncated", "folder", "deep"])
def test_an_unreadable_image_is_named_when_it_is_read(tmp_path, kind):
    write_folder(tmp_path)
    data = load("folder", path=tmp_path, size=16)
    spoil_image(kind)(tmp_path)
    for read in (lambda: train(data), lambda: list(evaluation_batches(data.train, data, 4))):
        with pytest.raises(DataError) as error:
            read()
        assert error.value.where == str(tmp_path / "train" / "ant" / "000.png")


def empty_class(root):
    for file in (root / "train" / "bee").iterdir():
        file.unlink()


def rename_class(root):
    (root / "test" / "bee").rename(root / "test" / "wasp")


def without(part):
    def remove(root):
        (root / part).rename(root.parent / f"{root.name}-{part}")

    return remove


@pytest.mark.parametrize(
    ("spoil", "found"),
    [
        (empty_class, "no image in 1 class folders: bee"),
        (rename_class, r"train/ only: \['bee'\]; in test/ only: \['wasp'\]"),
        (without("test"), "there are no classes in test, val, valid, validation"),
        (without("train"), "no images in folders by class"),
    ],
)
def test_a_mixed_up_folder_is_refused(tmp_path, spoil, found):
    root = write_folder(tmp_path / "images")
    spoil(root)
    with pytest.raises(DataError, match=found):
        load("folder", path=root, size=16)


def test_a_folder_without_images_or_with_one_class_is_refused(tmp_path):
    with pytest.raises(DataError, match="no images in folders by class"):
        load("folder", path=tmp_path)
    write_folder(tmp_path / "lone", classes=("ant",), parts=("",))
    with pytest.raises(DataError, match="only one class: ant"):
        load("folder", path=tmp_path / "lone")
    write_folder(tmp_path / "few", count=1, parts=("",))
    with pytest.raises(DataError, match="only one image in ant, bee, cat"):
        load("folder", path=tmp_path / "few")


# A function in the user's file.


def test_a_file_may_return_pairs_a_mapping_or_data(tmp_path):
    pairs = load(
        write_file(
            tmp_path,
            "def made():\n    x = torch.zeros(4, 1, 5, 6, dtype=torch.uint8)\n"
            "    y = torch.tensor([0, 1, 2, 0])\n    return (x, y), (x[:2], y[:2])\n",
        )
    )
    assert (pairs.input_size, pairs.classes, len(pairs.test)) == ((1, 5, 6), ("0", "1", "2"), 2)
    assert (pairs.mean, pairs.std, pairs.augment) == ((0.0,), (1.0,), "none")
    mapping = load(
        write_file(
            tmp_path,
            "def made():\n    x = torch.rand(4, 1, 5, 6)\n    y = torch.tensor([0, 1, 1, 0])\n"
            "    return {'train': (x, y), 'test': (x, y), 'classes': ['no', 'yes'], 'mean': "
            "[0.5]}\n",
        )
    )
    assert (mapping.classes, mapping.mean) == (("no", "yes"), (0.5,))
    given = load(
        write_file(
            tmp_path,
            "def made():\n    s = InMemory(torch.rand(4, 1, 5, 6), torch.tensor([0, 1, 1, 0]))\n"
            "    return Data('mine', s, s, ('no', 'yes'), (0.1,), (0.2,), (5, 6))\n",
        ),
        std=[0.3],
    )
    assert (given.name, given.mean, given.std) == ("mine", (0.1,), (0.3,))


X, Y = "x = torch.zeros(4, 1, 5, 6)", "y = torch.tensor([0, 1, 1, 0])"


@pytest.mark.parametrize(
    ("returned", "found"),
    [
        ("7", "returned a int"),
        ("(1, 2, 3)", "returned a tuple of 3"),
        ("((x, y), 3)", "a int"),
        ("((x, y), (x, [0, 1]))", "Tensor and list"),
        ("((x[0], y), (x, y))", r"images are torch.float32 of shape \(1, 5, 6\)"),
        ("((x.long(), y), (x, y))", "images are torch.int64"),
        ("((x, y.float()), (x, y))", "labels are torch.float32"),
        ("((x, y[:3]), (x, y))", r"shape \(3,\) for 4 images"),
        ("((x[:0], y[:0]), (x, y))", "no images"),
        ("((x / 0, y), (x, y))", "NaN"),
        ("((x, y), (x, y + 1))", "label 2"),
        ("((x, y - 1), (x, y - 1))", "1 class"),
        ("((x, 2 * y - 1), (x, y))", "2 labels out of range, the first is -1"),
        ("((x, y), (x[..., :4], y))", r"shape \(1, 5, 4\)"),
        (
            "{'train': (x, y), 'tests': (x, y)}",
            r"lacks \['test'\] and has unknown keys \['tests'\]",
        ),
        ("{'train': (x, y), 'test': (x, y), 'mean': 0.5}", "mean is 0.5"),
        ("{'train': (x, y), 'test': (x, y), 'classes': [1, 2]}", r"classes is \[1, 2\]"),
        ("{'train': (x, y), 'test': (x, y), 'augment': 'mixup'}", "'mixup' is not known"),
        ("1 / 0", "ZeroDivisionError"),
        (
            "Data('mine', InMemory(x, y), InMemory(x, y), ('a', 'b'), (0.5,), (0.5,), (9, 9))",
            r"shape \(1, 5, 6\)",
        ),
    ],
)
def test_what_a_file_returns_and_does_not_fit_is_said(tmp_path, returned, found):
    name = write_file(tmp_path, f"def made():\n    {X}\n    {Y}\n    return {returned}\n")
    with pytest.raises(DataError, match=found):
        load(name)


def test_a_file_or_function_that_is_not_there_is_said(tmp_path):
    name = write_file(tmp_path, PAIRS)
    with pytest.raises(DataError, match="does not exist"):
        load(str(tmp_path / "other.py:made"))
    with pytest.raises(DataError, match=r"no function 'mode'\n.*did you mean 'made'"):
        load(name.replace(":made", ":mode"))
    with pytest.raises(DataError, match="SyntaxError"):
        load(write_file(tmp_path, "def made(:\n"))
    with pytest.raises(DataError, match="is given"):
        load(write_file(tmp_path, PAIRS), path=tmp_path)


# Names, paths and options.


def test_a_name_that_is_not_known_is_refused_with_the_nearest():
    assert names() == (
        "digits",
        "cifar10",
        "cifar100",
        "folder",
        "webdataset",
        "huggingface",
    )
    with pytest.raises(
        DataError, match=r"(?s)'cifar' is not known.*did you mean 'cifar10'.*FILE\.py:FUNCTION"
    ):
        load("cifar")


@pytest.mark.parametrize("name", ["cifar10", "folder"])
def test_a_path_that_is_missing_or_a_file_is_refused(tmp_path, name):
    (tmp_path / "archive.tar.gz").write_bytes(b"")
    for path, found in (
        (None, "no path"),
        ("absent", "does not exist"),
        ("archive.tar.gz", "is a file"),
    ):
        with pytest.raises(DataError, match=found):
            load(name, path=path and tmp_path / path)


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ({"path": "somewhere"}, "somewhere is given"),
        ({"size": 4}, "use at least 8x8"),
        ({"augment": "flip"}, "mirrored digit"),
        ({"augment": "mixup"}, "'mixup' is not known"),
        ({"mean": (0.5, 0.5)}, "mean has 2 numbers, std 1"),
        ({"mean": (0.5,) * 3, "std": (0.5,) * 3}, r"= \(3, 16, 16\)"),
        ({"mean": (77.8,)}, "divide"),
        ({"std": (0.0,)}, "deviations above 0"),
        ({"mean": (float("nan"),)}, "means must be in"),
        ({"classes": ("a", "b")}, r"2 names: \['0'"),
        ({"classes": tuple("00123456789")}, "each once"),
        ({"classes": "/no/such/list.txt"}, "can't be read"),
    ],
)
def test_an_option_that_does_not_fit_is_refused(options, found):
    with pytest.raises(DataError, match=found):
        load("digits", **options)


def test_another_size_than_the_data_has_is_refused(tmp_path):
    write_cifar(tmp_path)
    with pytest.raises(DataError, match=r"images are \(32, 32\), not \(224, 224\)"):
        load("cifar10", path=tmp_path, size=224)


@pytest.mark.parametrize(
    "changes",
    [
        {"classes": ("a",)},
        {"classes": ("a", "a")},
        {"size": (0, 8)},
        {"mean": (), "std": ()},
        {"augment": "spin"},
    ],
)
def test_data_that_can_not_be_is_refused(changes):
    with pytest.raises(DataError):
        numbered(count=2, **changes)


def test_guess_tells_what_lies_at_a_path(tmp_path):
    write_cifar(tmp_path / "a" / "cifar-10-batches-bin")
    write_folder(tmp_path / "b", parts=("",))
    write_folder(tmp_path / "c")
    assert guess(tmp_path / "a") == guess(tmp_path / "a" / "cifar-10-batches-bin") == "cifar10"
    assert guess(tmp_path / "b") == guess(str(tmp_path / "c")) == "folder"
    name = write_file(tmp_path, PAIRS)
    assert guess(name) == name
    assert load(guess(name), path=name).num_classes == 3
    assert guess("digits") == "digits"
    assert load(guess("digits"), path="digits").num_classes == 10


def test_guess_says_what_it_looked_for(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "data.csv").write_text("")
    (tmp_path / "mine.py").write_text("")
    cases = [
        ("empty", "it is empty"),
        ("other", "it contains data.csv"),
        ("gone", "does not exist"),
        ("other/data.csv", "is a file"),
        ("mine.py", "the function is missing"),
    ]
    for path, found in cases:
        with pytest.raises(DataError, match=found) as error:
            guess(tmp_path / path)
        assert "FUNCTION" in error.value.right


# Processes, and batches loaded ahead.


@pytest.mark.parametrize(
    "options",
    [
        {"batch_size": 9, "world": 2},
        {"batch_size": 0},
        {"batch_size": -8},
        {"batch_size": 32, "world": 32},
        {"augment": "spin"},
    ],
)
def test_batches_that_can_not_be_shared_are_refused_at_once(options):
    data = numbered()
    with pytest.raises(DataError):
        batches(
            data.train,
            data,
            **({"batch_size": 8, "epoch": 0, "seed": 0, "augment": "none"} | options),
        )
    with pytest.raises(DataError):
        next(evaluation_batches(data.train, data, 0))
    with pytest.raises(ValueError, match="rank 2 of 2"):
        train(data, rank=2, world=2)


@dataclass(frozen=True)
class Slow:
    """Images whose loads are written down; from the second on they wait for `go`."""

    inner: InMemory
    go: threading.Event
    loaded: list
    third: threading.Event
    ahead: int = 2

    @property
    def labels(self):
        return self.inner.labels

    def __len__(self):
        return len(self.inner)

    def load(self, indices, crops=None):
        self.loaded.append(indices)
        if self.loaded[0] is not indices:
            assert self.go.wait(timeout=10)
        if len(self.loaded) == 3:
            self.third.set()
        return self.inner.load(indices, crops)


def test_batches_are_loaded_ahead_in_order_and_no_further_than_asked():
    data = numbered(count=80)
    slow = Slow(data.train, threading.Event(), [], threading.Event())
    slow.go.set()
    running = batches(slow, data, batch_size=4, epoch=0, seed=0, augment="crop_flip")
    first = next(running)
    assert slow.third.wait(timeout=10), "two batches are loaded while the first is used"
    running.close()
    assert len(slow.loaded) == 3
    whole = train(data, batch_size=4)
    assert same([first], whole[:1])
    assert same(train(data, split=slow, batch_size=4), whole)


def test_batches_that_nobody_waits_for_are_not_loaded():
    data = numbered(count=80)
    slow = Slow(data.train, threading.Event(), [], threading.Event(), ahead=10)
    running = batches(slow, data, batch_size=4, epoch=0, seed=0, augment="none")
    next(running)
    # Closing waits for the loads that run; the timer lets them end after the others were called
    # off.
    timer = threading.Timer(0.3, slow.go.set)
    timer.start()
    running.close()
    timer.join()
    assert len(slow.loaded) <= 4


# On another device.


@pytest.mark.parametrize("augment", ["none", "crop", "flip", "crop_flip"])
def test_batches_of_a_held_split_are_made_on_its_device(augment):
    data = load("digits")
    split = held(
        data.train, torch.device("meta")
    )  # a device that computes nothing, so all that comes is of its shape
    options = {"batch_size": 64, "epoch": 0, "seed": 0, "augment": augment}
    for (x, y), (images, labels) in zip(
        batches(split, data, **options), batches(data.train, data, **options), strict=True
    ):
        assert (x.device.type, x.shape, x.dtype) == ("meta", images.shape, images.dtype)
        assert torch.equal(y, labels)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("augment", ["none", "crop_flip"])
def test_batches_made_on_a_gpu_are_those_of_a_cpu_bit_for_bit(augment):
    data = numbered(count=80)
    there = train(data, split=held(data.train, torch.device("cuda")), augment=augment)
    assert all(x.is_cuda for x, _ in there)
    assert same([(x.cpu(), y) for x, y in there], train(data, augment=augment))


def test_every_grey_is_normalised_as_float32_divides():
    """On each device by one rounding a step, so that no device's batches differ from another's."""
    split = InMemory(torch.arange(256, dtype=torch.uint8)[None, None], torch.tensor([0]))
    data = Data("greys", split, split, ("a", "b"), (0.4914,), (0.247,), (1, 256))
    ((x, _),) = evaluation_batches(split, data, 1)
    greys = np.arange(256, dtype=np.float32)
    assert np.array_equal(
        x.flatten().numpy(), (greys / np.float32(255) - np.float32(0.4914)) / np.float32(0.247)
    )


def test_what_is_no_tensor_or_too_large_stays_where_it_is(monkeypatch, tmp_path):
    meta = torch.device("meta")
    files = load("folder", path=write_folder(tmp_path)).train
    assert held(files, meta) is files
    split = numbered().train
    relabelled = held(Relabelled(split, split.labels + 1), meta)
    assert (relabelled.images.images.device, int(relabelled.labels[0])) == (
        meta,
        int(split.labels[0]) + 1,
    )
    monkeypatch.setattr(sys.modules[held.__module__], "HELD", split.images.nbytes - 1)
    assert held(split, meta) is split
