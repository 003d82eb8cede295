"""The benchmark of consumers at toy size: today's ONNX Runtime and PyTorch on one tiny network, and
its arithmetic.
"""

import importlib
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from click.testing import CliRunner

FOLDER = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture(scope="module")
def scripts():
    """The scripts as modules."""
    sys.path.insert(0, str(FOLDER))
    yield SimpleNamespace(
        **{name: importlib.import_module(name) for name in ("consumers", "export_cost")}
    )
    sys.path.remove(str(FOLDER))


@pytest.fixture(scope="module")
def found(scripts, tmp_path_factory):
    out = tmp_path_factory.mktemp("consumers")
    result = CliRunner().invoke(
        scripts.consumers.main, ["--nets", "cifar_resnet8", "--out", str(out)]
    )
    assert result.exit_code == 0, result.output
    return json.loads((out / "consumers.json").read_text()), (out / "consumers.md").read_text()


@pytest.mark.slow
def test_every_form_is_run_and_held_against_pytorch(found):
    data, text = found
    rows = {(row["consumer"], row["form"]): row for row in data["rows"]}
    assert len(rows) == 10  # nine ONNX files in ONNX Runtime, the program in PyTorch
    assert not [row for row in rows.values() if "error" in row]
    for (_, form), row in rows.items():
        limit = 0.5 if "int8" in form else 2e-2 if "fp16" in form else 1e-4
        assert row["max_rel"] <= limit
        assert "int8" in form or row["same_top1"] == 1
    assert set(data["skipped"]) == {
        "ONNX Runtime 1.17",
        "OpenVINO",
        "ncnn, by pnnx",
        "onnxruntime-web",
    }
    assert "Skipped: OpenVINO, no --openvino was given." in text
    assert text.count("\n| fp32") == 5


def test_the_figures_are_those_of_the_answer(scripts, tmp_path):
    expected = np.array([[1.0, 4.0], [3.0, 2.0]], np.float32)
    file = scripts.consumers.File("form", tmp_path / "a.onnx", torch.zeros(2, 3), expected)
    np.array([[1.0, 5.0], [1.0, 2.0]], np.float32).tofile(tmp_path / "answer")
    assert scripts.consumers.held(file, tmp_path / "answer") == {
        "max_rel": 0.5,
        "same_top1": 0.5,
        "images": 2,
    }
    np.zeros(3, np.float32).tofile(tmp_path / "answer")
    assert "3 numbers in place of 4" in scripts.consumers.held(file, tmp_path / "answer")["error"]


def test_a_reason_is_said_once_and_its_number_stands_in_every_cell(scripts):
    reasons = []
    row = {"consumer": "one", "error": "no such operation"}
    cells = [scripts.consumers.told(each, reasons) for each in (row, None, dict(row))]
    assert (cells, reasons) == (
        ["fails (1)", "reads none", "fails (1)"],
        ["one: no such operation"],
    )


def test_a_consumer_of_a_place_of_its_own_is_found_there_first(scripts, tmp_path):
    consumer = scripts.consumers.Consumer("one", "onnxruntime", tmp_path)
    assert scripts.consumers.surroundings(consumer)["PYTHONPATH"] == str(tmp_path)
    packages = tmp_path / "lib" / "python3.11" / "site-packages"
    packages.mkdir(parents=True)
    assert scripts.consumers.surroundings(consumer)["PYTHONPATH"] == str(packages)


def test_what_a_command_spends_is_counted(scripts):
    cpu, wall = scripts.export_cost.spent([sys.executable, "-c", "sum(range(10_000_000))"])
    assert 0.02 < cpu < 60
    assert wall > 0


def test_help_names_the_commands(scripts):
    for script in (scripts.consumers, scripts.export_cost):
        assert "python benchmarks/" in CliRunner().invoke(script.main, ["--help"]).output
