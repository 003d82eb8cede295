"""Folders of images as people have them: ImageNet's layouts, unusual modes, broken files."""

import io
import json
import warnings

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from main_job import slimmer
from PIL import Image
from scipy.io import savemat

from slimmer.data import batches, evaluation_batches, image_files, load
from slimmer.data.augment import draws
from slimmer.data.decode import decoded
from slimmer.data.image_files import threads
from slimmer.data.images import Skipped
from slimmer.data.views import random_box, view
from slimmer.errors import DataError

SYNSETS = ["n01440764", "n02119789", "n03995372"]


def pixels(seed=0, size=(16, 16), channels=3, top=256):
    shape = (*size, channels) if channels > 1 else size
    return np.random.default_rng(seed).integers(0, top, shape, dtype=np.uint8)


def save(path, array=None, seed=0, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels(seed) if array is None else array).save(path, **options)


def train_part(root, name="train", classes=SYNSETS, count=2, inside=""):
    for number, synset in enumerate(classes):
        for k in range(count):
            save(root / name / synset / inside / f"{k}.png", seed=10 * number + k)


def flat_part(root, name="val", count=6):
    """Flat images val_1 to val_N; returns the first pixel's red value by file name."""
    for k in range(1, count + 1):
        save(root / name / f"val_{k}.png", seed=100 + k)


@pytest.fixture
def imagenet(tmp_path):
    train_part(tmp_path)
    flat_part(tmp_path)
    return tmp_path


def as_rgb(file, **options):
    image, _ = decoded(file, "RGB", **options)
    return np.asarray(image)


# Layouts.


@pytest.mark.parametrize("train", ["train", "training"])
@pytest.mark.parametrize("held", ["test", "val", "valid", "validation"])
def test_the_usual_names_of_parts_are_read(tmp_path, train, held):
    train_part(tmp_path, train, count=3)
    train_part(tmp_path, held, count=1)
    data = load("folder", path=tmp_path, size=16)
    assert (len(data.train), len(data.test), data.classes) == (9, 3, tuple(SYNSETS))


def test_files_in_folders_inside_a_class_are_of_that_class(tmp_path):
    train_part(tmp_path, inside="images/a")
    train_part(tmp_path, "val", count=1, inside="images")
    save(tmp_path / "train" / SYNSETS[0] / ".thumbs" / "0.png")
    data = load("folder", path=tmp_path, size=16)
    assert data.train.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert len(data.test) == 3


LABELS = ["n03995372", "n01440764", "n01440764", "n02119789", "n02119789", "n03995372"]
PLACES = [2, 0, 0, 1, 1, 2]
FORMS = {
    "val.txt": lambda k: f"val_{k}.png {PLACES[k - 1]}",
    "val/val_annotations.txt": lambda k: f"val_{k}.png\t{LABELS[k - 1]}\t0\t32\t44\t62",
    "val_labels.csv": lambda k: f"val_{k}.png,{LABELS[k - 1]}",
    "val/labels.txt": lambda k: f"./val/val_{k}.png {LABELS[k - 1]}".replace("./", ""),
    "LOC_val_solution.csv": lambda k: f"val_{k},{LABELS[k - 1]} 85 1 499 272",
    "val.csv": lambda k: LABELS[k - 1],
}


@pytest.mark.parametrize("name", FORMS)
def test_a_flat_folder_gets_its_labels_from_a_file(imagenet, name):
    lines = [FORMS[name](k) for k in range(1, 7)]
    if name.startswith("LOC"):
        lines.insert(0, "ImageId,PredictionString")
    if name != "val.csv":  # lines with a file name may be in any order
        lines[-2:] = lines[:-3:-1]
    (imagenet / name).write_text("\n".join(lines) + "\n")
    data = load("folder", path=imagenet, size=16)
    by_file = {
        file.name: data.classes[label]
        for file, label in zip(data.test.files, data.test.labels.tolist(), strict=True)
    }
    assert by_file == {f"val_{k}.png": LABELS[k - 1] for k in range(1, 7)}
    assert data.notes == (f"val/: the labels are those in {imagenet / name}",)
    first = data.test.load(torch.tensor([0]))[0].permute(1, 2, 0).numpy()
    assert np.array_equal(first, np.asarray(Image.open(data.test.files[0])))


def write_meta(folder):
    """meta.mat as in the devkit: IDs are not in the order of the synsets; parents have children."""
    folder.mkdir(parents=True, exist_ok=True)
    kind = [("ILSVRC2012_ID", "O"), ("WNID", "O"), ("words", "O"), ("num_children", "O")]
    rows = [(1, "n02119789", "kit fox", 0), (2, "n03995372", "drill", 0)]
    rows += [(3, "n01440764", "tench", 0), (4, "n00001740", "entity", 3)]
    savemat(folder / "meta.mat", {"synsets": np.array([list(rows)], dtype=kind).reshape(-1, 1)})


