"""What a profile says: timings, comparisons and what explains them, as data."""

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
    """What was asked for: `input_size` is (channels, height, width), None among `threads` one per
    core.
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
    if (
        not numbers
        or any(number is not None and number < 1 for number in numbers)
        or len(set(numbers)) < len(numbers)
    ):
        raise RecipeError(where, str(list(numbers)), "numbers of 1 or more, each once")


@dataclass(frozen=True)
class Subject:
    """One of the networks in one runtime: its ONNX file, what ran it, and how long the session took
    to open.

    `flops` of one image, `params` and `precision` are what the file says of itself, None where it
    does not (and FLOPs where it takes images of any size); `origin` is what it says of where it
    comes from: its architecture, the hashes of recipe, plan and weights, versions. `size_bytes` and
    `sha256` take in weights that lie in a file beside it.
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
    """What is timed: a network in a runtime, on so many threads (None is one per core), for one
    batch size.
    """

    model: str
    runtime: str
    threads: int | None
    batch: int


@dataclass(frozen=True)
class Timing(Case):
    """How long one network takes for one batch, in milliseconds.

    `median_ms` is the median of the blocks' medians and the figure to quote; p5 to p99 (None below
    1000 samples), mean, lowest and highest are over all samples. `variation` is standard deviation
    over mean. `windows_ms` are the medians of the samples' thirds, `drift` is the highest of them
    over the lowest, less 1, and what the verdict is about ("not known" below three samples).
    `images_per_s` is the batch over the median. `first_run_ms` is the first run with this batch
    size, whatever ran before. `settled` is whether the warm-up came to rest. `cpu_median_ms` is the
    median of CPU time: of the calling thread on one thread, of all threads on several; None where
    it says nothing. `waited` is how long threads waited for a core, over the time of the runs; None
    where the system does not tell. `copies_ms` are the copies to a GPU and back, which are not part
    of the rest; empty on the CPU.
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
    """How many times faster one network is than another by one clock, with a 95 % interval.

    The interval is None where there are too few blocks for one.
    """

    speedup: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Comparison(Case):
    """How many times faster `model` is than `against` (in `against_runtime`), with a 95 % interval.

    A speed-up is the median, over the quietest quarter of the blocks, of the ratio of 5th
    percentiles: of wall times in `wall`, of CPU times in `cpu` (None where they say nothing).
    `undisturbed` is True where the two agree within 10 % (on several threads also none may have
    waited for a core), False where the machine was too busy for a wall time, None where that is not
    known. `speedup`, `low` and `high` are those to quote: of CPU time where `undisturbed` is False,
    else of wall time, which `by` names; low and high are None where no interval is honest.
    `of_medians` is the median over all blocks of the ratio of medians of wall times; it differs
    where other work slowed the networks unequally. `verdict` is "faster", "slower", "no measurable
    difference" or "no interval". `promise` is the speed-up if time went with the FLOPs, and
    `efficiency` the speed-up over that; None where FLOPs are not known, and between files of
    different precisions, whose times FLOPs can't foretell.
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
    """What the first use of a network costs in a process of its own."""

    cost: Fresh


@dataclass(frozen=True)
class TracedRun(Case):
    """Where a network's nodes run and where its time goes."""

    trace: Trace


@dataclass(frozen=True)
class UsedRuntime:
    """A runtime that ran the networks: its label and its version, None where it does not tell."""

    label: str
    version: str | None


@dataclass(frozen=True)
class Profile:
    """All that was measured, and under what conditions; the first of `subjects` is the reference.

    `comparisons` are with the first network, or with the first runtime; `among` are those of the
    third network and later ones with the second. `provider` is the one that was really active.
    `gpu` is the first GPU's state before, at the end under load, and after. `layers` are each
    network's, in its ONNX file. `notes` are sentences on what limits the figures. `runtimes` are
    those that ran the networks, by name.
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
        """The profile in dictionaries, lists, strings, numbers, True, False and None, as JSON has
        them.
        """
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return plain
