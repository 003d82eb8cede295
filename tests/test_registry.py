"""Names and what they stand for: none twice, and the nearest one where a name is unknown."""

import pytest
from plugins import install

from slimmer.errors import DataError, PluginError
from slimmer.registry import Registry, hint


def filled():
    registry = Registry("data set", DataError)
    for number, name in enumerate(("digits", "cifar10", "folder")):
        registry.add(name, number)
    return registry


def test_it_is_a_mapping_in_the_order_of_entry():
    registry = filled()
    assert dict(registry) == {"digits": 0, "cifar10": 1, "folder": 2}
    assert list(registry) == ["digits", "cifar10", "folder"]
    assert len(registry) == 3
    assert "digits" in registry
    assert "digit" not in registry


def test_add_gives_back_what_it_enters():
    value = object()
    assert filled().add("more", value) is value


def test_a_name_taken_twice_is_a_mistake_in_the_code_and_changes_nothing():
    registry = filled()
    with pytest.raises(ValueError, match="data set 'digits' is registered twice"):
        registry.add("digits", 5)
    assert registry["digits"] == 0


def test_an_unknown_name_raises_the_registrys_own_error_with_the_nearest():
    with pytest.raises(DataError) as refused:
        filled()["cifar100"]
    assert refused.value.where == "data set"
    assert refused.value.found == "'cifar100' is not known"
    assert refused.value.right == "did you mean 'cifar10'? known: cifar10, digits, folder"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("flods", "did you mean 'folds'? known: apple, flops, folds"),
        ("xyz", "known: apple, flops, folds"),
        ("", "known: apple, flops, folds"),
    ],
)
def test_a_hint_names_one_near_name_or_none_and_all_sorted(name, text):
    assert hint(name, iter(["folds", "flops", "apple"])) == text


GROUP = "slimmer.numbers"


@pytest.fixture
def numbers(tmp_path, monkeypatch):
    """A registry of one number, and how to install a package that adds others."""

    def installed(name, code, **values):
        install(tmp_path / "site", monkeypatch, name, code, {GROUP: values})

    registry = Registry("number", DataError, entry_points=GROUP, kind=int)
    registry.add("one", 1)
    return registry, installed


@pytest.mark.parametrize(
    "use",
    [
        lambda registry: registry["two"] == 2,
        lambda registry: "two" in registry,
        lambda registry: list(registry) == ["one", "three", "two"],
        lambda registry: len(registry) == 3,
        lambda registry: dict(registry) == {"one": 1, "two": 2, "three": 3},
    ],
)
def test_what_installed_packages_enter_is_there_at_the_first_use(numbers, use):
    registry, installed = numbers
    installed("more", "TWO, THREE = 2, 3", two="more:TWO", three="more:THREE")
    assert use(registry)


def test_a_package_is_loaded_once_and_not_before_a_lookup(numbers, tmp_path):
    registry, installed = numbers
    loaded = tmp_path / "loaded"
    installed(
        "more",
        f"from pathlib import Path\nPath({str(loaded)!r}).open('x').close()\nTWO = 2",
        two="more:TWO",
    )
    registry.add("three", 3)
    assert not loaded.exists()
    assert registry["two"] + registry["two"] == 4
    assert loaded.exists()  # a second loading would find it there and fail


def test_other_groups_and_registries_without_a_group_stay_as_they_are(numbers):
    _, installed = numbers
    installed("more", "TWO = 2", two="more:TWO")
    assert list(Registry("number", DataError, entry_points="slimmer.letters")) == []
    assert list(filled()) == ["digits", "cifar10", "folder"]


def test_a_package_that_looks_up_a_name_while_it_is_loaded_sees_slimmers_own(numbers, monkeypatch):
    registry, installed = numbers
    monkeypatch.setattr("slimmer.registry.NUMBERS", registry, raising=False)
    installed(
        "more", "from slimmer.registry import NUMBERS\nTWO = NUMBERS['one'] + 1", two="more:TWO"
    )
    assert registry["two"] == 2


@pytest.mark.parametrize(
    ("code", "value", "found"),
    [
        (
            "import no_such_module",
            "more:TWO",
            "'more:TWO' can't be loaded: ModuleNotFoundError: No module named",
        ),
        (
            "",
            "more:TWO",
            "'more:TWO' can't be loaded: AttributeError: module 'more' has no attribute 'TWO'",
        ),
        ("1 / 0", "more:TWO", "'more:TWO' can't be loaded: ZeroDivisionError: division by zero"),
        ("raise KeyError", "more:TWO", "'more:TWO' can't be loaded: KeyError: KeyError"),
        ("TWO = 2", "more TWO", "'more TWO' can't be loaded: "),
        ("TWO = '2'", "more:TWO", "'more:TWO' is a str, not a int"),
        (
            "class Named(int): name = 'deux'\nTWO = Named(2)",
            "more:TWO",
            "'more:TWO' has the name 'deux', but its entry point is 'two'",
        ),
    ],
)
def test_a_package_that_cannot_be_used_is_one_error_that_names_it_at_every_use(
    numbers, code, value, found
):
    registry, installed = numbers
    installed("more", code, two=value)
    for _ in range(2):
        with pytest.raises(PluginError) as refused:
            registry["one"]
        assert refused.value.where == "more 1.0, entry point slimmer.numbers:two"
        assert refused.value.found.startswith(found)
        assert refused.value.right == "fix the package more 1.0, or uninstall it"


@pytest.mark.parametrize(("name", "other"), [("one", "slimmer"), ("two", "more 1.0")])
def test_a_name_that_two_packages_take_is_one_error_that_names_both(numbers, name, other):
    registry, installed = numbers
    installed("more", "TWO = 2", two="more:TWO")
    installed("most", "TWO = 22", **{name: "most:TWO"})
    with pytest.raises(PluginError) as refused:
        list(registry)
    assert refused.value.where == f"most 1.0, entry point slimmer.numbers:{name}"
    assert refused.value.found == f"{name!r} is also the name of a number of {other}"
    assert refused.value.right == "rename one of them, or uninstall one of the packages"


def test_nothing_of_a_package_is_added_where_one_of_its_entries_cannot_be_used(numbers):
    registry, installed = numbers
    installed("more", "AAA = 2", aaa="more:AAA", two="more:TWO")
    with pytest.raises(PluginError):
        registry["aaa"]
    registry._group = None
    assert list(registry) == ["one"]