def write_map(folder):
    folder.mkdir(parents=True, exist_ok=True)
    lines = ["n02119789 1 kit_fox", "n03995372 2 drill", "n01440764 3 tench"]
    (folder / "map_clsloc.txt").write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize("write", [write_meta, write_map])
@pytest.mark.parametrize("inside", ["", "ILSVRC2012_devkit_t12/data"])
def test_the_ground_truth_of_the_devkit_is_read_with_its_own_ids(imagenet, write, inside):
    write(imagenet / inside)
    truth = imagenet / inside / "ILSVRC2012_validation_ground_truth.txt"
    truth.write_text("2\n3\n3\n1\n1\n2\n")
    data = load("folder", path=imagenet, size=16)
    assert [data.classes[label] for label in data.test.labels] == sorted(LABELS)
    by_file = dict(zip(data.test.files, data.test.labels.tolist(), strict=True))
    assert [data.classes[by_file[file]] for file in sorted(by_file)] == LABELS


def test_synsets_in_sorted_order_do_not_stand_for_the_devkits_ids(imagenet):
    truth = imagenet / "ILSVRC2012_validation_ground_truth.txt"
    truth.write_text("2\n3\n3\n1\n1\n2\n")
    with pytest.raises(DataError, match=r"synsets are not known\n.*meta\.mat"):
        load("folder", path=imagenet)
    (imagenet / "synset_words.txt").write_text("n01440764 tench\nn02119789 fox\nn03995372 drill\n")
    with pytest.raises(DataError, match="sorted order"):
        load("folder", path=imagenet)


def test_a_label_file_can_be_named_in_the_recipe(imagenet, tmp_path):
    (tmp_path / "mine.txt").write_text("\n".join(FORMS["val.txt"](k) for k in range(1, 7)))
    data = load("folder", path=imagenet, size=16, labels=tmp_path / "mine.txt")
    assert len(data.test) == 6
    with pytest.raises(DataError, match=r"no classes in test, val.*\n.*data\.labels"):
        load("folder", path=imagenet, size=16)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", "is empty"),
        ("val_1.png 0\n", "5 of 6 images have no label: val_2.png"),
        ("\n".join(f"val_{k}.png 3" for k in range(1, 7)), "labels are 3 to 3, but .* 3 classes"),
        ("\n".join(f"val_{k}.png bird" for k in range(1, 7)), "'bird' is not a class"),
        ("0\n" * 6, "numbers only, without file names"),
        ("n01440764\n" * 5, "5 labels for the 6 images"),
        ("val_1.png 0\nval_1.png 1\n", "two labels, 0 and 1"),
    ],
)
def test_a_label_file_that_does_not_fit_is_refused(imagenet, text, found):
    (imagenet / "val.txt").write_text(text)
    with pytest.raises(DataError, match=found) as error:
        load("folder", path=imagenet, size=16)
    assert error.value.where == str(imagenet / "val.txt")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(
    st.lists(st.text("val_123.png ,\t0nx\"'-é", max_size=20), max_size=8).map("\n".join),
    st.sampled_from(["txt", "csv"]),
)
def test_any_text_is_read_or_refused_as_a_label_file(imagenet, text, suffix):
    file = imagenet / f"labels.{suffix}"
    file.write_text(text, encoding="utf-8")
    where, read = str(file), 6
    try:
        read = len(load("folder", path=imagenet, size=16, labels=file).test)
    except DataError as error:
        where = error.where
    assert (where, read) == (str(file), 6)


# Modes of images; the right pixels are worked out by hand.


def test_sixteen_bits_become_eight_by_division(tmp_path):
    grey = np.array([[0, 1, 128, 129, 257, 40_000, 65_278, 65_535]], np.uint16)
    by_hand = np.round(grey / 257).astype(np.uint8)
    for name in ("a.png", "a.tif"):
        save(tmp_path / name, grey)
        assert np.array_equal(as_rgb(tmp_path / name), np.stack([by_hand] * 3, -1))
    Image.fromarray(grey.astype(np.int32)).save(tmp_path / "a.pgm")
    assert np.array_equal(as_rgb(tmp_path / "a.pgm")[..., 0], by_hand)


@pytest.mark.parametrize("kind", [np.int32, np.float32])
def test_pixels_of_no_known_range_are_refused(tmp_path, kind):
    save(tmp_path / "a.tif", np.zeros((4, 4), kind))
    with pytest.raises(DataError, match="pixels of mode"):
        decoded(tmp_path / "a.tif", "RGB")


