"""The methods that a recipe can name: one entry each, which holds all that the rest of slimmer asks
about it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from pydantic_core import PydanticCustomError

from slimmer.errors import RecipeError
from slimmer.recipe.methods import (
    L1,
    Bar,
    Magnitude,
    MaskConvNet,
    MethodOptions,
    NetworkSlimming,
    OneShot,
    Taylor,
)
from slimmer.registry import Registry, hint

AUTO: Final = "auto"
Function: TypeAlias = (
    str | Callable[..., Any]
)  # itself, or "module:function", imported when it is needed


@dataclass(frozen=True)
class Criterion:
    """A way to score channels once, before they are removed.

    Attributes: name: what `method.name` calls it. scores: takes a `slimmer.criteria.ScoreRequest`,
        returns the score of each unit (units,), float64. options: the method section of a recipe
        that names it. needs_data: whether it asks for images. ranks: whether scores are ranks
        within each group. They say nothing across groups, so all are cut alike. cut: takes the
        request and the scores, returns the plan, where `options.own_cut` says that no budget does.
    """

    name: str
    scores: Function
    options: type[MethodOptions] = OneShot
    needs_data: bool = False
    ranks: bool = False
    cut: Function | None = None


@dataclass(frozen=True)
class TrainedMethod:
    """A way to train masks or scales for some steps, and then to cut by the scores that they end
    with.

    Attributes:
        name: what `method.name` calls it.
        build: takes a `slimmer.methods.MethodSetup`, returns a `slimmer.methods.Method`.
        options: the method section of a recipe that names it. Where the optimizer moves the masks, its options
            `mask_lr` and `mask_decay` are their learning rate and weight decay.
        cut: as a criterion's, with the scores at the end.
    """

    name: str
    build: Function
    options: type[MethodOptions]
    cut: Function | None = None


BUILT_IN_CRITERIA: Final = (
    Criterion("taylor", "slimmer.criteria.taylor:taylor", Taylor, needs_data=True),
    Criterion("magnitude", "slimmer.criteria.magnitude:magnitude", Magnitude, ranks=True),
    Criterion("l1", "slimmer.criteria.filter_norm:l1", L1, cut="slimmer.criteria.filter_norm:cut"),
    Criterion("l2", "slimmer.criteria.filter_norm:l2"),
    Criterion("bn_scale", "slimmer.criteria.bn_scale:bn_scale"),
    Criterion("random", "slimmer.criteria.random_numbers:random"),
)
BUILT_IN_METHODS: Final = (
    TrainedMethod("maskconvnet", "slimmer.methods.maskconvnet:build", MaskConvNet),
    TrainedMethod(
        "network_slimming",
        "slimmer.methods.network_slimming:build",
        NetworkSlimming,
        cut="slimmer.methods.network_slimming:cut",
    ),
    TrainedMethod("bar", "slimmer.methods.bar:build", Bar),
)
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
    """The entries of slimmer's own criteria and trained methods."""
    return (*BUILT_IN_CRITERIA, *BUILT_IN_METHODS)


def all_entries() -> tuple[Criterion | TrainedMethod, ...]:
    """All entries, those of installed packages too."""
    return (*CRITERIA.values(), *METHODS.values())


def find_method(name: str, *, with_data: bool = True) -> Criterion | TrainedMethod:
    """The entry that `method.name` means; `auto` is taylor with data, else magnitude.

    Raises RecipeError for a name that is not known.

    >>> find_method("auto").name, find_method("auto", with_data=False).name, find_method("bar").name
    ('taylor', 'magnitude', 'bar')
    """
    if name == AUTO:
        return CRITERIA["taylor" if with_data else "magnitude"]
    found = next((entry for entry in all_entries() if entry.name == name), None)
    if found is None:
        raise RecipeError("method.name", f"{name!r} is not known", hint(name, method_names()))
    return found


def method_names() -> list[str]:
    """All that `method.name` can be.

    >>> method_names()[:3]
    ['auto', 'taylor', 'magnitude']
    """
    return [AUTO, *(entry.name for entry in all_entries())]


def read_options(value: Any) -> Any:
    """The method section as the options of the method that it names; what is no mapping stays as it
    is.
    """
    if not isinstance(value, Mapping):
        return value
    name = value.get("name", AUTO)
    if not isinstance(name, str) or name not in method_names():
        raise PydanticCustomError(
            "unknown_method", "{right}", {"right": hint(str(name), method_names()), "name": name}
        )
    return find_method(name).options.model_validate({"name": name, **value})
