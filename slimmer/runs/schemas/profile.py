"""The schema of profile.json; `slimmer.profiling.results` explains its figures."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from slimmer.runs.schemas.base import Amount, Count, Environment, Filed, ImageSize, Size, together

Change = Annotated[int, Field(gt=-(2**63), lt=2**63)]


class EffortMade(Filed):
    """How much measuring was done."""

    seconds: Amount
    runs: Size
    blocks: Size
    precision: Amount


class ConditionsMet(Filed):
    """The conditions that were requested."""

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
    """A network in a runtime, with a number of intra-op threads and a batch size."""

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
    """A speedup by one clock; the interval is None if there are too few blocks for one."""

    speedup: Amount
    low: Amount | None
    high: Amount | None

    @model_validator(mode="after")
    def _whole(self) -> Self:
        together(self, "low", "high")
        return self


class ProfiledComparison(ProfiledCase):
    """The speedup of one case over another."""

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
    """Where the nodes ran, and the share of the time that each kind of operation took."""

    nodes: dict[str, Count]
    on_cpu: list[str]
    memcpy: list[str]
    shares: dict[str, Amount]
    layers: dict[str, Amount] = Field(default_factory=dict)  # missing in older profiles


class ProfiledTrace(ProfiledCase):
    """The node placement and times of a case."""

    trace: NodesSeen


class ProfiledLayer(Filed):
    """A layer of an ONNX file with its widths."""

    name: str
    kind: str
    width: Count
    reads: Count
    groups: Size
    multiple: Size
    output: bool


class UsedRuntime(Filed):
    """A runtime that ran the networks; its version is None if the runtime does not report one."""

    label: str
    version: str | None


class ProfileFile(Filed):
    """profile.json: latencies, and the conditions under which they were measured."""

    schema_: int = Field(alias="schema")
    date_utc: str
    provider: str
    conditions: ConditionsMet
    environment: Environment
    gpu: dict[str, dict[str, float | str | list[str] | None] | None]
    subjects: list[ProfiledSubject] = Field(min_length=1)
    timings: list[ProfiledTiming]
    # absent from files of an older slimmer
    runtimes: dict[str, UsedRuntime] = Field(default_factory=dict)
    comparisons: list[ProfiledComparison]
    among: list[ProfiledComparison]
    fresh: list[ProfiledFirstUse]
    traces: list[ProfiledTrace]
    layers: dict[str, list[ProfiledLayer]]
    notes: list[str]

    @model_validator(mode="after")
    def _whole(self) -> Self:
        """Raise ValueError unless everything compared or traced was timed and is a subject."""
        names = {each.name for each in self.subjects}
        for named in (*self.timings, *self.fresh):
            if named.model not in names:
                raise ValueError(f"{named.model[:40]!r} is not one of the subjects")
        if names - self.layers.keys():
            raise ValueError("layers are not those of the subjects")
        timed = {_place(each, each.model, each.runtime) for each in self.timings}
        for one in (*self.comparisons, *self.among):
            sides = {
                _place(one, one.model, one.runtime),
                _place(one, one.against, one.against_runtime),
            }
            if sides - timed:
                raise ValueError(f"{one.model} or {one.against} is compared but was not timed")
        for traced in self.traces:
            if _place(traced, traced.model, traced.runtime) not in timed:
                raise ValueError(f"{traced.model} was traced but not timed")
        return self


def _place(case: ProfiledCase, model: str, runtime: str) -> tuple[str, str, int | None, int]:
    """The key of a timing under the conditions of a case."""
    return model, runtime, case.threads, case.batch


class AnyProfile(Filed):
    """A profile of any version of slimmer; only its version number is checked."""

    schema_: int = Field(alias="schema")