def test_cmyk_becomes_rgb(tmp_path):
    image = Image.new("CMYK", (8, 8), (10, 20, 30, 40))
    image.save(tmp_path / "a.jpg", quality=100)
    image.save(tmp_path / "a.tif")
    by_hand = [round((255 - ink) * (255 - 40) / 255) for ink in (10, 20, 30)]
    for name in ("a.jpg", "a.tif"):
        assert np.abs(as_rgb(tmp_path / name).astype(int) - by_hand).max() <= 1


def test_alpha_is_dropped_and_palettes_are_looked_up(tmp_path):
    grey, alpha = pixels(1, channels=1), pixels(2, channels=1)
    save(tmp_path / "grey.png", np.stack([grey, alpha], -1))
    assert np.array_equal(as_rgb(tmp_path / "grey.png"), np.stack([grey] * 3, -1))
    colours, places = pixels(3, (256, 1)).reshape(256, 3), pixels(4, channels=1)
    palette = Image.fromarray(places).convert("P")
    palette.putpalette(colours.tobytes())
    for options in ({}, {"transparency": 3}):
        palette.save(tmp_path / "p.png", **options)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert np.array_equal(as_rgb(tmp_path / "p.png"), colours[places])


@pytest.mark.parametrize(
    ("orientation", "upright"),
    [(1, lambda a: a), (3, lambda a: a[::-1, ::-1]), (6, lambda a: np.rot90(a, -1))],
)
def test_exif_rotation_is_applied_only_where_asked(tmp_path, orientation, upright):
    stored, exif = pixels(5, (12, 20)), Image.Exif()
    exif[0x0112] = orientation
    for name in ("a", "b"):
        for k in range(2):
            save(tmp_path / name / f"{k}.png", stored, exif=exif)
    assert np.array_equal(as_rgb(tmp_path / "a" / "0.png"), stored)
    assert np.array_equal(as_rgb(tmp_path / "a" / "0.png", upright=True), upright(stored))
    height, width = upright(stored).shape[:2]
    data = load("folder", path=tmp_path, size=(height, width), exif_rotation=True)
    seen = data.train.load(torch.tensor([0]))[0].permute(1, 2, 0).numpy()
    assert np.array_equal(seen, upright(stored))


# Large JPEGs.


