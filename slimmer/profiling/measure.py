"""A profile, step by step: traces and first uses, then all networks timed in alternation."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from itertools import product

import numpy as np

from slimmer.errors import RecipeError, RuntimeUnavailableError
from slimmer.profiling.clocks import Clock, Clocks
from slimmer.profiling.explain import explain, explaining_steps, random_images
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
    Profile,
    Subject,
    Timing,
    UsedRuntime,
)
from slimmer.profiling.runtimes import Array, Session
from slimmer.profiling.runtimes.known import RUNTIMES
from slimmer.profiling.subjects import read, subject_of
from slimmer.profiling.summary import timing
from slimmer.profiling.timing import Tell, record, time_in_turns
from slimmer.profiling.widths import Layer, preferred

COPIES = 20  # fewest timed runs of a copy


@dataclass
class _Found:
    """The results so far; mutable, because every number of threads and batch size adds to it."""

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
    """What `profile` returns, measured with the functions in `means`."""
    names = _names(networks)
    _check_modules(networks, conditions)
    tell = _steps(len(networks), conditions, means, on_progress)
    # Read before the first run, so that the load is that of other processes.
    machine, before = dict(means.machine()), means.gpu()
    files = {network.name: read(network.path) for network in networks}
    layers = {network.name: means.layers(network.path) for network in networks}
    about = {network.name: means.about(network.path) for network in networks}
    traces, fresh, lost = explain(networks, conditions, means, tell)
    found = _Found()
    for threads in conditions.threads:
        with ExitStack() as stack:
            sessions = []
            for runtime, network in product(conditions.runtimes, networks):
                session, session_ms = _open(network, runtime, threads, means, tell)
                stack.callback(session.close)
                sessions.append(session)
                file, metadata = files[network.name], about[network.name]
                subject = subject_of(network, runtime, session, file, metadata, session_ms)
                found.subjects.setdefault((network.name, runtime), subject)
            clocks = Clocks(means.clock, means.cpu(threads), means.waited)
            _time(names, sessions, conditions, threads, found, clocks, tell)
            # Read right after the last run: clocks and throttling as they were under load.
            loaded = means.gpu()
    gpu = {"before": before, "loaded": loaded, "after": means.gpu()}
    tell("done")
    subjects = tuple(found.subjects.values())
    notes = (
        *load_note(machine),
        *_timing_notes(found, conditions, len(networks)),
        *first_use_notes(lost),
        *gpu_notes(conditions, gpu),
        *placement_notes(conditions, traces, subjects),
        *_width_notes(found, conditions, layers, machine.get("cpu_vector_floats")),
    )
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
        notes=notes,
        runtimes=_used_runtimes(conditions),
    )


def _used_runtimes(conditions: Conditions) -> dict[str, UsedRuntime]:
    used = {}
    for name in conditions.runtimes:
        entry = RUNTIMES[name]
        used[name] = UsedRuntime(entry.label, entry.version())
    return used


def _timing_notes(found: _Found, conditions: Conditions, networks: int) -> Iterator[str]:
    compared = (*found.comparisons, *found.among)
    yield from timing_notes(found.timings, networks)
    yield from busy_notes(compared)
    yield from disturbed_notes(compared)
    yield from precision_notes(conditions.effort.precision, found.comparisons)


def _width_notes(
    found: _Found,
    conditions: Conditions,
    layers: Mapping[str, tuple[Layer, ...]],
    vector_floats: object,
) -> Iterator[str]:
    """Hints at widths, in runtimes whose kernels work on whole vectors of channels."""
    wide = [one for one in found.comparisons if RUNTIMES[one.runtime].wide_vectors]
    yield from width_notes(wide, layers, preferred(conditions.provider, vector_floats))


def _open(
    network: Network, runtime: str, threads: int | None, means: Means, tell: Tell
) -> tuple[Session, float]:
    """A session, and the milliseconds that opening it took."""
    tell(f"{network.name}: opening in {runtime}")
    began = means.clock()
    session = means.open(network, runtime, threads)
    return session, (means.clock() - began) / 1e6


def _names(networks: Sequence[Network]) -> list[str]:
    """The networks' names. Raise RecipeError if there are none or two are equal."""
    names = [network.name for network in networks]
    if not names or len(set(names)) < len(names):
        raise RecipeError(
            "profile models", str(names), "at least one network, each with its own name"
        )
    return names


def _check_modules(networks: Sequence[Network], conditions: Conditions) -> None:
    """Raise RuntimeUnavailableError if a runtime needs modules and a network is an ONNX file."""
    needing = [name for name in conditions.runtimes if RUNTIMES[name].open_module is not None]
    without = [str(network.path) for network in networks if network.module is None]
    if needing and without:
        right = "a run that `slimmer prune` wrote, or leave --runtime out"
        raise RuntimeUnavailableError(
            f"runtime {needing[0]}", f"{without[0]} is not a PyTorch network", right
        )


def _steps(
    networks: int, conditions: Conditions, means: Means, on_progress: Progress | None
) -> Tell:
    """A callback that counts the steps and passes them on to `on_progress`."""
    batches, threads = len(conditions.batches), len(conditions.threads)
    in_turns = networks * len(conditions.runtimes)
    turns = threads * (in_turns + batches * (in_turns + conditions.effort.blocks))
    total = explaining_steps(networks, conditions, means) + turns
    done = 0

    def tell(step: str, steps: int = 1) -> None:
        nonlocal done
        if on_progress is not None:
            on_progress(done, total, step)
        done += steps

    return tell


def _time(
    names: Sequence[str],
    sessions: Sequence[Session],
    conditions: Conditions,
    threads: int | None,
    found: _Found,
    clocks: Clocks,
    tell: Tell,
) -> None:
    """Time all sessions in alternation, one batch size after the other.

    `sessions` are ordered by runtime, then by network.
    """
    for batch in conditions.batches:
        images = random_images((batch, *conditions.input_size), conditions.seed)
        cases: list[Case] = []
        for runtime in conditions.runtimes:
            cases += [Case(name, runtime, threads, batch) for name in names]
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
    """The median milliseconds of the copies that `prepare` leaves out."""
    found = {}
    for name, copy in session.copies(images).items():
        found[name] = float(np.median(record(copy, COPIES, 0.0, clock)))
    return found
