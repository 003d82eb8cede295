"""torch Datasets as data: what is read, how it varies, which worker reads it, what is refused."""

import json
import os
import random
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from test_data import write_folder
from test_resume import SCRIPT, run_and_kill
from torch.utils.data import (
    ConcatDataset,
    DataLoader,
    Dataset,
    IterableDataset,
    Subset,
    TensorDataset,
)
from torchvision_ops import detection

import slimmer
from slimmer.data import batches, check, evaluation_batches, load
from slimmer.data.augment import draws, shifted
from slimmer.data.user_data import from_value
from slimmer.errors import DataError
from slimmer.models import build
from slimmer.models.checkpoint import read_weights, save_weights
from slimmer.pipeline.stages import resume, start
from slimmer.recipe import read_recipe
from slimmer.runs.open_run import open_run


class Pictures(Dataset):
    """PIL images of random pixels with labels, read from memory; `reads` counts them."""

    def __init__(self, count=12, size=(8, 8), mode="RGB", transform=None, targets=True):
        rng = np.random.default_rng(0)
        shape = (count, *size, 3) if mode == "RGB" else (count, *size)
        self.pixels = rng.integers(0, 256, shape, dtype=np.uint8)
        self.labels_of_items = [index % 3 for index in range(count)]
        self.transform, self.reads = transform, 0
        if targets:
            self.targets = self.labels_of_items
            self.classes = ["ant", "bee", "cat"]

    def __len__(self):
        return len(self.pixels)

    def __getitem__(self, index):
        self.reads += 1
        image = Image.fromarray(self.pixels[index])
        return (self.transform or (lambda i: i))(image), self.labels_of_items[index]


def tensor(image):
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def shuffled_rows(image):
    """Random by every generator that transforms draw from."""
    made = tensor(image)
    made = made[:, torch.randperm(8)]
    return torch.roll(made, (random.randrange(8), int(np.random.randint(8))), (1, 2))


def made(train, test=None, **options):
    return from_value("mine", {"train": train, "test": test or Pictures(6), **options})


def epoch(data, **changes):
    options = {"batch_size": 4, "epoch": 0, "seed": 0, "augment": data.augment} | changes
    return list(batches(data.train, data, **options))


def same(first, second):
    pairs = list(zip(first, second, strict=True))
    return all(torch.equal(x, u) and torch.equal(y, v) for (x, y), (u, v) in pairs)


@pytest.mark.parametrize("transform", [None, tensor, lambda i: tensor(i) / 255])
@pytest.mark.parametrize("workers", [0, 2])
def test_every_item_is_read_with_its_label(transform, workers):
    dataset = Pictures(transform=transform)
    data = made(dataset, Pictures(6, transform=transform), workers=workers)
    check(data)
    assert (data.input_size, data.classes) == ((3, 8, 8), ("ant", "bee", "cat"))
    images = torch.cat([x for x, _ in evaluation_batches(data.train, data, 5)])
    right = torch.from_numpy(dataset.pixels).permute(0, 3, 1, 2).float() / 255
    assert torch.equal(images, right)
    labels = torch.cat([y for _, y in evaluation_batches(data.train, data, 5)])
    assert labels.tolist() == dataset.labels_of_items


def test_grey_images_have_one_channel():
    data = made(Pictures(mode="L"), Pictures(6, mode="L"))
    assert data.input_size == (1, 8, 8)


def test_labels_come_from_targets_without_reading_every_item():
    dataset = Pictures(100)
    assert made(dataset).notes == ()
    assert dataset.reads < 30
    half = Subset(dataset, range(99, 0, -2))
    assert made(half).train.labels.tolist() == [index % 3 for index in range(99, 0, -2)]
    both = ConcatDataset([half, Pictures(5)])
    data = made(both)
    assert data.train.labels.tolist() == [both[index][1] for index in range(55)]
    assert data.notes == ()


@pytest.mark.parametrize("kind", ["absent", "wrong", "short"])
def test_without_targets_that_fit_every_item_is_read_once_which_is_said(kind):
    dataset = Pictures(20, targets=False)
    if kind != "absent":
        dataset.targets = [0] * (20 if kind == "wrong" else 3)
    data = made(dataset)
    assert data.train.labels.tolist() == dataset.labels_of_items
    assert data.notes == (
        "mine, train: every item was read once for its label; `targets` would avoid it",
    )
    assert data.classes == ("0", "1", "2")


