"""The examples of docs/extending.md are packages that install, and their commands do what the page says."""

import json
import re
import shlex
import shutil
import tomllib
from contextlib import chdir
from pathlib import Path

import plugins
import pytest
from main_job import slimmer

from slimmer.errors import RecipeError
from slimmer.recipe import method_entries, read_recipe
from slimmer.registry import Registry

PAGE = (Path(__file__).parents[1] / "docs" / "extending.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", PAGE, re.DOTALL | re.MULTILINE))
METHODS = ["A criterion", "A trained method"]


def blocks(section, language):
    """The section's code in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", SECTIONS[section], re.DOTALL | re.MULTILINE)


def install(section, where, patch):
    """Install the section's package; returns its entry points, group -> name -> value."""
    (code,), (metadata,) = blocks(section, "python"), blocks(section, "toml")
    points = tomllib.loads(metadata)["project"]["entry-points"]
    ((_, entries),) = points.items()
    (value,) = entries.values()
    plugins.install(where, patch, value.partition(":")[0], code, points)
    return points


@pytest.fixture
def fresh(monkeypatch):
    """The registries of methods as they are before anybody has looked up a name."""
    for attribute in ("CRITERIA", "METHODS"):
        group, entries = f"slimmer.{attribute.lower()}", f"BUILT_IN_{attribute}"
        new = Registry(attribute, RecipeError, entry_points=group)
        for entry in getattr(method_entries, entries):
            new.add(entry.name, entry)
        monkeypatch.setattr(method_entries, attribute, new)
    return monkeypatch


@pytest.mark.parametrize("section", METHODS)
def test_an_installed_method_is_used_by_its_name(section, tmp_path, fresh, checkpoint):
    (entries,) = install(section, tmp_path / "site", fresh).values()
    (name,) = entries
    shutil.copy(checkpoint, tmp_path / "digits_resnet8.safetensors")
    for line in blocks(section, "console"):
        with chdir(tmp_path):
            result = slimmer(*shlex.split(line)[1:], "--out", "run")
        assert result.exit_code == 0, result.output
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert report["method"] == name
    assert report["flops"]["ratio"] <= 0.5
    assert name in (tmp_path / "run" / "report.md").read_text()


def test_a_recipe_knows_the_options_of_an_installed_method(tmp_path, fresh):
    install("A trained method", tmp_path / "site", fresh)
    recipe = read_recipe(None, [("method.name", "structure_selection"), ("method.strength", 0.5)])
    assert recipe.method.strength == 0.5
    assert "structure_selection" in recipe.to_yaml()
    assert read_recipe(None, [("method", {"name": "structure_selection", "strength": 0.5})]) == recipe
