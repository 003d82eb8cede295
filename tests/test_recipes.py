"""The recipes that come with slimmer are recipes."""

from pathlib import Path

import pytest
import yaml

from slimmer.errors import RecipeError
from slimmer.models import names
from slimmer.recipe import find_recipe, make_recipe, read_recipe
from slimmer.recipe.keys import flat
from slimmer.recipe.shipped import shipped_recipes
from slimmer.recipe.sweep import plan_rows

FOLDER = Path(__file__).parents[1] / "recipes"
FILES = sorted(FOLDER.rglob("*.yaml"))
PAPER = FOLDER / "paper"  # what lies there, test_paper.py knows
PARTS = {".", "paper", "published"}
SWEEPS = [PAPER / "table5.yaml", PAPER / "table6.yaml"]
RECIPES = [file for file in FILES if file not in SWEEPS]

# What a reader wants to see even where it is the default.
SHOWN = {
    "finetune.epochs",
    "finetune.batch_size",
    "finetune.lr",
    "method.lambda_m",
    "method.lambda_v",
    "method.sparsify",
    "method.strength",
    "profile.batches",
}


def named(file):
    return str(file.relative_to(FOLDER))


def test_all_recipes_are_found():
    assert {named(file).split("/")[0] if "/" in named(file) else "." for file in FILES} == PARTS
    assert [named(file) for file in FILES if file.parent == FOLDER] == [
        "cifar_resnet20.yaml",
        "cifar_resnet56.yaml",
        "digits.yaml",
        "imagenet_resnet34.yaml",
        "maskconvnet_cifar_resnet20.yaml",
        "shapes_unet.yaml",
    ]
    assert set(SWEEPS) <= set(FILES)


@pytest.mark.parametrize("file", RECIPES, ids=named)
def test_a_recipe_is_valid_and_names_what_to_remove_and_a_known_network(file):
    recipe = read_recipe(file)
    shares = [getattr(recipe.method, key, None) for key in ("ratio", "ratios")]
    assert bool(recipe.budget.amounts()) != any(shares)
    if file.with_suffix(".py").exists():  # its network is code, named on the command line
        assert recipe.model.arch is None
    else:
        assert recipe.model.arch in names()
    assert make_recipe(yaml.safe_load(recipe.to_yaml()), "resolved") == recipe


@pytest.mark.parametrize("file", SWEEPS, ids=named)
def test_a_sweep_is_valid_and_its_rows_name_a_budget_and_a_known_network(file):
    rows = plan_rows(file)
    assert len(rows) > 1
    assert all(recipe.budget.amounts() and recipe.model.arch in names() for recipe in rows.values())


@pytest.mark.parametrize("file", RECIPES, ids=named)
def test_a_recipe_names_no_setting_at_its_default(file):
    """A recipe shows what is particular about it."""
    written = yaml.safe_load(file.read_text(encoding="utf-8"))
    method = {"name": written.get("method", {}).get("name", "auto")}
    bare = flat(make_recipe({"method": method}, "defaults").model_dump(mode="json"))
    same = {key for key, value in flat(written).items() if key in bare and bare[key] == value}
    assert same <= {*SHOWN, "version", "seed", "method.name"}


@pytest.mark.parametrize("file", FILES, ids=named)
def test_a_recipe_says_at_its_head_how_to_run_it_and_what_to_expect(file):
    lines = file.read_text(encoding="utf-8").splitlines()
    head = "\n".join(
        line
        for line in lines[: next(i for i, line in enumerate(lines) if not line.startswith("#"))]
    )
    assert "# Expected: " in head
    assert (
        f"slimmer sweep recipes/{named(file)}" in head
        if file in SWEEPS
        else f"--recipe recipes/{named(file)}" in head
    )


def test_every_recipe_goes_by_its_path_without_the_ending():
    assert shipped_recipes() == {named(file).removesuffix(".yaml"): file for file in FILES}
    assert find_recipe("paper/table5") == PAPER / "table5.yaml"


def test_a_file_goes_before_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find_recipe("digits") == FOLDER / "digits.yaml"
    Path("digits").touch()
    assert find_recipe("digits") == Path("digits")
    assert find_recipe("no/such.yaml") == Path("no/such.yaml")  # reading it says what is wrong


@pytest.mark.parametrize(
    ("name", "right"), [("digit", "did you mean 'digits'"), ("x", "known: cifar_resnet20")]
)
def test_a_name_that_is_none_is_refused_with_the_nearest(name, right):
    with pytest.raises(
        RecipeError, match="is neither a file nor the name of a built-in recipe"
    ) as caught:
        find_recipe(name)
    assert right in str(caught.value)
