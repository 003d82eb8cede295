"""Latency of networks in ONNX Runtime, side by side: timed in turns, compared with an interval."""

import hashlib
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from slimmer.errors import ExportError, RecipeError
from slimmer.profiling.results import (
    SCHEMA,
    Comparison,
    Conditions,
    Profile,
    Subject,
    Timing,
    compare,
    notes,
    timing,
)
from slimmer.profiling.timing import Clock, Effort, time_in_turns
from slimmer.runtimes import Session
from slimmer.runtimes.environment import environment
from slimmer.runtimes.onnxruntime import open_session

__all__ = ["Comparison", "Conditions", "Effort", "Profile", "Subject", "Timing", "profile"]

Opener = Callable[[Path], Session]
Progress = Callable[[int, int, str], None]

# With these, two small networks at two batch sizes take less than ten seconds.
SECONDS = 0.25
RUNS = 10
BLOCKS = 5


def profile(
    models: Sequence[tuple[str, Path]],
    *,
    input_size: tuple[int, int, int],
    batches: Sequence[int] = (1, 64),
    provider: str = "cpu",
    threads: int | None = None,
    seconds: float = SECONDS,
    runs: int = RUNS,
    blocks: int = BLOCKS,
    seed: int = 0,
    on_progress: Progress | None = None,
) -> Profile:
    """How long each of the ONNX files `models` (name, path) takes, and how each compares with the first.

    All are open at once and take turns, `blocks` times for each batch size, in blocks of at least `seconds`
    and `runs` runs: back to back, on random images of `input_size` (channels, height, width) that already
    lie on the device. What is timed is the network alone, copies left out. `threads` None is one per core.
    `on_progress` hears (steps done, steps in all, what comes next), and once more when all are done.
    Nothing is written and nothing of the machine is changed.

    Raises RecipeError for a number or a name that makes no sense, RuntimeUnavailableError where `provider`
    is not active, ExportError where a file is broken or takes other images.
    """
    effort = Effort(seconds=seconds, runs=runs, blocks=blocks)
    conditions = Conditions(provider, threads, input_size, tuple(batches), effort, seed)
    return profile_sessions(
        models,
        conditions,
        lambda path: open_session(path, provider=provider, threads=threads),
        clock=time.perf_counter_ns,
        on_progress=on_progress,
    )


def profile_sessions(
    models: Sequence[tuple[str, Path]],
    conditions: Conditions,
    opener: Opener,
    *,
    clock: Clock,
    on_progress: Progress | None = None,
) -> Profile:
    """As `profile`, with whatever session `opener` gives for a file, on a `clock` of nanoseconds."""
    names = [name for name, _ in models]
    if not names or len(set(names)) < len(names):
        raise RecipeError("profile models", str(names), "at least one network, each under its own name")
    draw = np.random.default_rng(conditions.seed)
    steps = len(conditions.batches) * len(models) * (1 + conditions.effort.blocks)
    done = 0

    def tell(step: str) -> None:
        nonlocal done
        if on_progress is not None:
            on_progress(done, steps, step)
        done += 1

    # Before the first run, so that `load` is of what else the machine does.
    machine = environment()
    with ExitStack() as stack:
        subjects, sessions = [], []
        for name, path in models:
            subject, session = _open(name, path, opener, clock)
            stack.callback(session.close)
            subjects.append(subject)
            sessions.append(session)
        timings, comparisons = [], []
        for batch in conditions.batches:
            images = draw.standard_normal((batch, *conditions.input_size), dtype=np.float32)
            recorded = time_in_turns(
                [f"{name}, batch {batch}" for name in names],
                [session.prepare(images) for session in sessions],
                conditions.effort,
                clock=clock,
                tell=tell,
            )
            timings += [timing(name, batch, one) for name, one in zip(names, recorded, strict=True)]
            comparisons += [
                compare((names[0], name), batch, recorded[0], one, seed=conditions.seed)
                for name, one in zip(names[1:], recorded[1:], strict=True)
            ]
    tell("done")
    return Profile(
        schema=SCHEMA,
        date_utc=datetime.now(UTC).isoformat(timespec="seconds"),
        provider=subjects[0].provider,
        conditions=conditions,
        environment=machine,
        subjects=tuple(subjects),
        timings=tuple(timings),
        comparisons=tuple(comparisons),
        notes=tuple(notes(conditions, subjects, timings)),
    )


def _open(name: str, path: Path, opener: Opener, clock: Clock) -> tuple[Subject, Session]:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ExportError(str(path), str(error), "an ONNX file, as `slimmer export` writes it") from error
    before = clock()
    session = opener(path)
    subject = Subject(
        name=name,
        path=str(path),
        sha256=hashlib.sha256(content).hexdigest(),
        size_bytes=len(content),
        session_ms=(clock() - before) / 1e6,
        runtime=session.name,
        provider=session.provider,
        settings=dict(session.settings),
    )
    return subject, session