@pytest.mark.parametrize("workers", [0, 2])
def test_slimmers_augmentation_is_that_of_images_in_memory(workers):
    dataset = Pictures()
    data = made(dataset, augment="crop_flip", workers=workers)
    tensors = torch.from_numpy(dataset.pixels).permute(0, 3, 1, 2)
    memory = made((tensors, torch.tensor(dataset.targets)), augment="crop_flip")
    assert same(epoch(data, epoch=3), epoch(memory, epoch=3))
    crops = draws(0, 0, torch.arange(12))[:, 1:5]
    assert torch.equal(data.train.load(torch.arange(12), crops), shifted(tensors, crops))
    resized = made(Pictures(size=(9, 20)), Pictures(6, size=(7, 7)), size=6, augment="crop")
    assert epoch(resized)[0][0].shape == (4, 3, 6, 6)


def test_a_batch_that_several_workers_make_is_whole():
    dataset = Pictures(200, (2, 2), transform=tensor)
    data = made(dataset, Pictures(6, (2, 2), transform=tensor), workers=2)
    first, second = evaluation_batches(data.train, data, 150)
    pixels = torch.from_numpy(dataset.pixels).permute(0, 3, 1, 2).float() / 255
    assert torch.equal(first[0], pixels[:150])
    assert torch.equal(second[0], pixels[150:])


def test_a_random_dataset_sees_the_same_images_in_a_resumed_run():
    data = made(Pictures(transform=shuffled_rows), Pictures(6, transform=tensor))
    assert data.augment == "transforms"
    (note,) = data.notes
    assert "random; it is seeded by the run's seed, the epoch and the image" in note
    whole = epoch(data, epoch=1)
    torch.manual_seed(99)
    assert same(whole[1:], epoch(data, epoch=1, start=1))
    in_two = made(Pictures(transform=shuffled_rows), Pictures(6, transform=tensor), workers=2)
    assert same(whole, epoch(in_two, epoch=1))
    assert not same(whole, epoch(data, epoch=2))
    halves = [epoch(data, epoch=1, rank=rank, world=2) for rank in (0, 1)]
    joined = [torch.cat([one[0], other[0]]) for one, other in zip(*halves, strict=True)]
    assert all(torch.equal(x, u) for (x, _), u in zip(whole, joined, strict=True))


def test_reading_leaves_the_random_state_of_the_process():
    data = made(Pictures(transform=shuffled_rows), Pictures(6, transform=tensor))
    torch.manual_seed(1), random.seed(1), np.random.seed(1)
    drawn = torch.rand(3), random.random(), np.random.rand()
    for workers in (0, 1):
        again = made(data.train.images.dataset, Pictures(6, transform=tensor), workers=workers)
        torch.manual_seed(1), random.seed(1), np.random.seed(1)
        epoch(again)
        assert torch.equal(torch.rand(3), drawn[0])
        assert (random.random(), np.random.rand()) == drawn[1:]


def test_a_generator_that_can_not_be_seeded_is_said():
    own = np.random.default_rng(0)
    dataset = Pictures(transform=lambda image: tensor(image).roll(int(own.integers(1, 8)), 1))
    notes = made(dataset, Pictures(6, transform=tensor)).notes
    assert "a generator of its own: a resumed run sees other images" in notes[0]


class Masked(Pictures):
    """Images whose label is the mask of their dark pixels, changed together if asked."""

    def __init__(self, *, together=None, **options):
        super().__init__(targets=False, **options)
        self.together = together or (lambda image, mask: (image, mask))

    def __getitem__(self, index):
        image = super().__getitem__(index)[0]
        mask = torch.from_numpy(np.array(image)[..., 0] < 99).long()
        return self.together(image, mask)


def test_masks_are_cropped_and_flipped_like_their_images():
    data = made(Masked(), Masked(count=6), augment="crop_flip", classes=["light", "dark"])
    for images, masks in epoch(data):
        seen = (images[:, 0] * 255).round()
        inside = images.amax(1) > 0  # what comes in at the edges is black, and class 0
        assert torch.equal((seen < 99)[inside], masks.bool()[inside])
        assert 0.5 < inside.double().mean() < 1


