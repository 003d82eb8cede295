"""Criteria: the options of each in the method section of a recipe, and its entry."""

from dataclasses import dataclass
from typing import Annotated, Final, Literal, Self

from pydantic import Field, model_validator

from slimmer.recipe.method_options import (
    Allocation,
    Compensate,
    MethodOptions,
    Priced,
    Share,
)
from slimmer.registry import Function

Even = Annotated[Share, Field(description="minimum group width, relative to uniform pruning")]
Stream = Annotated[
    Share,
    Field(
        description="minimum width of residual streams, relative to dense; less if the budgets "
        "require it"
    ),
]


class OneShot(MethodOptions):
    """Scores computed once; channels are then removed in one step."""

    priced: Priced = True
    even: Even = 0.0
    stream: Stream = 0.0
    compensate: Compensate = True
    search: int = Field(
        0,
        ge=0,
        description="number of other plans to try within the budgets; the best of them are trained "
        "for some steps, and the best one is taken; needs data; not with a latency budget or "
        "budget.depth; 0 turns this off",
    )

    def allocation(self) -> Allocation:
        """The options of these names."""
        return Allocation(self.priced, self.even, self.stream)

    def plans_to_try(self) -> int:
        """The option `search`."""
        return self.search


class Measured(OneShot):
    """One-shot scores that can be made comparable between groups by measured sensitivity."""

    sensitivity: int = Field(
        0,
        ge=0,
        description="number of batches on which the sensitivity of each group is measured, to make "
        "scores comparable between groups; 0 turns this off; not used under masks",
    )

    def sensitivity_batches(self) -> int:
        """The option `sensitivity`."""
        return self.sensitivity


class Taylor(Measured):
    """slimmer's own method. Scores are squared gradients (Fisher information). Channels are removed
    in one step, or under masks that follow a falling budget during training.
    """

    name: Literal["auto", "taylor"] = Field(
        "auto", description="auto is taylor with data, magnitude without"
    )
    even: Even = 0.5
    stream: Stream = 1.0
    sparsify: Share = Field(
        0.0, description="fraction of the epochs under masks, before channels are removed"
    )
    batches: int = Field(64, ge=1, description="number of batches for the first scores")
    order: Literal["taylor", "magnitude"] = Field(
        "magnitude",
        description="which channels of a group are removed first, while the scores decide how "
        "many: those with the lowest scores (taylor) or the smallest weights (magnitude); not "
        "used under masks",
    )

    @model_validator(mode="after")
    def _one_step(self) -> Self:
        if self.search and self.sparsify:
            raise ValueError(
                "method.search tries plans for channels that are removed in one step; "
                "set method.sparsify to 0"
            )
        return self

    def share_under_masks(self) -> float:
        """The option `sparsify`."""
        return self.sparsify


class Magnitude(MethodOptions):
    """Weight magnitudes, ranked in each group: all groups are pruned uniformly. Needs no data."""

    name: Literal["magnitude"]
    compensate: bool = Field(
        True,
        description="update the remaining weights to compensate for the removed channels, if data "
        "are given",
    )


class L1(Measured):
    """L1 filter pruning (Li et al. 2016): the sum of absolute weights of each filter, compared
    within a layer or across layers.
    """

    name: Literal["l1"]
    priced: bool = Field(
        False,
        description="weight scores by the cost of a channel; helps with sensitivity, hurts without",
    )
    compensate: Compensate = False
    ratios: dict[str, Share] | None = Field(
        None,
        description="share of filters to remove by layer pattern, instead of a budget, as in the "
        "paper: {'layer1.*': 0.1}",
    )

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if self.ratios is not None and (self.sensitivity or self.search):
            raise ValueError(
                "method.ratios sets the share to remove, method.sensitivity and method.search find "
                "it; give only one"
            )
        return self

    def own_cut(self) -> str | None:
        """`ratios`, if given."""
        if self.ratios is None:
            return None
        return "ratios"


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


BUILT_IN_CRITERIA: Final = (
    Criterion("taylor", "slimmer.criteria.taylor:taylor", Taylor, needs_data=True),
    Criterion("magnitude", "slimmer.criteria.magnitude:magnitude", Magnitude, ranks=True),
    Criterion("l1", "slimmer.criteria.filter_norm:l1", L1, cut="slimmer.criteria.filter_norm:cut"),
    Criterion("l2", "slimmer.criteria.filter_norm:l2"),
    Criterion("bn_scale", "slimmer.criteria.bn_scale:bn_scale"),
    Criterion("random", "slimmer.criteria.random_numbers:random"),
)
