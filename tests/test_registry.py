"""Names and what they stand for: none twice, and the nearest one where a name is unknown."""

import pytest

from slimmer.errors import DataError
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
