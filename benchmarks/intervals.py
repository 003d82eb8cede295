"""How often the interval of a speed-up holds the truth, by the number of blocks: simulated on
series.

    python benchmarks/intervals.py --series runs/series --record quiet
    python benchmarks/intervals.py --series runs/series --record busy --load 4
    python benchmarks/intervals.py --series runs/series --out benchmarks/results/intervals.json

`--record` times two networks in turns (8 and 4 layers of benchmarks/busy.py, one thread) for 300
blocks of 0.1 s and keeps every run's wall time and CPU time. Without it, stretches of so many
blocks are taken from each recorded series, and made anew for each generated one, and it is counted
how many of their intervals hold the speed-up: of a generated series the known one, of a recorded
series that of all its blocks. Wall times that CPU times do not agree with are left out, as no
interval is claimed for them. Last, the whole protocol: blocks are added, up to four times as many,
until the interval is within 1.5 %.
"""

import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import numpy as np
from busy import CHANNELS, SIDE, busy, chain

from slimmer.atomic_files import write_json
from slimmer.profiling import statistics
from slimmer.profiling.clocks import Clocks, cpu_clock, waited_for_a_core
from slimmer.profiling.profile_networks import Effort
from slimmer.profiling.runtimes.environment import environment
from slimmer.profiling.runtimes.onnxruntime import open_session
from slimmer.profiling.statistics import Samples
from slimmer.profiling.summary import AGREE
from slimmer.profiling.timing import MOST, time_in_turns

BLOCKS = (2, 3, 4, 5, 6, 8, 11, 16)
STARTS = (2, 3, 6)
TOGETHER = (1, 5)  # recorded blocks that make one
PRECISION = 0.015
RESAMPLES = 1000  # a quarter of a profile's, which changes little and takes a quarter of the time
RECORDED, SECONDS, LAYERS = 300, 0.1, (8, 4)
RUNS, TRUTH = 50, 2.0  # of a generated block
Blocks = Sequence[Samples]
Draw = np.random.Generator
Stretch = Callable[[int], tuple[Blocks, Blocks]]


@click.command(help=__doc__)
@click.option("--series", type=Path, required=True, help="folder of recorded series")
@click.option("--record", help="name of a series to record now")
@click.option("--load", default=0, show_default=True, help="processes that only compute beside it")
@click.option("--out", type=Path)
@click.option("--trials", default=100, show_default=True, help="intervals a number of blocks")
def main(series: Path, record: str | None, load: int, out: Path | None, trials: int) -> None:
    if record is not None:
        series.mkdir(parents=True, exist_ok=True)
        with busy(load):
            keep(series / f"{record}.npz", load)
        return
    statistics.RESAMPLES = RESAMPLES
    draw = np.random.default_rng(0)
    sources = {**dict(from_recorded(series, draw)), **generated(draw)}
    rows = []
    for name, (truth, stretch) in sources.items():
        rows.append({"series": name, "truth": truth, **coverage(truth, stretch, trials)})
        print(rows[-1], file=sys.stderr, flush=True)
    print("\n".join(to_table(rows)))
    if out is not None:
        found = {
            "command": " ".join(["python", *sys.argv]),
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "environment": environment(),
            "trials": trials,
            "recorded": {file.stem: dict(about(file)) for file in sorted(series.glob("*.npz"))},
            "rows": rows,
        }
        write_json(out, found)


def keep(path: Path, load: int) -> None:
    """Time the two networks in turns and write every run's wall time and CPU time."""
    images = np.random.default_rng(0).standard_normal((1, CHANNELS, SIDE, SIDE), dtype=np.float32)
    before = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="slimmer-intervals-") as folder:
        files = [chain(Path(folder) / f"{layers}.onnx", layers) for layers in LAYERS]
        runs = [open_session(file, provider="cpu", threads=1).prepare(images) for file in files]
        found = time_in_turns(
            [file.stem for file in files],
            runs,
            Effort(SECONDS, 5, RECORDED),
            clocks=Clocks(time.perf_counter_ns, cpu_clock("cpu", 1), waited_for_a_core),
            tell=say_nothing,
            precise=lambda _: True,
        )
    kept: dict[str, Any] = {
        "load": np.array([before, os.getloadavg()[0]]),
        "processes": np.array(load),
    }
    for which, one in zip(("long", "short"), found, strict=True):
        kept[f"{which}_wall"] = np.concatenate(one.blocks)
        kept[f"{which}_cpu"] = np.concatenate(one.cpu or ())
        kept[f"{which}_runs"] = np.array([len(block) for block in one.blocks])
    np.savez_compressed(path, **kept)


def say_nothing(step: str, steps: int = 1) -> None:
    """Hear of progress and pass nothing on."""


def about(file: Path) -> Iterator[tuple[str, Any]]:
    """What was going on while a series was recorded, and the speed-ups of all its blocks."""
    kept = np.load(file)
    yield "processes", int(kept["processes"])
    yield "load", kept["load"].tolist()
    for clock in ("wall", "cpu"):
        yield f"speedup_{clock}", statistics.speedup(*series_of(kept, clock))


