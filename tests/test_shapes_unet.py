"""The demo of segmentation: its drawings, and the whole job at toy size with mIoU by hand."""

import importlib.util
import math
import re
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

import slimmer
from slimmer.recipe import read_recipe

ROOT = Path(__file__).parents[1]
RECIPE = ROOT / "recipes" / "shapes_unet.yaml"


@pytest.fixture(scope="module")
def shapes():
    """The module recipes/shapes_unet.py."""
    spec = importlib.util.spec_from_file_location("shapes_unet", RECIPE.with_suffix(".py"))
    module = importlib.util.module_from_spec(spec)
    sys.modules["shapes_unet"] = module
    spec.loader.exec_module(module)
    return module


def test_the_same_seed_draws_the_same_images(shapes):
    images, masks = shapes.draw(20, seed=3)
    again, _ = shapes.draw(20, seed=3)
    others, _ = shapes.draw(20, seed=4)
    assert torch.equal(images, again)
    assert not torch.equal(images, others)
    assert (images.shape, images.dtype) == ((20, 3, 40, 40), torch.float32)
    assert (masks.shape, masks.dtype) == ((20, 40, 40), torch.int64)
    assert images.abs().max() <= 1
    assert masks.unique().tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("corners", [0, 4, 3])
def test_shapes_have_the_area_of_their_kind(shapes, corners):
    """Pillow draws the pixels that an edge touches too, so a shape is half a pixel larger."""
    random = np.random.default_rng(0)
    areas = [shapes.shape(random, corners).sum() for _ in range(300)]
    radius = np.random.default_rng(1).uniform(6, 11, 10_000)
    if corners:  # n times half the side times the distance of a side
        distance = radius * math.cos(math.pi / corners) + 0.5
        wanted = corners * distance**2 * math.tan(math.pi / corners)
    else:
        wanted = math.pi * (radius + 0.5) ** 2
    assert np.mean(areas) == pytest.approx(wanted.mean(), rel=0.08)


def miou(found, true):
    shares = []
    for kind in range(4):
        both = ((found == kind) & (true == kind)).sum()
        shares.append(both / ((found == kind) | (true == kind)).sum())
    return np.mean(shares)


@pytest.mark.slow
def test_the_onnx_file_has_the_miou_of_the_slim_network(shapes, tmp_path):
    task = shapes.Shapes(training=128, test=48)
    before = shapes.pretrain(tmp_path / "unet.pth", task, epochs=4)
    dense = shapes.unet()
    dense.load_state_dict(torch.load(tmp_path / "unet.pth"))
    run = tmp_path / "run"
    result = slimmer.prune(dense, task=task, recipe=RECIPE, epochs=2, out=run)
    report = result.report
    assert report["metric"] == {"name": "mIoU", "higher_is_better": True, "percent": True}
    assert report["flops"]["ratio"] <= 0.5
    assert report["accuracy"]["dense"] == pytest.approx(before, abs=1e-6)
    files = slimmer.export(run, task=task, model=dense)["networks"]
    images, masks = shapes.draw(48, seed=1)
    session = onnxruntime.InferenceSession(run / "slim.onnx", providers=["CPUExecutionProvider"])
    scores = session.run(None, {session.get_inputs()[0].name: images.numpy()})[0]
    by_hand = miou(scores.argmax(1), masks.numpy())
    assert files["slim"]["accuracy"] == pytest.approx(by_hand, abs=1e-6)
    assert by_hand == pytest.approx(report["accuracy"]["slim"], abs=1e-4)


def test_the_recipe_and_the_makefile_run_the_same_job():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    target = re.search(r"^demo-segmentation:.*\n((?:\t.*\n)+)", makefile, re.MULTILINE)[1]
    (prune,) = re.findall(r"slimmer (prune .+)", target)
    head = " ".join(
        line.removeprefix("#").strip()
        for line in RECIPE.read_text(encoding="utf-8").splitlines()
        if line.startswith("#")
    )
    assert (
        f"slimmer {prune.replace('shapes_unet --arch', 'recipes/shapes_unet.yaml --arch')}" in head
    )
    for file in re.findall(r"recipes/\w+\.py", target):
        assert (ROOT / file).is_file()
    assert read_recipe(RECIPE).finetune.distill == 0
