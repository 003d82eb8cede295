"""The schema of export.json."""

from typing import Literal

from pydantic import Field

from slimmer.runs.schemas.base import COUNT, Amount, Count, Filed, MetricNotes, OfCosts, Share


class ParityFigures(Filed):
    """The difference between a file's outputs and PyTorch's on one kind of inputs."""

    max_abs: Amount
    max_rel: Amount
    top1_agreement: Share | None
    images: Count | None


class ExportedFile(OfCosts):
    """One exported file; `sha256` covers its bytes and those of the data files that belong to it.

    `run_on` is the number of test images that the file itself was run on to measure its accuracy.
    """

    cost_kind = COUNT
    file: str
    bytes: Count
    sha256: str
    reused: bool
    precision: str
    precision_io: str
    batch: str
    image_size: str
    flops: Count
    params: Count
    parity: dict[str, ParityFigures]
    tolerance: Amount | None
    accuracy: float | None
    metric: MetricNotes | None = None
    metrics: dict[str, float] = Field({})
    run_on: Count | None = None
    notes: list[str]


class ExportFile(Filed):
    """export.json: the files that were exported from a run's networks, by name."""

    format: Literal[2]
    slimmer: str
    run: str
    recipe_hash: str
    plan_hash: str
    networks: dict[str, ExportedFile]