def series_of(kept: Mapping[str, Any], clock: str) -> tuple[Blocks, Blocks]:
    """The blocks of both networks by one clock."""
    ends = [np.cumsum(kept[f"{which}_runs"])[:-1] for which in ("long", "short")]
    long, short = (
        np.split(kept[f"{w}_{clock}"], end) for w, end in zip(("long", "short"), ends, strict=True)
    )
    return long, short


def from_recorded(folder: Path, draw: Draw) -> Iterator[tuple[str, tuple[float, Stretch]]]:
    """Each recorded series, by each clock that an interval is claimed for."""
    for file in sorted(folder.glob("*.npz")):
        kept = np.load(file)
        truth = {clock: statistics.speedup(*series_of(kept, clock)) for clock in ("cpu", "wall")}
        agree = max(truth["wall"] / truth["cpu"], truth["cpu"] / truth["wall"]) <= 1 + AGREE
        for clock in ("cpu", "wall") if agree else ("cpu",):
            for times in TOGETHER:
                name = f"{file.stem}, {clock}, blocks of {times * SECONDS:g} s"
                long, short = (together(blocks, times) for blocks in series_of(kept, clock))
                yield name, (truth[clock], stretches(long, short, draw))


def together(blocks: Blocks, times: int) -> Blocks:
    """So many blocks that follow one another as one."""
    return [np.concatenate(blocks[start : start + times]) for start in range(0, len(blocks), times)]


def stretches(long: Blocks, short: Blocks, draw: Draw) -> Stretch:
    """What takes so many blocks of a series that follow one another, from anywhere in it."""

    def stretch(blocks: int) -> tuple[Blocks, Blocks]:
        start = draw.integers(len(long) - blocks + 1)
        return long[start : start + blocks], short[start : start + blocks]

    return stretch


def generated(draw: Draw) -> dict[str, tuple[float, Stretch]]:
    """Series whose speed-up is known."""

    def runs(scale: float) -> Samples:
        made: Samples = scale * draw.gamma(400, 1 / 400, RUNS)
        return made

    def made(
        own: float, *, drift: float = 0.0, spikes: float = 0.0, spells: bool = False
    ) -> Stretch:
        def stretch(blocks: int) -> tuple[Blocks, Blocks]:
            pair: list[list[Samples]] = [[], []]
            trend = 1 + drift * np.linspace(0, 1, blocks)
            for block in range(blocks):
                slow = spells and draw.random() < 0.4
                for which, scale in enumerate((TRUTH, 1.0)):
                    wander = np.exp(own * draw.standard_normal())
                    samples = runs(
                        scale * trend[block] * wander * ((1.5, 1.4)[which] if slow else 1)
                    )
                    hit = draw.random(RUNS) < spikes
                    samples[hit] *= draw.uniform(2, 10, hit.sum())
                    pair[which].append(samples)
            return pair[0], pair[1]

        return stretch

    kinds = {
        "still": made(0.0),
        "drift of 20 %": made(0.0, drift=0.2),
        "spikes in 5 % of the runs": made(0.0, spikes=0.05),
        "spells": made(0.0, spells=True),
        "wandering alone by 1 %": made(0.01),
        "wandering alone by 3 %, spikes": made(0.03, spikes=0.05),
    }
    return {f"generated, {name}": (TRUTH, stretch) for name, stretch in kinds.items()}


def coverage(truth: float, stretch: Stretch, trials: int) -> dict[str, Any]:
    """The share of intervals that hold the truth, for each number of blocks, and for the whole
    protocol.
    """
    fixed = {}
    for blocks in BLOCKS:
        held = [
            holds(truth, statistics.speedup_interval(*stretch(blocks), seed=seed))
            for seed in range(trials)
        ]
        fixed[str(blocks)] = float(np.mean(held))
    begun = {}
    for start in STARTS:
        found = [protocol(stretch, start, seed) for seed in range(max(1, trials // 3))]
        claimed = [holds(truth, interval) for interval in found if interval is not None]
        begun[str(start)] = float(np.mean(claimed)) if claimed else None
    return {"fixed": fixed, "begun": begun}


def holds(truth: float, interval: tuple[float, float]) -> bool:
    """Whether it does."""
    return interval[0] <= truth <= interval[1]


def protocol(stretch: Stretch, start: int, seed: int) -> tuple[float, float] | None:
    """The final interval of a profile of at least `start` blocks; None if it claims none."""
    most = MOST * start
    if most < statistics.FEW_BLOCKS:
        return None
    long, short = stretch(most)
    for blocks in range(max(start, statistics.FEW_BLOCKS), most + 1):
        interval = statistics.speedup_interval(long[:blocks], short[:blocks], seed=seed)
        speedup = statistics.speedup(long[:blocks], short[:blocks])
        if statistics.reach(speedup, *interval) <= PRECISION:
            break
    return interval


def to_table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The rows as Markdown: a column per number of blocks, then the protocol's first blocks."""
    heads = ["series", *map(str, BLOCKS), *(f"from {start}" for start in STARTS)]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for row in rows:
        shares = [*row["fixed"].values(), *row["begun"].values()]
        cells = [
            row["series"],
            *("none" if share is None else f"{100 * share:.0f}" for share in shares),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


if __name__ == "__main__":
    main()
