"""The registries of criteria and trained methods, and how a recipe finds a method."""

from collections.abc import Mapping
from typing import Any, Final

from pydantic_core import PydanticCustomError

from slimmer.errors import RecipeError
from slimmer.recipe.criteria import BUILT_IN_CRITERIA, Criterion
from slimmer.recipe.trained_methods import BUILT_IN_METHODS, TrainedMethod
from slimmer.registry import Registry, hint

AUTO: Final = "auto"


CRITERIA: Final[Registry[Criterion]] = Registry(
    "criterion", RecipeError, entry_points="slimmer.criteria", kind=Criterion
)
METHODS: Final[Registry[TrainedMethod]] = Registry(
    "method", RecipeError, entry_points="slimmer.methods", kind=TrainedMethod
)
for _criterion in BUILT_IN_CRITERIA:
    CRITERIA.add(_criterion.name, _criterion)
for _method in BUILT_IN_METHODS:
    METHODS.add(_method.name, _method)


def built_in() -> tuple[Criterion | TrainedMethod, ...]:
    """The built-in criteria and trained methods."""
    return (*BUILT_IN_CRITERIA, *BUILT_IN_METHODS)


def all_entries() -> tuple[Criterion | TrainedMethod, ...]:
    """All criteria and trained methods, including those of installed packages."""
    return (*CRITERIA.values(), *METHODS.values())


def find_method(name: str, *, with_data: bool = True) -> Criterion | TrainedMethod:
    """The entry for `method.name`; `auto` is taylor with data and magnitude without.

    Raises RecipeError if the name is unknown.

    >>> find_method("auto").name, find_method("auto", with_data=False).name, find_method("bar").name
    ('taylor', 'magnitude', 'bar')
    """
    if name == AUTO:
        name = "magnitude"
        if with_data:
            name = "taylor"
    for entry in all_entries():
        if entry.name == name:
            return entry
    raise RecipeError("method.name", f"{name!r} is not known", hint(name, method_names()))


def method_names() -> list[str]:
    """The possible values of `method.name`.

    >>> method_names()[:3]
    ['auto', 'taylor', 'magnitude']
    """
    return [AUTO, *(entry.name for entry in all_entries())]


def read_options(value: Any) -> Any:
    """The method section as an instance of its options class; anything but a mapping is returned
    unchanged.
    """
    if not isinstance(value, Mapping):
        return value
    name = value.get("name", AUTO)
    if not isinstance(name, str) or name not in method_names():
        raise PydanticCustomError(
            "unknown_method", "{right}", {"right": hint(str(name), method_names()), "name": name}
        )
    return find_method(name).options.model_validate({"name": name, **value})
