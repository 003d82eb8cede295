"""A profile put together: first uses, traces, then all networks timed in turns."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from itertools import product

import numpy as np

from slimmer.errors import RecipeError, RuntimeUnavailableError
from slimmer.profiling.clocks import Clock, Clocks
from slimmer.profiling.means import Means, Network, Progress
from slimmer.profiling.notes import (
    busy_notes,
    disturbed_notes,
    first_use_notes,
    gpu_notes,
    load_note,
    placement_notes,
    precision_notes,
    timing_notes,
    width_notes,
)
from slimmer.profiling.pairs import compared_at, precise, with_the_first, with_the_second
from slimmer.profiling.results import (
    SCHEMA,
    Case,
    Comparison,
    Conditions,
    FreshUse,
    Profile,
    Subject,
    Timing,
    TracedRun,
    UsedRuntime,
)
from slimmer.profiling.runtimes import Array, Session
from slimmer.profiling.runtimes.known import RUNTIMES
from slimmer.profiling.subjects import read, subject_of
from slimmer.profiling.summary import timing
from slimmer.profiling.timing import Tell, record, time_in_turns
from slimmer.profiling.widths import preferred

COPIES = 20  # runs of a copy at least


@dataclass
class _Found:
    """What is gathered on the way; a class because it grows with every thread count and batch size."""

    subjects: dict[tuple[str, str], Subject] = field(default_factory=dict)
    timings: list[Timing] = field(default_factory=list)
    comparisons: list[Comparison] = field(default_factory=list)
    among: list[Comparison] = field(default_factory=list)


def measure(
    networks: Sequence[Network],
    conditions: Conditions,
    means: Means,
    on_progress: Progress | None = None,
) -> Profile:
    """As `profile`, with whatever `means` there are."""
    names = [network.name for network in networks]
    if not names or len(set(names)) < len(names):
        raise RecipeError(
            "profile models", str(names), "at least one network, each under its own name"
        )
    _check_modules(networks, conditions)
    tell = _steps(len(networks), conditions, means, on_progress)
    # Before the first run, so that `load` is of what else the machine does.
    machine, before = dict(means.machine()), means.gpu()
    files = {network.name: read(network.path) for network in networks}
    layers = {network.name: means.layers(network.path) for network in networks}
    about = {network.name: means.about(network.path) for network in networks}
    traces, fresh, lost = _explain(networks, conditions, means, tell)
    found = _Found()
    for threads in conditions.threads:
        with ExitStack() as stack:
            opened = []
            for runtime in conditions.runtimes:
                for network in networks:
                    tell(f"{network.name}: opening in {runtime}")
                    began = means.clock()
                    session = means.open(network, runtime, threads)
                    stack.callback(session.close)
                    milliseconds = (means.clock() - began) / 1e6
                    opened.append(session)
                    subject = subject_of(
                        network,
                        runtime,
                        session,
                        files[network.name],
                        about[network.name],
                        milliseconds,
                    )
                    found.subjects.setdefault((network.name, runtime), subject)
            clocks = Clocks(means.clock, means.cpu(threads), means.waited)
            _time(names, opened, conditions, threads, found, clocks, tell)
            loaded = (
                means.gpu()
            )  # at once behind the last run: clocks and throttling as they were under load
    gpu = {"before": before, "loaded": loaded, "after": means.gpu()}
    tell("done")
    subjects = tuple(found.subjects.values())
    used = {name: RUNTIMES[name] for name in conditions.runtimes}
    return Profile(
        schema=SCHEMA,
        date_utc=datetime.now(UTC).isoformat(timespec="seconds"),
        provider=subjects[0].provider,
        conditions=conditions,
        environment=machine,
        gpu=gpu,
        subjects=subjects,
        timings=tuple(found.timings),
        comparisons=tuple(found.comparisons),
        among=tuple(found.among),
        fresh=tuple(fresh),
        traces=tuple(traces),
        layers=layers,
        notes=(
            *load_note(machine),
            *timing_notes(found.timings, len(networks)),
            *busy_notes((*found.comparisons, *found.among)),
            *disturbed_notes((*found.comparisons, *found.among)),
            *precision_notes(conditions.effort.precision, found.comparisons),
            *first_use_notes(lost),
            *gpu_notes(conditions, gpu),
            *placement_notes(conditions, traces, subjects),
            *width_notes(
                _wide(found.comparisons),
                layers,
                preferred(conditions.provider, machine.get("cpu_vector_floats")),
            ),
        ),
        runtimes={name: UsedRuntime(entry.label, entry.version()) for name, entry in used.items()},
    )


def _wide(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """The comparisons in runtimes whose kernels are made for whole vectors."""
    return [one for one in comparisons if RUNTIMES[one.runtime].wide_vectors]


def _check_modules(networks: Sequence[Network], conditions: Conditions) -> None:
    """Raise RuntimeUnavailableError where a runtime takes modules and a network is an ONNX file
    only.
    """
    wants = [name for name in conditions.runtimes if RUNTIMES[name].open_module is not None]
    without = [str(network.path) for network in networks if network.module is None]
    if wants and without:
        right = "name a run that `slimmer prune` wrote, or leave --runtime out"
        raise RuntimeUnavailableError(
            f"runtime {wants[0]}", f"{without[0]} is no PyTorch network", right
        )


def _steps(
    networks: int, conditions: Conditions, means: Means, on_progress: Progress | None
) -> Tell:
    """What counts the steps as they begin and passes them on."""
    batches, threads = len(conditions.batches), len(conditions.threads)
    entries = [RUNTIMES[name] for name in conditions.runtimes]
    used_first = (
        sum(entry.first_use is not None for entry in entries) if means.fresh is not None else 0
    )
    traced = sum(entry.trace is not None for entry in entries) if means.trace is not None else 0
    in_turns = networks * len(conditions.runtimes)
    turns = threads * (in_turns + batches * (in_turns + conditions.effort.blocks))
    total = networks * batches * (used_first + traced) + turns
    done = 0

    def tell(step: str, steps: int = 1) -> None:
        nonlocal done
        if on_progress is not None:
            on_progress(done, total, step)
        done += steps

    return tell


def _explain(
    networks: Sequence[Network], conditions: Conditions, means: Means, tell: Tell
) -> tuple[list[TracedRun], list[FreshUse], list[Case]]:
    """Traces and first uses, and where there is none, on the first number of threads, while no
    session is open.
    """
    traces: list[TracedRun] = []
    fresh: list[FreshUse] = []
    lost: list[Case] = []
    threads = conditions.threads[0]
    for name, network, batch in product(conditions.runtimes, networks, conditions.batches):
        entry, case = RUNTIMES[name], Case(network.name, name, threads, batch)
        shape = (batch, *conditions.input_size)
        if means.trace is not None and entry.trace is not None:
            tell(f"{network.name}, batch {batch}: where its nodes run")
            trace = means.trace(name, network.path, _images(shape, conditions.seed), threads)
            traces.append(TracedRun(**vars(case), trace=trace))
        if means.fresh is not None and entry.first_use is not None:
            tell(f"{network.name}, batch {batch}: in a process of its own")
            cost = means.fresh(name, network.path, shape, threads)
            if cost is None:
                lost.append(case)
            else:
                fresh.append(FreshUse(**vars(case), cost=cost))
    return traces, fresh, lost


def _time(
    names: Sequence[str],
    sessions: Sequence[Session],
    conditions: Conditions,
    threads: int | None,
    found: _Found,
    clocks: Clocks,
    tell: Tell,
) -> None:
    """Time every open session in turns, batch size by batch size; `sessions` are runtime by
    runtime.
    """
    for batch in conditions.batches:
        images = _images((batch, *conditions.input_size), conditions.seed)
        cases = [
            Case(name, runtime, threads, batch) for runtime in conditions.runtimes for name in names
        ]
        pairs = with_the_first(len(cases), len(names))
        recorded = time_in_turns(
            [f"{case.model} in {case.runtime}, batch {batch}" for case in cases],
            [session.prepare(images) for session in sessions],
            conditions.effort,
            clocks=clocks,
            tell=tell,
            precise=partial(precise, cases, pairs, conditions.effort.precision, conditions.seed),
        )
        copies = [_copies(session, images, clocks.wall) for session in sessions]
        found.timings += map(timing, cases, recorded, copies)
        compared = partial(compared_at, cases, recorded, found.subjects, conditions.seed)
        found.comparisons += [compared(*pair) for pair in pairs]
        found.among += [compared(*pair) for pair in with_the_second(len(cases), len(names))]


def _copies(session: Session, images: Array, clock: Clock) -> dict[str, float]:
    """The median milliseconds of the copies that a run leaves out."""
    return {
        name: float(np.median(record(copy, COPIES, 0.0, clock)))
        for name, copy in session.copies(images).items()
    }


def _images(shape: tuple[int, ...], seed: int) -> Array:
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)
