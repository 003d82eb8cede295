"""The notebooks run from their first cell to their last, in a process and a folder of their own."""

import ast
import json
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
FOLDER = TESTS.parent / "docs" / "notebooks"
# torchvision's operators, where its build does not fit the installed torch
OPERATORS = "from torchvision_ops import detection\ndetection()\n"


def program(name):
    """The code cells of a notebook, joined."""
    notebook = json.loads((FOLDER / name).read_text(encoding="utf-8"))
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    return "\n".join("".join(cell["source"]) + "\n" for cell in cells)


def printed(code, folder):
    """What a program prints that runs in `folder`."""
    places = os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": places},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_notebook_is_python_that_a_test_runs():
    names = {path.name for path in FOLDER.glob("*.ipynb")}
    assert names == {"digits.ipynb", "timm.ipynb"}
    for name in names:
        assert ast.parse(program(name)).body


def test_digits_in_a_minute(tmp_path):
    text = printed(program("digits.ipynb"), tmp_path)
    (flops,) = re.findall(r"flops: ([\d.]+)% remain, budget 50.00%", text)
    (params,) = re.findall(r"params: ([\d.]+)% remain, budget 60.00%", text)
    assert float(flops) <= 50
    assert float(params) <= 60
    dense, _, slim = map(float, re.findall(r"([\d.]+)% top-1$", text, re.MULTILINE))
    assert dense > 97
    assert slim > 90
    assert "torch.Size([2, 10])\nTrue\n" in text


@pytest.mark.slow
@pytest.mark.skipif(find_spec("timm") is None, reason="timm is not installed")
def test_a_timm_model(tmp_path):
    text = printed(OPERATORS + program("timm.ipynb"), tmp_path)
    (flops,) = re.findall(r"FLOPs: ([\d.]+)% remain", text)
    assert float(flops) <= 50
    pruned = re.findall(r"^(\S+) +\d+ -> +\d+$", text, re.MULTILINE)
    assert any(name.startswith("layer1") for name in pruned)
    assert not any(name.startswith("layer4") for name in pruned)
    assert (tmp_path / "timm-run" / "slim.onnx").is_file()
