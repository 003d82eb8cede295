"""A recipe is strict and says all that is wrong with it; what it resolves to gives the same recipe
again.
"""

import math

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from slimmer.errors import RecipeError
from slimmer.recipe import Recipe, make_recipe, parse_setting, read_recipe

SECTIONS = {
    name: field.annotation
    for name, field in Recipe.model_fields.items()
    if name != "method" and hasattr(field.annotation, "model_fields")
}
KEYS = [f"{section}.{key}" for section, kind in SECTIONS.items() for key in kind.known_keys()]


def refused(*chosen):
    """The mistakes that are listed for a recipe of these settings, without their indentation."""
    with pytest.raises(RecipeError) as error:
        read_recipe(None, chosen)
    mistakes = [line.strip() for line in error.value.right.splitlines()]
    assert error.value.where == "command line"
    assert (
        error.value.found
        == ("one error" if len(mistakes) == 1 else f"{len(mistakes)} errors") + " in the recipe"
    )
    return mistakes


# Names


def test_every_misspelt_key_is_listed_at_once_with_the_key_that_was_meant():
    mistakes = refused(*((f"{key}e", 1) for key in KEYS))
    assert len(KEYS) > 30
    listed = {line.partition(":")[0]: line for line in mistakes}
    assert set(listed) >= {f"{key}e" for key in KEYS}
    wrong = [
        key
        for key in KEYS
        if f"{key}e" not in KEYS
        and f"did you mean {key.partition('.')[2]!r}" not in listed[f"{key}e"]
    ]
    assert wrong == []


@pytest.mark.parametrize("section", SECTIONS)
def test_a_misspelt_section_is_listed_with_the_one_that_was_meant(section):
    [mistake] = refused((f"{section}s", {}))
    assert mistake.startswith(f"{section}s: is not known; did you mean {section!r}?")


def test_keys_of_one_section_are_not_known_in_another():
    [mistake] = refused(("budget.epochs", 3))
    assert mistake == (
        "budget.epochs: is not known; known: depth, flops, latency, max_sparsity, min_width, "
        "params, round_to, timing"
    )


# Types and ranges


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("seed", True),
        ("seed", 1.0),
        ("seed", "1"),
        ("seed", -1),
        ("version", 2),
        ("version", "1"),
        ("device", "tpu"),
        ("device", None),
        ("model", 3),
        ("model.arch", 5),
        ("model.keep", "layer4.*"),
        ("model.keep", [4]),
        ("model.input_size", [1, 2]),
        ("model.input_size", [1, 16, 16.0]),
        ("model.input_size", [1, 16, 0]),
        ("data.size", "16"),
        ("data.size", 0),
        ("data.mean", ["0.5"]),
        ("data.mean", [math.nan]),
        ("data.mean", 0.5),
        ("data.views", 0),
        ("data.views", -2),
        ("data.views", 2.0),
        ("data.views", "3"),
        ("data.views", True),
        ("data.trust", 1),
        ("data.trust", "yes"),
        ("budget.flops", True),
        ("budget.flops", [0.5]),
        ("budget.flops", "half"),
        ("budget.flops", math.inf),
        ("budget.params", 0),
        ("model.only", "backbone"),
        ("budget.min_width", True),
        ("budget.min_width", 1.5),
        ("budget.min_width", {}),
        ("budget.min_width", {"layer4": 0}),
        ("budget.max_sparsity", 1.1),
        ("budget.max_sparsity", {"layer4": "half"}),
        ("budget.round_to", 0),
        ("method.name", "l0"),
        ("method.sparsify", 1.01),
        ("method.lambda_m", [3.0]),
        ("finetune.epochs", True),
        ("finetune.epochs", "3"),
        ("finetune.epochs", -1),
        ("finetune.epochs", math.inf),
        ("finetune.epochs", math.nan),
        ("finetune.lr", "0.1"),
        ("finetune.lr", 0),
        ("finetune.momentum", 1),
        ("finetune.distill", 1.5),
        ("finetune.batch_size", 64.0),
        ("finetune.precision", "16"),
        ("profile.batches", [True]),
        ("profile.batches", 8),
        ("profile.provider", "gpu"),
        ("profile.threads", 0),
        ("profile.threads", [1, 0]),
        ("profile.runtimes", []),
        ("profile.runtimes", ["onnx"]),
        ("profile.seconds", -1),
        ("profile.tf32", 1),
        ("profile.conv_search", "fast"),
    ],
)
def test_nothing_is_taken_for_what_it_is_not(key, value):
    mistakes = refused((key, value))
    assert all(mistake.startswith(f"{key}") for mistake in mistakes)


