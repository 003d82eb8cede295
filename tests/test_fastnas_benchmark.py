"""ModelOpt's FastNAS as a peer, at toy size: messages, images and budgets with ModelOpt replaced,
and one search where it is installed.
"""

import importlib
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch
from click.testing import CliRunner
from torch import nn

from slimmer.costs.flops import count_flops
from slimmer.data import Data, InMemory
from slimmer.models import build

FOLDER = Path(__file__).parents[1] / "benchmarks"
SIZE = (3, 8, 8)


@pytest.fixture(scope="module")
def scripts():
    """The scripts as modules."""
    sys.path.insert(0, str(FOLDER))
    yield SimpleNamespace(
        **{name: importlib.import_module(name) for name in ("accuracy", "fastnas")}
    )
    sys.path.remove(str(FOLDER))


@pytest.fixture
def few(scripts, monkeypatch):
    """Images that tell their place, of which few are taken."""
    monkeypatch.setattr(scripts.fastnas, "CALIBRATION", (50, 2))
    monkeypatch.setattr(scripts.fastnas, "SCORED", 60)
    places = torch.arange(170)
    train = InMemory(places.float()[:, None, None, None].expand(-1, 3, 32, 32), places % 10)
    test = InMemory(torch.full((10, 3, 32, 32), -1.0), torch.arange(10))
    names = tuple("0123456789")
    return Data("places", train, test, names, (0.0,) * 3, (1.0,) * 3, (32, 32))


def asked(scripts, folder):
    """What the command says to a call for FastNAS."""
    out = folder / "out"
    words = ["recipe.yaml", "net.pt", "data", "fastnas", "--out", str(out), "--threads=1"]
    result = CliRunner().invoke(scripts.accuracy.main, words)
    assert result.exit_code == 2
    assert not out.exists()
    return result.output


def test_without_modelopt_the_message_says_how_to_install_it(scripts, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "modelopt", None)
    told = asked(scripts, tmp_path)
    assert "Error: fastnas needs ModelOpt, which can't be imported" in told
    assert f"Install it: {scripts.fastnas.INSTALL}\n" in told
    assert scripts.fastnas.INSTALL.removeprefix("pip install ") in (FOLDER / "README.md").read_text(
        encoding="utf-8"
    )


def test_another_torchprofile_gets_the_same_message(scripts, monkeypatch, tmp_path):
    names = ["modelopt", "modelopt.torch", "modelopt.torch.prune", "torchprofile"]
    for name in [*names, "torchprofile.profile"]:
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    assert "cannot import name 'handlers' from 'torchprofile.profile'" in asked(scripts, tmp_path)


def test_no_other_method_needs_modelopt(scripts, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "modelopt", None)
    words = ["none.yaml", "net.pt", "data", "tp-magnitude", "--out", str(tmp_path), "--threads=1"]
    result = CliRunner().invoke(scripts.accuracy.main, words)
    assert "none.yaml" in str(result.exception)


def test_images_are_of_the_training_split_the_same_every_time_and_none_twice(scripts, few):
    calibration, judged = scripts.fastnas._images(few)
    assert [len(labels) for _, labels in calibration] == [2] * 50
    shown = [images[:, 0, 0, 0] for images, _ in [*calibration, *judged]]
    places = torch.cat(shown).tolist()
    assert len(set(places)) == len(places) == 160
    assert min(places) >= 0
    again, _ = scripts.fastnas._images(few)
    assert torch.equal(again[0][0], calibration[0][0])


def test_too_few_training_images_are_refused(scripts, few, monkeypatch):
    monkeypatch.setattr(scripts.fastnas, "SCORED", 71)
    with pytest.raises(scripts.fastnas.click.UsageError, match=r"170 training .* takes 171$"):
        scripts.fastnas._images(few)


def test_the_limit_is_lowered_until_fvcore_counts_no_more_than_the_budget(scripts, monkeypatch):
    limits = []

    def searched(model, size, limit, *rest):
        """The widest network whose FLOPs without batch norms are at most the limit."""
        limits.append(limit)
        width = int(limit / 2) // (27 * 64)
        return layers(width), 2 * width * 27 * 64

    monkeypatch.setattr(scripts.fastnas, "check_installed", lambda: None)
    monkeypatch.setattr(scripts.fastnas, "_searched", searched)
    slim, found = scripts.fastnas.prune_by_fastnas(layers(40), SIZE, 0.5, None)
    assert count_flops(slim, SIZE) <= 0.5 * count_flops(layers(40), SIZE)
    assert slim[0].out_channels == 20
    assert limits == [2 * 20 * (27 + 2) * 64, 2 * 21 * 27 * 64 - 1]  # 21 channels are too many
    assert found["search_scores"] == 0
    assert "note" not in found


def layers(width):
    return nn.Sequential(nn.Conv2d(3, width, 3, padding=1, bias=False), nn.BatchNorm2d(width))


@pytest.mark.filterwarnings("ignore")
def test_fastnas_keeps_the_budget_and_goes_on_from_its_scores(scripts, few, tmp_path):
    pytest.importorskip("modelopt.torch.prune", reason="ModelOpt is not installed")
    dense, kept = build("cifar_resnet8").eval(), tmp_path / "scores.pth"
    size = (3, 32, 32)
    before = [tensor.clone() for tensor in dense.state_dict().values()]
    slim, found = scripts.fastnas.prune_by_fastnas(dense, size, 0.5, few, kept=kept, divisor=4)
    assert count_flops(slim, size) <= 0.5 * count_flops(dense, size)
    assert {type(module) for module in slim.modules()} == {type(one) for one in dense.modules()}
    assert found["search_scores"] > 0
    assert f"scored {found['search_scores']} networks" in found["note"]
    again, found = scripts.fastnas.prune_by_fastnas(dense, size, 0.5, few, kept=kept, divisor=4)
    assert found["search_scores"] == 0
    shapes = [[weight.shape for weight in net.parameters()] for net in (slim, again)]
    assert shapes[0] == shapes[1]
    assert all(map(torch.equal, before, dense.state_dict().values()))