def test_masks_that_would_no_longer_fit_their_images_are_refused():
    options = {"classes": ["light", "dark"]}

    def small(image, mask):
        return image, mask[:6, :6]

    with pytest.raises(DataError, match="an image of 8x8 is scaled to 6x6"):
        made(Masked(together=small), Masked(count=6), size=6, **options)

    def flip(image, mask):
        return (image, mask) if random.random() < 0.5 else (image, mask.flip(1))

    with pytest.raises(DataError, match=r"label of item .* differs between two readings"):
        made(Masked(together=flip), Masked(count=6), **options)


def test_a_tensor_dataset_is_held_in_memory():
    images, labels = torch.zeros(6, 1, 4, 4), torch.arange(6) % 2
    part = TensorDataset(images, labels)
    data = from_value("mine", (part, part))
    assert data.train.images.shape == (6, 1, 4, 4)
    assert data.train.ahead == 0


class Broken(Pictures):
    def __getitem__(self, index):
        if index == 5:
            raise OSError("no such shard")
        if index == 6:
            return super().__getitem__(index)[0][:, :4], 0
        return super().__getitem__(index)


@pytest.mark.parametrize("workers", [0, 2])
def test_an_item_that_fails_is_named(workers):
    data = made(Broken(transform=tensor), Pictures(6, transform=tensor), workers=workers)
    with pytest.raises(DataError, match="item 5 failed with OSError: no such shard"):
        list(evaluation_batches(data.train, data, 6))
    with pytest.raises(DataError, match=r"item 6 has the shape \(3, 4, 8\), not \(3, 8, 8\)"):
        list(evaluation_batches(data.train, data, 2, places=torch.tensor([6])))


class Killed(Pictures):
    def __getitem__(self, index):
        if self.reads > 8 and os.getpid() != self.main:
            os._exit(1)
        return super().__getitem__(index)


def test_a_worker_that_ends_is_one_message():
    dataset = Killed(40)
    dataset.main = os.getpid()
    data = made(dataset, workers=2)
    with pytest.raises(DataError, match=r"(?s)a worker process ended.*data\.workers"):
        epoch(data)


class Stream(IterableDataset):
    def __iter__(self):
        return iter([])


class Odd(Pictures):
    def __init__(self, item):
        super().__init__()
        self.item = item

    def __getitem__(self, index):
        return self.item


@pytest.mark.parametrize(
    ("part", "found"),
    [
        (DataLoader(Pictures()), r"is a DataLoader, which has no random access\n.*--task"),
        (Stream(), "is a Stream, which has no random access"),
        (Subset(Pictures(), []), "there are no images"),
        (Odd({"image": 1}), "item 0 is a dict"),
        (Odd((1, 2, 3)), "item 0 is a tuple"),
        (Odd((np.zeros((3, 4, 4)), 0)), r"item 0 is a ndarray of shape \(3, 4, 4\)"),
        (Odd((torch.zeros(4, 4), 0)), r"Tensor of shape \(4, 4\)"),
        (Odd((torch.zeros(3, 4, 4, dtype=torch.int64), 0)), "is torch.int64"),
        (Odd((torch.zeros(3, 4, 4), "cat")), "labels can't be one tensor"),
        (Odd((torch.zeros(3, 4, 4), torch.tensor([1, 2]))), r"labels are torch.int64 of shape"),
        (ConcatDataset([Pictures(3), Pictures(3, (9, 9))]), "images have different sizes"),
    ],
)
def test_a_dataset_that_can_not_be_used_is_refused(part, found):
    with pytest.raises(DataError, match=found):
        made(part)


@pytest.mark.parametrize(
    ("options", "found"),
    [({"workers": -1}, "workers is -1"), ({"size": "big"}, "size is 'big'")],
)
def test_an_option_that_is_none_is_refused(options, found):
    with pytest.raises(DataError, match=found):
        made(Pictures(), **options)


FILE = """
import sys
sys.path.insert(0, "{tests}")
from test_torch_dataset import Pictures
def made():
    return Pictures(30, size=(20, 24)), Pictures(9, size=(30, 31))
"""


