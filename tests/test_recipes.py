"""The recipes that come with slimmer are recipes."""

from pathlib import Path

import pytest
import yaml

from slimmer.models import names
from slimmer.recipe import Recipe, make_recipe, read_recipe

FOLDER = Path(__file__).parents[1] / "recipes"
FILES = sorted(FOLDER.rglob("*.yaml"))


def test_all_recipes_are_found():
    assert [str(file.relative_to(FOLDER)) for file in FILES] == [
        "cifar_resnet20.yaml",
        "cifar_resnet56.yaml",
        "digits.yaml",
        "imagenet_resnet34.yaml",
        "maskconvnet_cifar_resnet20.yaml",
    ]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_recipe_is_valid_and_names_a_budget_and_a_known_network(file):
    recipe = read_recipe(file)
    assert recipe.budget.amounts()
    assert recipe.model.arch in names()
    assert make_recipe(yaml.safe_load(recipe.to_yaml()), "resolved") == recipe


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_recipe_names_no_setting_twice_and_none_at_its_default(file):
    """A recipe shows what is particular about it."""
    written = yaml.safe_load(file.read_text(encoding="utf-8"))
    default = yaml.safe_load(Recipe().to_yaml())
    same = {
        f"{name}.{key}"
        for name, section in written.items()
        if isinstance(section, dict)
        for key, value in section.items()
        if value == default[name][key]
    }
    assert same <= {"finetune.epochs", "finetune.batch_size", "finetune.lr", "profile.batches"}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_recipe_says_at_its_head_how_to_run_it_and_what_to_expect(file):
    lines = file.read_text(encoding="utf-8").splitlines()
    head = "\n".join(line for line in lines[: next(i for i, line in enumerate(lines) if not line.startswith("#"))])
    assert "Expected: " in head
    assert f"--recipe recipes/{file.relative_to(FOLDER)}" in head