@pytest.mark.parametrize(
    ("key", "value", "read"),
    [
        ("finetune.epochs", 3, 3.0),
        ("finetune.epochs", 0, 0.0),
        ("finetune.momentum", 0, 0.0),
        ("data.mean", [0, 0.5], (0.0, 0.5)),
        ("data.mean", None, None),
        ("model.input_size", [1, 16, 16], (1, 16, 16)),
        ("model.keep", ["a", "b.*"], ("a", "b.*")),
        ("model.keep", [], ()),
        ("budget.min_width", {"layer4.*": 8}, {"layer4.*": 8}),
        ("budget.max_sparsity", 0, 0.0),
        ("budget.max_sparsity", {"*": 0.5, "fc": 1}, {"*": 0.5, "fc": 1.0}),
        ("budget.flops", 0.5, 0.5),
        ("budget.flops", 1, 1.0),
        ("budget.flops", 2_000_000, 2e6),
        ("budget.flops", "50%", "50%"),
        ("budget.flops", None, None),
        ("profile.threads", 4, 4),
        ("profile.threads", [1, 2], (1, 2)),
        ("profile.provider", "OpenVINOExecutionProvider", "OpenVINOExecutionProvider"),
        ("profile.runtimes", ["onnxruntime", "torch"], ("onnxruntime", "torch")),
    ],
)
def test_what_is_right_is_read(key, value, read):
    section, _, name = key.partition(".")
    found = getattr(getattr(read_recipe(None, [(key, value)]), section), name)
    assert found == read
    assert type(found) is type(read)


def test_a_recipe_does_not_change():
    recipe = Recipe()
    for section, key, value in (
        (recipe, "seed", 5),
        (recipe.finetune, "lr", 0.5),
        (recipe.data, "mean", (0.5,)),
    ):
        with pytest.raises(ValidationError, match="frozen"):
            setattr(section, key, value)
    assert recipe == Recipe()


@pytest.mark.parametrize(
    ("warmup", "epochs", "fits"), [(1.5, 3, False), (1.4, 3, True), (2, 0, True)]
)
def test_a_warm_up_is_shorter_than_the_part_under_masks(warmup, epochs, fits):
    chosen = [
        ("method.name", "maskconvnet"),
        ("method.warmup", warmup),
        ("finetune.epochs", epochs),
    ]
    if fits:
        assert read_recipe(None, chosen).method.warmup == warmup
    else:
        [mistake] = refused(*chosen)
        assert (
            "method.warmup is 1.5 epochs, but only 1.5 are under masks, so the masks never move"
            in mistake
        )


# Budgets


@settings(deadline=None, derandomize=True)
@given(st.floats(0, 0.999))
def test_sparsity_is_what_is_removed(sparsity):
    recipe = make_recipe({"budget": {"flops": {"sparsity": sparsity}, "params": 0.25}}, "here")
    amounts = recipe.budget.amounts()
    assert amounts["flops"].relative
    assert amounts["flops"].of(1000) + 1000 * sparsity == pytest.approx(1000)
    assert amounts["params"].of(1000) == 250


@pytest.mark.parametrize(
    "sparsity", [1, 1.5, -0.5, -2000, math.nan, True, False, "0.5", None, [0.5]]
)
def test_a_sparsity_is_a_number_from_zero_to_below_one(sparsity):
    [mistake] = refused(("budget.flops", {"sparsity": sparsity}))
    assert "the share to remove, from 0 to below 1" in mistake


@pytest.mark.parametrize("value", [{}, {"sparsity": 0.5, "params": 0.5}, {"ratio": 0.5}])
def test_a_mapping_that_is_no_sparsity_is_refused(value):
    [mistake] = refused(("budget.flops", value))
    assert "one key, sparsity: the share to remove" in mistake


