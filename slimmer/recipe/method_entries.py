"""The registries of criteria and trained methods: everything that other rooms need of a method."""

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
Function: TypeAlias = str | Callable[..., Any]  # a function, or "module:function" to import later


@dataclass(frozen=True)
class Criterion:
    """A criterion: scores channels once, before they are removed.

    Attributes:
        name: its name in `method.name`.
        scores: takes a `slimmer.criteria.ScoreRequest` and returns the scores (units,), float64.
        options: the class of its method section in a recipe.
        needs_data: whether it needs images.
        ranks: whether scores are ranks within each group. Ranks can't be compared between groups,
            so all groups are pruned uniformly.
        cut: takes the request and the scores and returns the plan, if an option replaces the budget
            (`options.own_cut`).
    """

    name: str
    scores: Function
    options: type[MethodOptions] = OneShot
    needs_data: bool = False
    ranks: bool = False
    cut: Function | None = None


@dataclass(frozen=True)
class TrainedMethod:
    """A method that trains masks or scales for some steps; their final values are the scores.

    Attributes:
        name: its name in `method.name`.
        build: takes a `slimmer.methods.MethodSetup` and returns a `slimmer.methods.Method`.
        options: the class of its method section in a recipe. If the optimizer trains the masks, the
            options `mask_lr` and `mask_decay` are their learning rate and weight decay.
        cut: as for a criterion, with the final scores.
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