def photograph(height, width):
    """Smooth colours with an edge, which JPEG stores nearly exactly."""
    rows, columns = np.mgrid[0:height, 0:width]
    waves = 128 + 100 * np.sin(rows / 40) * np.cos(columns / 60)
    edge = np.where(columns > width // 3, 40, 0)
    return np.stack([waves, 255 - waves, waves / 2 + edge], -1).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("crop", [None, (0.3, 0.7, 0.9, 0.5), (0.9, 0.1, 0.5, 0.2)])
def test_a_large_jpeg_decoded_at_a_fraction_of_its_size_looks_the_same(tmp_path, crop):
    Image.fromarray(photograph(900, 1200)).save(tmp_path / "a.jpg", quality=98)
    Image.open(tmp_path / "a.jpg").save(tmp_path / "a.png")
    fast = view(tmp_path / "a.jpg", (64, 64), crop).astype(int)
    whole = view(tmp_path / "a.png", (64, 64), crop).astype(int)
    image, own = decoded(tmp_path / "a.jpg", "RGB", resized=lambda *_: (64, 64))
    assert (image.size, own) == ((300, 225), (1200, 900))
    assert np.abs(fast - whole).mean() < 1
    assert np.abs(fast - whole).max() < 25


def test_a_random_part_is_where_its_box_says(tmp_path):
    array = pixels(6, (60, 80))
    save(tmp_path / "a.png", array)
    crop = (0.5, 0.25, 0.4, 0.6)
    left, top, right, bottom = random_box(80, 60, crop)
    size = (bottom - top, right - left)  # no pixel is interpolated
    assert np.array_equal(view(tmp_path / "a.png", size, crop), array[top:bottom, left:right])


@given(
    st.integers(8, 3000),
    st.integers(8, 3000),
    st.tuples(*[st.floats(0, 1, exclude_max=True) for _ in range(4)]),
)
def test_a_random_box_lies_in_the_image_and_has_the_area_that_was_drawn(width, height, crop):
    left, top, right, bottom = random_box(width, height, crop)
    assert 0 <= left < right <= width
    assert 0 <= top < bottom <= height
    drawn = width * height * (0.08 + 0.92 * crop[2])
    # Rounding moves each side by half a pixel; a side that does not fit is clipped.
    assert (right - left - 0.5) * (bottom - top - 0.5) <= drawn
    if right - left < width and bottom - top < height:
        assert (right - left + 0.5) * (bottom - top + 0.5) >= drawn


# Broken images.


def spoil(root):
    (root / "train" / SYNSETS[1] / "0.png").write_bytes(b"\x89PNG\r\n\x1a\n cut")
    jpeg = io.BytesIO()
    Image.fromarray(photograph(64, 64)).save(jpeg, "JPEG")
    (root / "val" / SYNSETS[2] / "0.png").write_bytes(jpeg.getvalue()[:-200])


@pytest.fixture
def broken(tmp_path):
    train_part(tmp_path, count=8)
    train_part(tmp_path, "val", count=2)
    spoil(tmp_path)
    return tmp_path


def test_a_broken_image_stops_the_epoch_with_its_name_and_what_to_do(broken):
    data = load("folder", path=broken, size=16)
    options = {"batch_size": 6, "epoch": 0, "seed": 0, "augment": "crop_flip"}
    with pytest.raises(DataError, match="skip_broken=true") as error:
        list(batches(data.train, data, **options))
    assert error.value.where == str(broken / "train" / SYNSETS[1] / "0.png")


def test_broken_images_are_skipped_where_asked_the_same_in_each_epoch(broken):
    data = load("folder", path=broken, size=16, skip_broken=True)
    assert (len(data.train), len(data.test)) == (23, 5)
    assert data.train.labels.tolist() == [0] * 8 + [1] * 7 + [2] * 8
    assert broken / "train" / SYNSETS[1] / "0.png" not in data.train.files
    train, val = (each.note for each in data.skipped)
    assert f"{broken}, train: one broken image skipped" in train
    assert str(broken / "train" / SYNSETS[1] / "0.png") in train
    assert str(broken / "val" / SYNSETS[2] / "0.png") in val
    assert " object at 0x" not in train + val  # an address, different in each process
    options = {"batch_size": 4, "seed": 0, "augment": "crop_flip"}
    for epoch in (0, 1):
        whole = list(batches(data.train, data, epoch=epoch, **options))
        again = load("folder", path=broken, size=16, skip_broken=True)
        rest = list(batches(again.train, again, epoch=epoch, start=3, **options))
        assert all(torch.equal(x, u) for (x, _), (u, _) in zip(whole[3:], rest, strict=True))
    assert sum(len(y) for _, y in evaluation_batches(data.test, data, 2)) == 5


def test_a_folder_with_broken_images_only_is_refused(broken):
    for file in (broken / "val").rglob("*.png"):
        file.write_bytes(b"")
    with pytest.raises(DataError, match="no image can be read"):
        load("folder", path=broken, size=16, skip_broken=True)


def test_a_run_reports_skipped_images(broken, tmp_path):
    options = ["--arch", "cifar_resnet8", "--flops", "0.5", "--epochs", "1"]
    keys = ["model.scratch=true", "data.size=16", "data.skip_broken=true", "data.trust=true"]
    keys += ["finetune.batch_size=8", "finetune.recalibrate=1", "finetune.distill=0"]
    settings = [word for key in keys for word in ("--set", key)]
    done = slimmer("prune", "--data", broken, *options, *settings, "--out", tmp_path / "run")
    assert done.exit_code == 0, done.output
    assert " ".join(done.stderr.split()).count("one broken image skipped (data.skip_broken)") == 2
    found = json.loads((tmp_path / "run" / "report.json").read_text())["skipped_images"]
    assert [row["images"] for row in found] == [1, 1]
    file = str(broken / "train" / SYNSETS[1] / "0.png")
    assert found[0]["first"][0].startswith(f"{file}: can't be read")
    for name in ("report.md", "report.html"):
        text = (tmp_path / "run" / name).read_text()
        assert text.count("one broken image was skipped: ") == 2
        assert file in text


def test_of_many_broken_images_the_first_are_named_and_the_others_counted():
    skipped = Skipped("photos, train", tuple(f"{number}.png: bad" for number in range(7)))
    first = [f"{number}.png: bad" for number in range(5)]
    assert skipped.for_report() == {"data": "photos, train", "images": 7, "first": first}
    assert skipped.note.endswith("4.png: bad; and 2 more")


def test_processes_of_torchrun_share_the_cores(monkeypatch):
    monkeypatch.setattr(image_files.os, "sched_getaffinity", lambda _: range(16), raising=False)
    assert (threads(None), threads(3), threads(0)) == (16, 3, 1)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert threads(None) == 4
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "64")
    assert threads(None) == 1


def test_the_number_of_threads_changes_no_image(imagenet):
    (imagenet / "val.txt").write_text("\n".join(FORMS["val.txt"](k) for k in range(1, 7)))
    crops = draws(0, 0, torch.arange(6))[:, 1:5]
    loads = [
        load("folder", path=imagenet, size=12, workers=workers).train.load(torch.arange(6), crops)
        for workers in (None, 0, 1, 5)
    ]
    assert all(torch.equal(loads[0], other) for other in loads[1:])