def test_only_the_budgets_that_are_named_are_there():
    assert Recipe().budget.amounts() == {}
    assert list(read_recipe(None, [("budget.params", "11M")]).budget.amounts()) == ["params"]


# Where settings come from


def test_settings_are_laid_over_the_file_the_last_one_wins(tmp_path):
    file = tmp_path / "recipe.yaml"
    file.write_text("seed: 1\nfinetune: {lr: 0.5, epochs: 9}\ndata: {mean: [0.1, 0.2]}\n")
    recipe = read_recipe(
        file, [("finetune.lr", 0.25), ("data.mean", [0.3]), ("finetune.lr", 0.125)]
    )
    assert (recipe.seed, recipe.finetune.lr, recipe.finetune.epochs, recipe.data.mean) == (
        1,
        0.125,
        9,
        (0.3,),
    )
    assert recipe.finetune.momentum == Recipe().finetune.momentum
    assert "lr: 0.5" in file.read_text()


@pytest.mark.parametrize("content", ["model:\n", "model: null\nseed: 0\n", "model: {}\n", ""])
def test_a_section_that_is_left_empty_takes_settings(tmp_path, content):
    file = tmp_path / "recipe.yaml"
    file.write_text(content)
    recipe = read_recipe(file, [("model.arch", "resnet34"), ("budget.flops.sparsity", 0.75)])
    assert recipe.model.arch == "resnet34"
    assert recipe.budget.flops == 0.25


@pytest.mark.parametrize(
    ("key", "section"), [("seed.x", "seed"), ("finetune.lr.x", "lr"), ("data.mean.0", "mean")]
)
def test_a_setting_below_a_value_is_refused(tmp_path, key, section):
    file = tmp_path / "recipe.yaml"
    file.write_text("seed: 1\nfinetune: {lr: 0.5}\ndata: {mean: [0.5]}\n")
    with pytest.raises(RecipeError, match=f"{section} is not a section"):
        read_recipe(file, [(key, 1)])


def test_no_file_and_an_empty_file_are_the_defaults(tmp_path):
    (tmp_path / "recipe.yaml").write_text("# nothing yet\n")
    assert read_recipe(tmp_path / "recipe.yaml") == read_recipe(None) == Recipe()


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"seed: [1\nmodel: 3", "is not valid YAML.*line 2"),
        (b"seed: 1\n\tmodel: 3", "is not valid YAML.*line 2"),
        (b"seed: \xff", "can't be read"),
        (b"seed: \x01", "is not valid YAML"),
        (b"- seed", "contains a list"),
        (b"seed", "contains a str"),
        (b"!!python/object/apply:os.getcwd []", "is not valid YAML"),
        (None, "can't be read"),
    ],
)
def test_a_file_that_is_no_recipe_is_named(tmp_path, content, found):
    file = tmp_path / "recipe.yaml"
    if content is None:
        file.mkdir()
    else:
        file.write_bytes(content)
    with pytest.raises(RecipeError, match=found) as error:
        read_recipe(file)
    assert error.value.where == str(file)


@pytest.mark.parametrize(
    ("text", "pair"),
    [
        ("finetune.lr=0.01", ("finetune.lr", 0.01)),
        ("finetune.epochs=3", ("finetune.epochs", 3)),
        (" seed = 3 ", ("seed", 3)),
        ("data.trust=true", ("data.trust", True)),
        ("data.views=3", ("data.views", 3)),
        ("data.mean=[0.5, 0.25]", ("data.mean", [0.5, 0.25])),
        ("model.keep=['layer4.*']", ("model.keep", ["layer4.*"])),
        ("budget.flops=50%", ("budget.flops", "50%")),
        ("budget.flops='0.5'", ("budget.flops", "0.5")),
        ("budget.flops={sparsity: 0.5}", ("budget.flops", {"sparsity": 0.5})),
        ("model.checkpoint=a=b.pth", ("model.checkpoint", "a=b.pth")),
        ("data.path=", ("data.path", None)),
    ],
)
def test_a_setting_is_a_key_and_a_yaml_value(text, pair):
    assert parse_setting(text) == pair
    assert type(parse_setting(text)[1]) is type(pair[1])


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("seed", "--set"),
        ("", "--set"),
        ("=3", "--set"),
        ("seed=[", "--set seed"),
        ("a=b: c: d", "a"),
    ],
)
def test_a_setting_that_is_none_is_refused(text, where):
    with pytest.raises(RecipeError) as error:
        parse_setting(text)
    assert where in error.value.where


