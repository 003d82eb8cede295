"""Transforms of torchvision by name: what they change, and that a resumed run sees the same."""

import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from test_data import write_cifar, write_folder
from torchvision_ops import detection

from slimmer.data import batches, evaluation_batches, load
from slimmer.data.augment import SEED, draws
from slimmer.data.images import Relabelled
from slimmer.data.transforms import transformed
from slimmer.errors import DataError

RANDOM = ({"RandAugment": {"num_ops": 2}}, {"RandomErasing": {"p": 0.5}})


@pytest.fixture
def v2():
    detection()  # makes torchvision importable, or skips
    from torchvision.transforms import v2

    return v2


@pytest.fixture
def plain(tmp_path):
    """Options of a small CIFAR-10 in units of 0..1."""
    write_cifar(tmp_path)
    return {"name": "cifar10", "path": tmp_path, "mean": (0.0,) * 3, "std": (1.0,) * 3}


def epoch(data, **changes):
    options = {"batch_size": 8, "epoch": 0, "seed": 0, "augment": data.augment} | changes
    return list(batches(data.train, data, **options))


def test_each_image_is_what_torchvision_makes_of_it_with_the_images_own_seed(v2, plain):
    data = load(**plain, transforms=RANDOM, augment="none", workers=0)
    assert data.augment == "transforms"
    change = v2.Compose([v2.RandAugment(num_ops=2), v2.RandomErasing(p=0.5)])
    seen = {}
    for images, labels in epoch(data, epoch=2, seed=3, batch_size=12):
        seen |= dict(zip(map(tuple, images.flatten(1).tolist()), labels.tolist(), strict=True))
    for index in range(0, 60, 7):
        number = draws(3, 2, torch.tensor([index]))[0, SEED]
        torch.manual_seed(int(number * 2**53))
        right = change(data.train.images.images[index]).float() / 255
        assert seen[tuple(right.flatten().tolist())] == data.train.labels[index]


@pytest.mark.parametrize("augment", ["none", "crop_flip"])
def test_workers_batches_and_resuming_change_no_image(v2, plain, augment):
    data = load(**plain, transforms=RANDOM, augment=augment, workers=0)
    whole = epoch(data, epoch=1)
    torch.manual_seed(5)
    for workers in (0, 2):
        again = load(**plain, transforms=RANDOM, augment=augment, workers=workers)
        rest = epoch(again, epoch=1, start=4)
        pairs = zip(whole[4:], rest, strict=True)
        assert all(torch.equal(x, u) and torch.equal(y, v) for (x, y), (u, v) in pairs)
    small = torch.cat([x for x, _ in epoch(data, epoch=1, batch_size=4)])[:56]
    assert torch.equal(torch.cat([x for x, _ in whole]), small)
    assert not torch.equal(whole[0][0], epoch(data, epoch=2)[0][0])


def test_evaluation_and_plain_batches_are_not_transformed(v2, plain):
    data, untouched = load(**plain, transforms=RANDOM, workers=1), load(**plain)
    for split in ("train", "test"):
        first = torch.cat([x for x, _ in evaluation_batches(getattr(data, split), data, 16)])
        pure = evaluation_batches(getattr(untouched, split), untouched, 16)
        assert torch.equal(first, torch.cat([x for x, _ in pure]))
    pairs = zip(epoch(data, augment="none"), epoch(untouched, augment="none"), strict=True)
    assert all(torch.equal(x, u) for (x, _), (u, _) in pairs)


def test_the_crop_comes_first_and_a_folder_is_transformed_too(v2, tmp_path):
    write_folder(tmp_path, size=(21, 27))
    options = {"path": tmp_path, "size": 16, "mean": (0.0,) * 3, "std": (1.0,) * 3}
    data = load("folder", **options, transforms=({"RandomInvert": {"p": 1.0}},), workers=2)
    pure = load("folder", **options)
    for (x, y), (u, v) in zip(epoch(data), epoch(pure), strict=True):
        assert torch.equal(y, v)
        assert np.array_equal((x * 255).round().numpy(), (255 - (u * 255).round()).numpy())


def test_arguments_may_be_names_and_transforms_nest(v2, plain):
    specs = (
        "TrivialAugmentWide",
        {"AutoAugment": {"policy": "cifar10", "interpolation": "bilinear"}},
        {"RandomApply": {"transforms": [{"ColorJitter": {"brightness": 0.4}}], "p": 0.3}},
    )
    data = load(**plain, transforms=specs, workers=0)
    made = data.train.transforms.transforms
    assert [type(each).__name__ for each in made] == [
        "TrivialAugmentWide",
        "AutoAugment",
        "RandomApply",
    ]
    assert made[1].policy is v2.AutoAugmentPolicy.CIFAR10
    assert len(epoch(data)) == 7


@pytest.mark.parametrize(
    ("spec", "found"),
    [
        ("RandAugmen", r"'RandAugmen' is not in torchvision.*\n.*did you mean 'RandAugment'"),
        ("Lambda", "'Lambda' is not in"),
        ("InterpolationMode", "is not in"),
        ("CutMix", "'CutMix' is not in"),
        ({"RandAugment": {"ops": 2}}, r"unexpected keyword argument 'ops'\n.*num_ops"),
        ({"RandAugment": 2}, "its arguments are 2"),
        ({"RandAugment": None, "RandomErasing": None}, "has 2 names"),
        ({"AutoAugment": {"policy": "cifar"}}, r"'cifar' is not known\n.*did you mean 'cifar10'"),
        ({"Resize": {"size": 16}}, r"torch.uint8 \(3, 32, 32\) becomes torch.uint8 \(3, 16, 16\)"),
        ({"ToDtype": {"dtype": "float"}}, "dtype must be a dict"),
        ("ToPILImage", "becomes Image"),
        ({"RandomCrop": {"size": 99}}, "failed with ValueError"),
    ],
)
def test_a_transform_that_can_not_be_used_is_refused(v2, plain, spec, found):
    with pytest.raises(DataError, match=found) as error:
        load(**plain, transforms=(spec,))
    assert error.value.where.startswith("data.transforms")


def test_masks_are_not_transformed_apart_from_their_images(plain):
    data = load(**plain)
    masks = Relabelled(data.train, torch.zeros(60, 32, 32, dtype=torch.int64))
    with pytest.raises(DataError, match="but not their labels for each pixel"):
        transformed(replace(data, train=masks), RANDOM, 0)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_transform_that_fails_on_one_image_names_it(v2, plain, workers):
    data = load(**plain, transforms=("RandomErasing",), workers=workers)

    def fail(image):
        raise RuntimeError("no such size")

    data = replace(data, train=replace(data.train, transforms=fail))
    with pytest.raises(DataError, match=r"failed on image \d+ with RuntimeError: no such size"):
        epoch(data)


def test_without_torchvision_one_message_says_what_to_install(plain, monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision", None)
    monkeypatch.setitem(sys.modules, "torchvision.transforms.v2", None)
    with pytest.raises(DataError, match=r"not installed\n.*slimmer\[torchvision\]"):
        load(**plain, transforms=("RandAugment",))
    with pytest.raises(DataError, match=r"'transforms'\n.*data\.transforms"):
        load(**plain, augment="transforms")
