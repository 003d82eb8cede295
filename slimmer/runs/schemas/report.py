"""The schemas of dense.json and report.json."""

from typing import Literal, Self

from pydantic import TypeAdapter, model_validator

from slimmer.runs.schemas.base import (
    AMOUNT,
    COUNT,
    Amount,
    Count,
    Environment,
    Filed,
    ImageSize,
    OfCosts,
    Share,
    Size,
    together,
)


class Left(OfCosts):
    """What masks left of each cost before the exact projection, as a share of dense."""

    cost_kind = AMOUNT
    flops: Amount
    params: Amount


class Measured(OfCosts):
    """dense.json: what is known of the dense network, and of which recipe and weights the run is
    made.

    Costs are in their own units. `recipe_sha256` is of recipe.yaml and `dense_sha256` of
    dense.safetensors.
    """

    cost_kind = COUNT
    flops: Count
    params: Count
    accuracy_dense: Share | None
    recipe_sha256: str
    dense_sha256: str
    accuracy_removed: Share | None = None
    before_projection: Left | None = None


class CostReport(Filed):
    """One cost of dense and slim; `limit` is its budget in the cost's unit, None without one."""

    convention: str
    dense: Count
    slim: Count
    ratio: Amount
    sparsity: float
    limit: Amount | None
    limit_ratio: Amount | None

    @model_validator(mode="after")
    def _whole(self) -> Self:
        together(self, "limit", "limit_ratio")
        return self


class Accuracy(Filed):
    """Top-1 of the dense network, right behind the removal, and of the slim network in the end."""

    dense: Share
    removed: Share
    slim: Share


class GroupReport(Filed):
    """A channel group's widths in units of `channels_each` channels."""

    name: str
    dense: Size
    slim: Size
    channels_each: Size = 1


class FixedReport(Filed):
    """Channels of a layer that are not pruned, and why."""

    layer: str
    channels: Count
    of: Count
    reason: str


class TracedParams(Filed):
    """Parameters of the traced parts, dense and slim."""

    dense: Size
    slim: Count


class TracedReport(Filed):
    """The parts of a network that alone were traced and pruned."""

    parts: list[str]
    params: TracedParams


class FollowedAttribute(Filed):
    """A number of the user's modules that named a width and names the new one."""

    attribute: str
    dense: int
    slim: int


class StayedAttribute(Filed):
    """A number that may name several widths by now; None is one that can't be told."""

    attribute: str
    dense: int
    widths: list[int | None]


class UnequalSplit(Filed):
    """A split whose parts of `dense` channels each are of several sizes now."""

    operation: str
    dense: int
    slim: list[int]


class AttributesReport(Filed):
    """What became of numbers in the user's modules that name a width, and of parts that were equal."""

    followed: list[FollowedAttribute]
    stayed: list[StayedAttribute]
    unequal_splits: list[UnequalSplit]


class ReportFile(OfCosts):
    """report.json: all that was measured while pruning; with it a run is finished."""

    cost_kind = TypeAdapter(CostReport)
    format: Literal[1]
    slimmer: str
    date: str
    run: str
    arch: str
    input_size: ImageSize
    inputs: str
    traced: TracedReport | None
    seed: Count
    method: str
    epochs: Amount
    recipe_hash: str
    plan_hash: str
    flops: CostReport
    params: CostReport
    recount: dict[str, Count]  # the slim network's costs by the counters' names
    uncounted: list[str]
    before_projection: Left | None
    accuracy: Accuracy | None
    groups: list[GroupReport]
    attributes: AttributesReport
    fixed: list[FixedReport]
    seconds: Amount
    environment: Environment
    figures: list[str]
