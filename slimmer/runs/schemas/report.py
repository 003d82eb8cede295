"""The schemas of dense.json and report.json."""

from typing import Literal, Self

from pydantic import Field, TypeAdapter, model_validator

from slimmer.runs.schemas.base import (
    AMOUNT,
    COUNT,
    Amount,
    Count,
    Environment,
    Filed,
    ImageSize,
    MetricNotes,
    OfCosts,
    Size,
    together,
)
from slimmer.runs.schemas.latency import LatencyMeasured


class Left(OfCosts):
    """The share of each cost that the masks left before the exact projection, relative to dense."""

    cost_kind = AMOUNT
    flops: Amount
    params: Amount


class Measured(OfCosts):
    """dense.json: what was measured on the dense network, and the hashes of the run's recipe and
    weights.

    Costs are in their own units. `recipe_sha256` is of recipe.yaml and `dense_sha256` of
    dense.safetensors.
    """

    cost_kind = COUNT
    flops: Count
    params: Count
    accuracy_dense: float | None
    recipe_sha256: str
    dense_sha256: str
    accuracy_removed: float | None = None
    trained_by: str | None = None  # the name of the task
    metric: MetricNotes | None = None
    metrics: dict[str, dict[str, float]] = Field({})  # by station (dense, removed), then by name
    before_projection: Left | None = None
    latency_measured: LatencyMeasured | None = None


class CostReport(Filed):
    """One cost, dense and slim; `limit` is its budget in the cost's unit, None without a budget."""

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
    """The main metric of the dense network, directly after the channels were removed, and at the
    end.
    """

    dense: float
    removed: float
    slim: float


class GroupReport(Filed):
    """A channel group's widths in units of `channels_each` channels."""

    name: str
    dense: Size
    slim: Count
    channels_each: Size = 1


class LayerFlops(Filed):
    """FLOPs of a layer."""

    dense: Count
    slim: Count


class LayerReport(Filed):
    """A convolution or linear layer: its output channels and its FLOPs."""

    name: str
    kind: str
    dense: Size
    slim: Count
    flops: LayerFlops


class FixedReport(Filed):
    """Channels of a layer that are not pruned, with the reason."""

    layer: str
    channels: Count
    of: Count
    reason: str


class TracedParams(Filed):
    """Numbers of parameters in the traced parts, dense and slim."""

    dense: Size
    slim: Count


class TracedReport(Filed):
    """The parts of a network that were traced and pruned, if not all of it was."""

    parts: list[str]
    params: TracedParams


class FollowedAttribute(Filed):
    """A number in the user's modules that held a width and was set to the new width."""

    attribute: str
    dense: int
    slim: int


class StayedAttribute(Filed):
    """A number that now matches several possible widths; None stands for an unknown width."""

    attribute: str
    dense: int
    widths: list[int | None]


class UnequalSplit(Filed):
    """A split whose parts had `dense` channels each and now have different sizes."""

    operation: str
    dense: int
    slim: list[int]


class AttributesReport(Filed):
    """Numbers in the user's modules that hold a width, and splits whose parts were equal."""

    followed: list[FollowedAttribute]
    stayed: list[StayedAttribute]
    unequal_splits: list[UnequalSplit]


class SkippedImages(Filed):
    """Image files of one split that were left out because they can't be read."""

    data: str  # the data and the split
    images: Count
    first: list[str]  # the names and faults of the first few


class ReportFile(OfCosts):
    """report.json: everything that was measured while pruning; a run that has it is finished."""

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
    recount: dict[str, Count]  # the slim network's costs by counter
    uncounted: list[str]
    before_projection: Left | None
    latency_measured: LatencyMeasured | None = None
    accuracy: Accuracy | None
    metric: MetricNotes | None = None  # top-1 if it is missing
    trained_by: str | None = None  # the name of the task
    metrics: dict[str, dict[str, float]] = Field(
        {}
    )  # by station (dense, removed, slim), then by name
    skipped_images: list[SkippedImages] = Field([])
    groups: list[GroupReport]
    layers: list[LayerReport] = Field([])  # in network order; missing in older reports
    attributes: AttributesReport
    fixed: list[FixedReport]
    seconds: Amount
    environment: Environment
    figures: list[str]
    fine_tuned_outside: str | None = (
        None  # where the weights come from, if slimmer did not train them
    )