def test_a_file_may_return_datasets_and_the_recipe_decides_their_size(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(FILE.format(tests=Path(__file__).parent))
    data = load(f"{file}:made", size=16, workers=1, classes=("cat", "ant", "bee"))
    assert (data.input_size, data.train.images.workers) == ((3, 16, 16), 1)
    assert data.train.labels.tolist() == [(index + 1) % 3 for index in range(30)]
    assert epoch(data)[0][0].shape == (4, 3, 16, 16)
    with pytest.raises(DataError, match=r"mine.py:made, test: images have the shape"):
        load(f"{file}:made")


def network():
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3),
        torch.nn.ReLU(),
        torch.nn.Conv2d(8, 8, 3),
        torch.nn.ReLU(),
        torch.nn.AdaptiveAvgPool2d(1),
        torch.nn.Flatten(),
        torch.nn.Linear(8, 3),
    )


def test_a_network_is_pruned_on_datasets_given_in_python(tmp_path):
    done = slimmer.prune(
        network(),
        (Pictures(24), Pictures(9)),
        flops=0.6,
        epochs=1,
        out=tmp_path / "run",
        **{"data.trust": True, "finetune.batch_size": 8, "finetune.recalibrate": 1},
    )
    assert done.report["flops"]["ratio"] <= 0.6


# torchvision's own.


@pytest.fixture
def folders(tmp_path):
    write_folder(tmp_path / "images", parts=("train", "val"), size=(20, 30))
    return tmp_path


def test_torchvisions_image_folder_is_read_like_the_folder_itself(folders):
    detection()  # makes torchvision importable, or skips
    from torchvision.datasets import ImageFolder

    parts = [ImageFolder(folders / "images" / part) for part in ("train", "val")]
    data = made(*parts, size=16, augment="crop_flip")
    folder = load("folder", path=folders / "images", size=16, mean=(0.0,) * 3, std=(1.0,) * 3)
    assert data.classes == folder.classes
    assert same(epoch(data), epoch(folder))
    pairs = evaluation_batches(data.test, data, 7), evaluation_batches(folder.test, folder, 7)
    assert same(list(pairs[0]), list(pairs[1]))


def test_the_pages_example_prunes_on_image_folders(folders, monkeypatch):
    detection()
    page = (Path(__file__).parents[1] / "docs" / "data.md").read_text(encoding="utf-8")
    code = page.partition("```python\n")[2].partition("```")[0]
    settings = {"data.trust": True, "finetune.batch_size": 8, "finetune.recalibrate": 1}
    monkeypatch.setattr(slimmer, "prune", partial(slimmer.prune, out=folders / "run", **settings))
    monkeypatch.chdir(folders)
    names = {"model": network()}
    exec(code, names)
    assert names["pruned"].report["flops"]["ratio"] <= 0.5


RANDOM_FILE = """
import numpy as np
import torch

class Digits(torch.utils.data.Dataset):
    '''Images that a transform of their own shifts at random.'''
    targets = [index % 10 for index in range(120)]
    def __len__(self):
        return 120
    def __getitem__(self, index):
        pixels = np.random.default_rng(index).integers(0, 256, (1, 16, 16), dtype=np.uint8)
        shift = int(torch.randint(16, ())), int(np.random.randint(16))
        return torch.from_numpy(pixels).roll(shift, (1, 2)), self.targets[index]

def made():
    return Digits(), Digits()
"""


def test_a_killed_run_on_a_random_dataset_ends_as_an_unbroken_one(tmp_path):
    save_weights(tmp_path / "dense.safetensors", build("cifar_resnet8", in_channels=1), {})
    (tmp_path / "mine.py").write_text(RANDOM_FILE)
    settings = {
        "model": {"checkpoint": str(tmp_path / "dense.safetensors"), "arch": "cifar_resnet8"},
        "data": {"name": f"{tmp_path}/mine.py:made", "trust": True, "workers": 1},
        "budget": {"flops": 0.5},
        "method": {"name": "taylor", "batches": 1},
        "finetune": {"epochs": 3, "batch_size": 12, "save_every": 0.01, "recalibrate": 1},
    }
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(json.dumps(settings))
    start(read_recipe(recipe), tmp_path / "unbroken")
    command = [sys.executable, "-c", SCRIPT, str(recipe), str(tmp_path / "broken")]
    run_and_kill(command, tmp_path, {**os.environ, "OMP_NUM_THREADS": "1"}, after=14)
    resume(open_run(tmp_path / "broken", finished=False))
    plans = [tmp_path / name / "plan.json" for name in ("unbroken", "broken")]
    assert plans[0].read_bytes() == plans[1].read_bytes()
    files = [tmp_path / name / "slim.safetensors" for name in ("unbroken", "broken")]
    ours, theirs = (read_weights(file) for file in files)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