# Round trip and hash


def pairs(key, *values):
    """A key with one of its values."""
    return st.tuples(st.just(key), st.one_of(*values))


POSITIVE = st.floats(1e-12, 1e6)
AWKWARD = st.sampled_from(["1", "no", "null", "~", "1e3", "a: b", "#", "é", "\n", " "])
PAIRS = st.one_of(
    pairs("seed", st.integers(0, 2**31)),
    pairs("model.checkpoint", st.none(), st.text()),
    pairs("model.keep", st.lists(st.text(), max_size=3)),
    pairs("model.input_size", st.none(), st.lists(st.integers(1, 512), min_size=3, max_size=3)),
    pairs("data.classes", st.none(), st.lists(AWKWARD)),
    pairs("data.std", st.none(), st.lists(POSITIVE, max_size=3)),
    pairs("data.views", st.none(), st.integers(1, 99)),
    pairs("data.trust", st.booleans()),
    pairs("budget.flops", st.none(), st.floats(1e-6, 1), st.sampled_from(["50%", "1.8G", "1e-3"])),
    pairs("budget.params", st.none(), st.fixed_dictionaries({"sparsity": st.floats(0, 0.999)})),
    pairs("method.batches", st.integers(1, 99)),
    pairs("finetune.epochs", st.integers(0, 300), st.floats(0, 300)),
    pairs("finetune.lr", POSITIVE),
    pairs(
        "profile.threads",
        st.none(),
        st.integers(1, 64),
        st.lists(st.integers(1, 64), min_size=1, max_size=3),
    ),
)


@settings(deadline=None, derandomize=True, max_examples=60)
@given(st.lists(PAIRS, max_size=8))
def test_the_resolved_recipe_is_the_same_recipe_with_the_same_hash(chosen):
    recipe = read_recipe(None, chosen)
    again = make_recipe(yaml.safe_load(recipe.to_yaml()), "resolved")
    assert again == recipe
    assert again.to_yaml() == recipe.to_yaml()
    assert again.hash() == recipe.hash()


def test_the_resolved_recipe_names_every_key():
    resolved = yaml.safe_load(Recipe().to_yaml())
    assert list(resolved) == list(Recipe.model_fields)
    assert [f"{section}.{key}" for section in SECTIONS for key in resolved[section]] == KEYS


def test_a_hash_tells_what_differs_and_not_how_it_was_written(tmp_path):
    file = tmp_path / "recipe.yaml"
    file.write_text("finetune: {momentum: 0.5, lr: 1.0e-2}\nseed: 3\n")
    other = tmp_path / "other.yaml"
    other.write_text("# the same\nversion: 1\nseed: 3\nfinetune:\n  lr: 0.01\n  momentum: 0.5\n")
    chosen = [("seed", 3), ("finetune.lr", 0.01), ("finetune.momentum", 0.5)]
    same = {read_recipe(file).hash(), read_recipe(other).hash(), read_recipe(None, chosen).hash()}
    assert len(same) == 1
    assert len(min(same)) == 16
    assert int(min(same), 16) >= 0
    hashes = {
        read_recipe(None, [*chosen, (key, value)]).hash()
        for key, value in (("seed", 4), ("model.arch", "x"))
    }
    assert len(hashes | same) == 3


def test_a_number_with_an_exponent_is_a_number(tmp_path):
    file = tmp_path / "recipe.yaml"
    file.write_text("finetune:\n  lr: 1e-3\n")
    assert read_recipe(file).finetune.lr == 0.001
    assert parse_setting("finetune.lr=1e-3") == ("finetune.lr", 0.001)
    assert parse_setting("model.arch=e3") == ("model.arch", "e3")
