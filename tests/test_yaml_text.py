"""YAML that people write comes back as PyYAML reads it; all else is one message with its line."""

import time
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from slimmer.errors import RecipeError
from slimmer.recipe import parse_setting, read_recipe
from slimmer.recipe.sweep import plan_rows
from slimmer.recipe.yaml_text import parse_yaml, to_yaml

PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(PLAIN)
def test_what_is_dumped_comes_back(value):
    assert parse_yaml(to_yaml(value)) == value


def test_merged_and_repeated_parts_are_as_in_yaml():
    text = "a: &a {x: 1, y: 2}\nb: &b {<<: *a, y: 3}\nc: {<<: [*b, *a], z: *a}\nd: [*a, *a]\n"
    assert parse_yaml(text) == yaml.safe_load(text)


BOMB = "a: &a [1,1,1,1,1,1,1,1,1]\n" + "".join(
    f"{this}: &{this} [{','.join(['*' + before] * 9)}]\n"
    for before, this in zip("abcdefgh", "bcdefghi", strict=True)
)
WRONG = {
    "a key twice": (
        "budget: {flops: 0.5}\nbudget: {flops: 0.9}\n",
        "line 2, column 1: duplicate key 'budget'",
    ),
    "a quoted key twice": ("seed: 1\n'seed': 2\n", "line 2, column 1"),
    "a key twice, further in": (
        "model:\n  arch: a\n  arch: b\n",
        "line 3, column 3: duplicate key 'arch'",
    ),
    "a date that is none": (
        "seed: 2020-13-45",
        "line 1, column 7: '2020-13-45' is not a valid timestamp",
    ),
    "a number that is none": ("seed: !!int abc", "line 1, column 7: 'abc' is not a valid int"),
    "a truth that is none": ("seed: !!bool abc", "'abc' is not a valid bool"),
    "a float that is none": ("seed: !!float abc", "'abc' is not a valid float"),
    "a kind that is unknown": (
        "seed: !!python/object/apply:os.getcwd []",
        "line 1, column 7: could not determine",
    ),
    "what holds itself": (
        "model: &a {keep: *a}",
        "line 1, column 18: *a contains itself",
    ),
    "a list that holds itself": ("&a [*a]", "contains itself"),
    "900 levels": ("[" * 900 + "]" * 900, "line 1, column 51: nested deeper than 50 levels"),
    "a tower of maps": ("{a: " * 90_000, "nested deeper than 50 levels"),
    "a bomb of aliases": (BOMB, "more than 100,000 values"),
    "5000 digits": ("seed: " + "9" * 5000, "... is not a valid int"),
    "a list as a key": ("? [1]\n: 2\n", "unhashable key"),
    "a null byte": ("seed: \0", "special characters are not allowed"),
    "no alias of that name": ("seed: *a", "found undefined alias"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_one_message_with_its_line(name, tmp_path):
    text, said = WRONG[name]
    (tmp_path / "r.yaml").write_text(text)
    began = time.process_time()
    with pytest.raises(RecipeError) as error:
        read_recipe(tmp_path / "r.yaml")
    assert time.process_time() - began < 2
    assert said in error.value.found
    assert len(str(error.value)) < 500
    with pytest.raises(RecipeError, match="--set"):
        parse_setting(f"model.keep={text}")


@pytest.mark.parametrize(
    "text",
    ["seed: " + "9" * 4000, "seed: 0x" + "f" * 9000, f"seed: {'x' * 100_000}", "seed: 1e9999"],
)
def test_a_value_of_any_size_is_a_short_message(text, tmp_path):
    (tmp_path / "r.yaml").write_text(text)
    with pytest.raises(RecipeError, match="seed") as error:
        read_recipe(tmp_path / "r.yaml")
    assert len(str(error.value)) < 500


def test_what_is_no_plain_file_is_not_opened(tmp_path):
    with pytest.raises(RecipeError, match="is not a regular file"):
        read_recipe(Path("/dev/zero"))
    (tmp_path / "large.yaml").write_text("#" * ((1 << 20) + 1))
    with pytest.raises(RecipeError, match="is larger than 1,048,576 bytes"):
        read_recipe(tmp_path / "large.yaml")


def test_a_grid_is_counted_before_it_is_made(tmp_path):
    (tmp_path / "s.yaml").write_text(
        yaml.safe_dump({"grid": {f"key{n}": list(range(300)) for n in range(3)}})
    )
    began = time.process_time()
    with pytest.raises(RecipeError, match="the sweep has 27,000,000 rows"):
        plan_rows(tmp_path / "s.yaml")
    assert time.process_time() - began < 1


def test_a_setting_of_thousands_of_sections_is_refused():
    with pytest.raises(RecipeError, match="is not a setting"):
        read_recipe(None, [(".".join("a" * 5000), 1)])
