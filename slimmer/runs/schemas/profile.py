"""The schema of profile.json; what its figures mean, `slimmer.profiling.results` says."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from slimmer.runs.schemas.base import Amount, Count, Environment, Filed, ImageSize, Size, together

Change = Annotated[int, Field(gt=-(2**63), lt=2**63)]


class EffortMade(Filed):
    """How much was measured."""

    seconds: Amount
    runs: Size
    blocks: Size
    precision: Amount


class ConditionsMet(Filed):
    """What was asked for."""

    input_size: ImageSize
    effort: EffortMade
    batches: list[Size]
    provider: str
    runtimes: list[str]
    threads: list[Size | None]
    options: dict[str, str | bool | None]
    seed: Count


class ProfiledSubject(Filed):
    """A network in a runtime."""

    name: str
    path: str
    sha256: str
    size_bytes: Count
    flops: Count | None
    params: Count | None
    precision: str | None
    origin: dict[str, str]
    session_ms: Amount
    runtime: str
    provider: str
    settings: dict[str, str]


class ProfiledCase(Filed):
    """A network in a runtime, on so many threads, for one batch size."""

    model: str
    runtime: str
    threads: Size | None
    batch: Size


class ProfiledTiming(ProfiledCase):
    """Durations of a case, in milliseconds."""

    samples: Size
    median_ms: Amount
    block_medians_ms: list[Amount]
    p5_ms: Amount
    p50_ms: Amount
    p90_ms: Amount
    p95_ms: Amount
    p99_ms: Amount | None
    mean_ms: Amount
    min_ms: Amount
    max_ms: Amount
    variation: Amount
    windows_ms: list[Amount]
    drift: float
    drift_verdict: str
    images_per_s: Amount
    first_run_ms: Amount
    settled: bool
    cpu_median_ms: Amount | None
    waited: Amount | None
    copies_ms: dict[str, Amount]


class SpeedRatio(Filed):
    """How many times faster by one clock; the interval is None where there are too few blocks for
    one.
    """

    speedup: Amount
    low: Amount | None
    high: Amount | None

    @model_validator(mode="after")
    def _whole(self) -> Self:
        together(self, "low", "high")
        return self


class ProfiledComparison(ProfiledCase):
    """How many times faster a case is than another."""

    against: str
    against_runtime: str
    speedup: Amount
    low: Amount | None
    high: Amount | None
    by: str
    undisturbed: bool | None
    wall: SpeedRatio
    cpu: SpeedRatio | None
    of_medians: Amount
    verdict: str
    promise: Amount | None
    efficiency: Amount | None

    @model_validator(mode="after")
    def _whole(self) -> Self:
        together(self, "low", "high")
        together(self, "promise", "efficiency")
        return self


class FirstUse(Filed):
    """A network's first use in a process of its own."""

    session_ms: Amount
    first_run_ms: Amount
    memory_bytes: Change | None
    device_bytes: Change | None


class ProfiledFirstUse(ProfiledCase):
    """The first use of a case."""

    cost: FirstUse


class NodesSeen(Filed):
    """Where nodes ran and what share of the time operations took."""

    nodes: dict[str, Count]
    on_cpu: list[str]
    memcpy: list[str]
    shares: dict[str, Amount]


class ProfiledTrace(ProfiledCase):
    """The nodes of a case."""

    trace: NodesSeen


class ProfiledLayer(Filed):
    """A layer of an ONNX file and its widths."""

    name: str
    kind: str
    width: Count
    reads: Count
    groups: Size
    multiple: Size
    output: bool


class UsedRuntime(Filed):
    """A runtime that ran the networks; its version is None where it does not tell."""

    label: str
    version: str | None


class ProfileFile(Filed):
    """profile.json: latencies, and under what conditions they were taken."""

    schema_: int = Field(alias="schema")
    date_utc: str
    provider: str
    conditions: ConditionsMet
    environment: Environment
    gpu: dict[str, dict[str, float | str | list[str] | None] | None]
    subjects: list[ProfiledSubject] = Field(min_length=1)
    timings: list[ProfiledTiming]
    runtimes: dict[str, UsedRuntime] = Field(
        default_factory=dict
    )  # absent where an older slimmer wrote the file
    comparisons: list[ProfiledComparison]
    among: list[ProfiledComparison]
    fresh: list[ProfiledFirstUse]
    traces: list[ProfiledTrace]
    layers: dict[str, list[ProfiledLayer]]
    notes: list[str]

    @model_validator(mode="after")
    def _whole(self) -> Self:
        """Whatever is compared or traced was timed, and is one of the subjects."""
        names = {each.name for each in self.subjects}
        for named in (*self.timings, *self.fresh):
            if named.model not in names:
                raise ValueError(f"{named.model[:40]!r} is none of the subjects")
        if names - self.layers.keys():
            raise ValueError("layers are not those of the subjects")
        timed = {_place(each, each.model, each.runtime) for each in self.timings}
        for one in (*self.comparisons, *self.among):
            if {
                _place(one, one.model, one.runtime),
                _place(one, one.against, one.against_runtime),
            } - timed:
                raise ValueError(
                    f"{one.model} is compared with {one.against}, and one of them was not timed"
                )
        for traced in self.traces:
            if _place(traced, traced.model, traced.runtime) not in timed:
                raise ValueError(f"{traced.model} is traced and was not timed")
        return self


def _place(case: ProfiledCase, model: str, runtime: str) -> tuple[str, str, int | None, int]:
    """What was timed under the conditions of a case."""
    return model, runtime, case.threads, case.batch


class AnyProfile(Filed):
    """A profile of any version of slimmer, of which only the number is known."""

    schema_: int = Field(alias="schema")
