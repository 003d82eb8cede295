"""What a profile says: timings, comparisons and notes, as data."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from slimmer.errors import RecipeError
from slimmer.profiling import statistics
from slimmer.profiling.timing import Effort, Recorded

SCHEMA = 1


@dataclass(frozen=True)
class Conditions:
    """What was asked for: `input_size` is (channels, height, width), `threads` None one per core."""

    provider: str
    threads: int | None
    input_size: tuple[int, int, int]
    batches: tuple[int, ...]
    effort: Effort
    seed: int

    def __post_init__(self) -> None:
        if not self.batches or min(self.batches) < 1 or len(set(self.batches)) < len(self.batches):
            raise RecipeError("profile batches", str(list(self.batches)), "numbers of 1 or more, each once")
        if len(self.input_size) != 3 or min(self.input_size) < 1:
            raise RecipeError("profile input_size", str(self.input_size), "(channels, height, width)")


@dataclass(frozen=True)
class Subject:
    """One of the networks that were timed: its file, what ran it, and how long the session took to open."""

    name: str
    path: str
    sha256: str
    size_bytes: int
    session_ms: float
    runtime: str
    provider: str
    settings: dict[str, str]


@dataclass(frozen=True)
class Timing:
    """How long one network takes for one batch, in milliseconds.

    `median_ms` is the median of the blocks' medians and the figure to quote; p50 to p99 (None below 1000
    samples), mean, lowest and highest are over all samples. `variation` is standard deviation over mean.
    `drift` is the last third's median against the first third's, less 1. `images_per_s` is the batch over
    the median. `first_run_ms` is the first run with this batch size, whatever ran before. `settled` is
    whether the warm-up came to rest.
    """

    model: str
    batch: int
    samples: int
    median_ms: float
    block_medians_ms: tuple[float, ...]
    p50_ms: float
    p90_ms: float
    p99_ms: float | None
    mean_ms: float
    min_ms: float
    max_ms: float
    variation: float
    drift: float
    drift_verdict: str
    images_per_s: float
    first_run_ms: float
    settled: bool


@dataclass(frozen=True)
class Comparison:
    """How many times faster `model` is than `against` for one batch, with a 95 % interval.

    `speedup` is the median over blocks of the ratio of medians, so it may differ a little from the ratio of
    the two `median_ms`. `verdict` is "faster", "slower" or "no measurable difference".
    """

    model: str
    against: str
    batch: int
    speedup: float
    low: float
    high: float
    verdict: str


@dataclass(frozen=True)
class Profile:
    """All that was measured, and under what conditions; the first of `subjects` is the reference.

    `provider` is the one that was really active. `notes` are sentences on what limits the figures.
    """

    schema: int
    date_utc: str
    provider: str
    conditions: Conditions
    environment: dict[str, str | int | float | None]
    subjects: tuple[Subject, ...]
    timings: tuple[Timing, ...]
    comparisons: tuple[Comparison, ...]
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """The profile in dictionaries, lists, strings, numbers, True, False and None, as JSON has them."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return plain


def timing(model: str, batch: int, recorded: Recorded) -> Timing:
    """The figures of one network's durations for one batch size."""
    samples = np.concatenate(recorded.blocks)
    median = statistics.median_of_medians(recorded.blocks)
    change = statistics.drift(samples)
    return Timing(
        model=model,
        batch=batch,
        samples=len(samples),
        median_ms=median,
        block_medians_ms=tuple(float(np.median(block)) for block in recorded.blocks),
        p50_ms=statistics.percentile(samples, 50),
        p90_ms=statistics.percentile(samples, 90),
        p99_ms=statistics.p99(samples),
        mean_ms=float(samples.mean()),
        min_ms=float(samples.min()),
        max_ms=float(samples.max()),
        variation=statistics.variation(samples),
        drift=change,
        drift_verdict=statistics.drift_verdict(change),
        images_per_s=1000 * batch / median,
        first_run_ms=recorded.first_run_ms,
        settled=recorded.settled,
    )


def compare(names: tuple[str, str], batch: int, reference: Recorded, other: Recorded, *, seed: int) -> Comparison:
    """How the second of `names` compares with the first."""
    low, high = statistics.speedup_interval(reference.blocks, other.blocks, seed=seed)
    return Comparison(
        model=names[1],
        against=names[0],
        batch=batch,
        speedup=statistics.speedup(reference.blocks, other.blocks),
        low=low,
        high=high,
        verdict=statistics.speedup_verdict(low, high),
    )


def notes(conditions: Conditions, subjects: Sequence[Subject], timings: Sequence[Timing]) -> Iterator[str]:
    """What a reader should know before trusting a figure, one sentence each."""
    for one in timings:
        where = f"{one.model}, batch {one.batch}"
        if one.p99_ms is None:
            yield f"{where}: no p99, since {one.samples} samples are fewer than {statistics.P99_NEEDS}."
        if not one.settled:
            yield f"{where}: durations still changed when the warm-up was given up."
        if one.drift_verdict != "steady":
            yield f"{where}: {one.drift_verdict}, the last third {one.drift:+.1%} against the first."
    if conditions.effort.blocks == 1 and len(subjects) > 1:
        yield "One block: the intervals leave out what changes from block to block."
    if conditions.provider != "cpu":
        yield "The GPU's clocks were not locked."
        for subject in subjects:
            if left := subject.settings.get("nodes.CPUExecutionProvider"):
                yield f"{subject.name}: {left} nodes run on the CPU."
