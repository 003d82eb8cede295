"""The data of a profile: timings, comparisons, and what explains them."""

import json
from dataclasses import asdict, dataclass
from typing import Any

from slimmer.errors import RecipeError
from slimmer.profiling.runtimes.first_use import Fresh
from slimmer.profiling.runtimes.gpu import GpuState
from slimmer.profiling.runtimes.known import RUNTIMES
from slimmer.profiling.runtimes.node_times import Trace
from slimmer.profiling.runtimes.session_options import DEFAULTS, Options
from slimmer.profiling.timing import Effort
from slimmer.profiling.widths import Layer
from slimmer.recipe.runtimes import DEFAULT

SCHEMA = 4  # of profile.json


@dataclass(frozen=True)
class Conditions:
    """The requested conditions; `input_size` is (channels, height, width), and None in `threads`
    means one thread per core.
    """

    input_size: tuple[int, int, int]
    effort: Effort
    batches: tuple[int, ...] = (1, 64)
    provider: str = "cpu"
    runtimes: tuple[str, ...] = (DEFAULT,)
    threads: tuple[int | None, ...] = (None,)
    options: Options = DEFAULTS
    seed: int = 0

    def __post_init__(self) -> None:
        _each_once("profile batches", self.batches)
        _each_once("profile threads", self.threads)
        if len(self.input_size) != 3 or min(self.input_size) < 1:
            raise RecipeError(
                "profile input_size", str(self.input_size), "(channels, height, width)"
            )
        for name in self.runtimes:
            RUNTIMES[name]
        if not self.runtimes or len(set(self.runtimes)) < len(self.runtimes):
            raise RecipeError(
                "profile runtimes",
                str(list(self.runtimes)),
                f"some of {', '.join(RUNTIMES)}, each once",
            )


def _each_once(where: str, numbers: tuple[int | None, ...]) -> None:
    given = [number for number in numbers if number is not None]
    if not numbers or min(given, default=1) < 1 or len(set(numbers)) < len(numbers):
        raise RecipeError(where, str(list(numbers)), "numbers of 1 or more, each once")


@dataclass(frozen=True)
class Subject:
    """One network in one runtime: its ONNX file, the runtime, and how long opening took.

    `flops` (of one image), `params` and `precision` are from the file's metadata, None if missing;
    `flops` is also None if the file takes images of any size. `origin` holds the metadata on where
    the file comes from: architecture, hashes of recipe, plan and weights, versions. `size_bytes`
    and `sha256` include weights in an external data file.
    """

    name: str
    path: str
    sha256: str
    size_bytes: int
    flops: int | None
    params: int | None
    precision: str | None
    origin: dict[str, str]
    session_ms: float
    runtime: str
    provider: str
    settings: dict[str, str]


@dataclass(frozen=True)
class Case:
    """What is timed: a network in a runtime, with a number of threads (None: one per core) and a
    batch size.
    """

    model: str
    runtime: str
    threads: int | None
    batch: int


@dataclass(frozen=True)
class Timing(Case):
    """The latency of one network for one batch, in milliseconds.

    `median_ms` is the median of the blocks' medians and the figure to quote. The percentiles
    (`p99_ms` is None below 1000 samples), mean, minimum and maximum are over all samples.
    `variation` is the standard deviation over the mean. `windows_ms` are the medians of the first,
    middle and last third of the samples; `drift` is the largest over the smallest of them, minus 1,
    and `drift_verdict` classifies it ("not known" below three samples). `images_per_s` is the batch
    size over the median. `first_run_ms` is the first run with this batch size. `settled` is True if
    run times settled during the warm-up. `cpu_median_ms` is the median CPU time, of the calling
    thread with one thread and of all threads with several; None if CPU time does not measure the
    network. `waited` is how long threads waited for a core, as a share of the time of the runs;
    None if the system does not report it. `copies_ms` are the times of copies to a GPU and back,
    which the other figures do not include; empty on the CPU.
    """

    samples: int
    median_ms: float
    block_medians_ms: tuple[float, ...]
    p5_ms: float
    p50_ms: float
    p90_ms: float
    p95_ms: float
    p99_ms: float | None
    mean_ms: float
    min_ms: float
    max_ms: float
    variation: float
    windows_ms: tuple[float, ...]
    drift: float
    drift_verdict: str
    images_per_s: float
    first_run_ms: float
    settled: bool
    cpu_median_ms: float | None
    waited: float | None
    copies_ms: dict[str, float]


@dataclass(frozen=True)
class Ratio:
    """The speedup of one network over another by one clock, with a 95 % interval.

    `low` and `high` are None if there are too few blocks for an interval.
    """

    speedup: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Comparison(Case):
    """The speedup of `model` over `against` (in `against_runtime`), with a 95 % interval.

    A speedup is the median, over the quietest quarter of the blocks, of the ratio of 5th
    percentiles: of wall times in `wall`, of CPU times in `cpu` (None if they do not measure the
    network). `undisturbed` is True if the two agree within 10 % (and, with several threads, hardly
    any thread waited for a core), False if the machine was too busy to use wall time, and None if
    that is unknown. `speedup`, `low` and `high` are those to quote: by CPU time if `undisturbed` is
    False, by wall time otherwise; `by` names the clock. `low` and `high` are None if no valid
    interval can be given. `of_medians` is the median over all blocks of the ratio of median wall
    times; it differs from `speedup` if other processes slowed the networks unequally. `verdict` is
    "faster", "slower", "no measurable difference" or "no interval". `promise` is the reduction in
    FLOPs, which would be the speedup if time were proportional to FLOPs, and `efficiency` is the
    speedup over it. Both are None if FLOPs are unknown, and between files of different precisions,
    because FLOPs do not predict their times.
    """

    against: str
    against_runtime: str
    speedup: float
    low: float | None
    high: float | None
    by: str
    undisturbed: bool | None
    wall: Ratio
    cpu: Ratio | None
    of_medians: float
    verdict: str
    promise: float | None
    efficiency: float | None


@dataclass(frozen=True)
class FreshUse(Case):
    """The cost of a network's first use, in a separate process."""

    cost: Fresh


@dataclass(frozen=True)
class TracedRun(Case):
    """Where a network's nodes run and where its time goes."""

    trace: Trace


@dataclass(frozen=True)
class UsedRuntime:
    """A runtime that ran the networks: its label, and its version or None if unknown."""

    label: str
    version: str | None


@dataclass(frozen=True)
class Profile:
    """Everything that was measured, and the conditions; the first of `subjects` is the reference.

    `comparisons` are with the first network, or with the first runtime; `among` compares the third
    and later networks with the second. `provider` is the one that was active. `gpu` is the state of
    the first GPU before the runs, at their end under load, and after them. `layers` are the layers
    of each network's ONNX file. `notes` are sentences that qualify the figures. `runtimes` are
    the runtimes that ran the networks, by name.
    """

    schema: int
    date_utc: str
    provider: str
    conditions: Conditions
    environment: dict[str, str | int | float | None]
    gpu: dict[str, GpuState | None]
    subjects: tuple[Subject, ...]
    timings: tuple[Timing, ...]
    comparisons: tuple[Comparison, ...]
    among: tuple[Comparison, ...]
    fresh: tuple[FreshUse, ...]
    traces: tuple[TracedRun, ...]
    layers: dict[str, tuple[Layer, ...]]
    notes: tuple[str, ...]
    runtimes: dict[str, UsedRuntime]

    def to_dict(self) -> dict[str, Any]:
        """The profile as JSON-compatible data."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return plain
