"""A data source of another package: the page's example is installed, and a recipe's images come
from it.
"""

import json
import shlex
import shutil
from contextlib import chdir

import numpy as np
import pytest
import torch
from main_job import slimmer
from plugins import install
from test_extending import blocks
from test_extending import install as install_example

import slimmer as package
from slimmer.data import guess, load, names
from slimmer.data.sources import SOURCES
from slimmer.errors import DataError

OWN = ("digits", "cifar10", "cifar100", "folder", "webdataset", "huggingface")
GROUP = "slimmer.data"
ALONE = """
import torch
from slimmer.data import DataSource

def load(wanted):
    images = torch.arange(24 * 256, dtype=torch.float32).reshape(24, 1, 16, 16) / 6144
    labels = torch.arange(24) % 10
    return (images, labels), (images, labels)

SOURCE = DataSource("mydata", "numbers in order", load, needs_path=False)
"""


@pytest.fixture
def fresh(monkeypatch):
    """The registry of data sources as it is before anybody has looked up a name."""
    reset(monkeypatch)
    return monkeypatch


def reset(patch):
    patch.setattr(SOURCES, "_entries", {name: SOURCES[name] for name in OWN})
    patch.setattr(SOURCES, "_group", GROUP)


@pytest.fixture
def npz(tmp_path, fresh):
    """The page's example, installed, and the digits in a file of its kind."""
    install_example("A data source", tmp_path / "site", fresh)
    digits = load("digits")
    arrays = {
        f"{part}_{kind}": getattr(getattr(digits, part), kind).numpy()
        for part in ("train", "test")
        for kind in ("images", "labels")
    }
    np.savez(tmp_path / "digits.npz", **arrays)
    reset(fresh)
    return tmp_path / "digits.npz"


@pytest.mark.parametrize("number", [0, 1])
def test_a_recipe_is_run_on_the_images_of_an_installed_source(npz, tmp_path, checkpoint, number):
    shutil.copy(checkpoint, tmp_path / "digits_resnet8.safetensors")
    command = shlex.split(blocks("A data source", "console")[0].splitlines()[number])
    same = [
        "--set",
        "data.mean=[0.3052]",
        "--set",
        "data.std=[0.3191]",
        "--set",
        "finetune.recalibrate=1",
    ]
    with chdir(tmp_path):
        told = slimmer(*command[1:], *same, "--out", "run")
    assert told.exit_code == 0, told.output
    found = json.loads((tmp_path / "run" / "report.json").read_text())
    by_name = package.prune(
        checkpoint,
        "digits",
        flops=0.5,
        epochs=0,
        **{"finetune.recalibrate": 1, "data.augment": "none"},
    )
    assert found["accuracy"]["dense"] == by_name.report["accuracy"]["dense"] > 0.9
    assert found["plan_hash"] == by_name.report["plan_hash"]


def test_tensors_of_a_source_become_its_data(npz):
    data, digits = load("npz", path=npz), load("digits")
    assert data.name == "npz"
    every = torch.arange(len(digits.test.labels))
    assert torch.equal(data.test.load(every), digits.test.load(every))
    assert torch.equal(data.test.labels, digits.test.labels)
    assert names() == (*OWN, "npz")
    assert guess(npz) == "npz"


def test_a_source_that_needs_no_path_is_named_alone(tmp_path, fresh, checkpoint):
    install(tmp_path / "site", fresh, "my_data", ALONE, {GROUP: {"mydata": "my_data:SOURCE"}})
    for named in (["--data", "mydata"], ["--set", "data.name=mydata"]):
        shutil.rmtree(tmp_path / "run", ignore_errors=True)
        options = [
            "--set",
            "data.trust=true",
            "--set",
            "finetune.recalibrate=1",
            "--flops",
            "0.5",
            "--epochs",
            "0",
        ]
        told = slimmer("prune", checkpoint, *named, *options, "--out", tmp_path / "run")
        assert told.exit_code == 0, told.output
        assert (
            json.loads((tmp_path / "run" / "report.json").read_text())["accuracy"]["dense"]
            is not None
        )


def test_what_two_sources_read_has_to_be_named(npz, tmp_path, fresh):
    code = ALONE.replace("needs_path=False", "recognises=lambda path: True")
    install(tmp_path / "site", fresh, "my_data", code, {GROUP: {"mydata": "my_data:SOURCE"}})
    with pytest.raises(DataError, match=r"(?s)can be read as mydata and as npz.*data\.name"):
        guess(npz)


@pytest.mark.parametrize(("name", "path"), [("npz", None), ("mydata", "digits.npz")])
def test_a_path_that_is_missing_or_not_needed_is_refused(npz, tmp_path, fresh, name, path):
    install(tmp_path / "site", fresh, "my_data", ALONE, {GROUP: {"mydata": "my_data:SOURCE"}})
    found = "no path given" if path is None else "the path digits.npz is given"
    with pytest.raises(DataError, match=f"{name}: {found}"):
        load(name, path=path)


def test_a_source_that_fails_on_a_path_is_named(tmp_path, fresh):
    code = ALONE.replace("needs_path=False", "recognises=lambda path: 1 / 0")
    install(tmp_path / "site", fresh, "my_data", code, {GROUP: {"mydata": "my_data:SOURCE"}})
    with pytest.raises(
        DataError, match="data source mydata failed to recognise it: ZeroDivisionError"
    ):
        guess(tmp_path)


def test_messages_name_installed_sources_too(npz, tmp_path):
    with pytest.raises(DataError, match="did you mean 'npz'"):
        load("npzz")
    with pytest.raises(DataError, match=r"a \.npz file of both parts, and FILE\.py:FUNCTION"):
        guess(tmp_path / "absent")


def test_a_source_that_returns_something_else_is_an_error_that_names_it(tmp_path, fresh):
    code = ALONE.replace("return (images, labels), (images, labels)", "return images")
    install(tmp_path / "site", fresh, "my_data", code, {GROUP: {"mydata": "my_data:SOURCE"}})
    with pytest.raises(DataError, match=r"mydata: the function returned a Tensor"):
        load("mydata")
