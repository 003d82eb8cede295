"""docs/architecture.md is drawn from the code: every room, in the order of imports, every file that
it names.
"""

import re
import tomllib
from pathlib import Path

import pytest

import slimmer

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
PACKAGE = Path(slimmer.__file__).parent
ROWS = re.findall(r"^\| `(\w+)` \| (.+) \|$", PAGE, re.MULTILINE)


def layers():
    """The rooms of the import contract, from the top down."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = settings["tool"]["importlinter"]["contracts"]
    return next(each["layers"] for each in contracts if each["type"] == "layers")


def test_every_room_has_a_row_and_no_other():
    found = {
        path.stem
        for path in PACKAGE.iterdir()
        if path.suffix == ".py" or (path / "__init__.py").is_file()
    }
    assert {name for name, _ in ROWS} == found - {"__init__", "__main__"}


def test_rows_stand_in_the_order_of_the_import_contract():
    rank = {
        name.strip(): level for level, layer in enumerate(layers()) for name in layer.split("|")
    }
    ranks = [rank[name] for name, _ in ROWS]
    assert ranks == sorted(ranks)


@pytest.mark.parametrize("named", sorted(set(re.findall(r"`(\w+/\w+\.py)`", PAGE))))
def test_every_file_that_the_page_names_is_there(named):
    assert (PACKAGE / named).is_file()


def test_the_house_stays_small():
    found = [
        path
        for path in PACKAGE.iterdir()
        if path.suffix == ".py" or (path / "__init__.py").is_file()
    ]
    assert len(found) - 2 <= 22  # without __init__ and __main__
    assert len(layers()) <= 17
