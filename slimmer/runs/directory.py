"""A run directory: where the stages of a run leave their values, whole or not at all."""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from itertools import count, pairwise
from pathlib import Path
from typing import Any

from slimmer.atomic_files import (
    digest,
    naming,
    parse_json,
    read_bytes,
    read_text,
    write_text,
    written_part,
)
from slimmer.errors import RunError
from slimmer.recipe import Recipe, read_recipe
from slimmer.runs.claim import NAME as LOCK
from slimmer.runs.claim import Claim, claimed, is_marked
from slimmer.runs.schemas import (
    AnyProfile,
    ExportFile,
    Measured,
    ProfileFile,
    ReportFile,
    is_event,
    read_checked,
)

LATEST = Path("runs") / "latest"
LONGEST_PATH = 1 << 16
STALE = 60.0  # seconds


@dataclass(frozen=True)
class Run:
    """The files of one run."""

    path: Path

    @property
    def recipe_file(self) -> Path:
        """The resolved recipe; a directory without it is no run."""
        return self.path / "recipe.yaml"

    @property
    def dense(self) -> Path:
        """The dense network, for reference."""
        return self.path / "dense.safetensors"

    @property
    def plan(self) -> Path:
        """Which channels stay."""
        return self.path / "plan.json"

    @property
    def state(self) -> Path:
        """Where training stands, to be resumed; gone when the run is finished."""
        return self.path / "state.safetensors"

    @property
    def slim(self) -> Path:
        """The slim network."""
        return self.path / "slim.safetensors"

    @property
    def events(self) -> Path:
        """What happened, a JSON object a line."""
        return self.path / "events.jsonl"

    @property
    def measured(self) -> Path:
        """What is known of the dense network before training."""
        return self.path / "dense.json"

    @property
    def report(self) -> Path:
        """All that was measured while pruning, as data."""
        return self.path / "report.json"

    @property
    def text(self) -> Path:
        """The same for people, with export and profile once they are made."""
        return self.path / "report.md"

    @property
    def profile(self) -> Path:
        """Latencies."""
        return self.path / "profile.json"

    @property
    def exported(self) -> Path:
        """What the export measured."""
        return self.path / "export.json"

    def onnx(self, name: str) -> Path:
        """The ONNX file of "dense" or "slim"."""
        return self.path / f"{name}.onnx"

    def files(self) -> tuple[Path, ...]:
        """All that has one name in every run; exports have names of their own."""
        pruned = (
            self.recipe_file,
            self.dense,
            self.measured,
            self.plan,
            self.state,
            self.slim,
            self.report,
        )
        return (*pruned, self.events, self.text, self.exported, self.profile)

    def recipe(self) -> Recipe:
        """The run's recipe. Raises RecipeError."""
        return read_recipe(self.recipe_file)

    def read_report(self) -> dict[str, Any]:
        """The run's report. Raises RunError where it is missing or damaged."""
        return read_checked(
            ReportFile,
            self.report,
            f"delete it, and `slimmer prune --resume {self.path}` makes it anew",
        )

    def read_measured(self) -> dict[str, Any]:
        """What is known of the dense network. Raises RunError where it is missing or damaged."""
        return read_checked(
            Measured, self.measured, "the run can't go on without it; start it anew"
        )

    def read_exported(self) -> dict[str, Any] | None:
        """What the export measured, None without one. Raises RunError where it is damaged."""
        if not self.exported.exists():
            return None
        return read_checked(
            ExportFile, self.exported, f"delete it, and `slimmer export {self.path}` makes it anew"
        )

    def read_profile(self, version: int) -> dict[str, Any] | None:
        """The latencies, None without any; those of another `version` are not checked further.
        Raises RunError.
        """
        if not self.profile.exists():
            return None
        right = f"delete it, and `slimmer profile {self.path}` makes it anew"
        found = read_checked(AnyProfile, self.profile, right)
        return (
            found if found["schema"] != version else read_checked(ProfileFile, self.profile, right)
        )

    def fingerprint(self) -> str:
        """What tells the run from others: its recipe and its dense network."""
        return f"{digest(self.recipe_file)[:16]}-{digest(self.dense)[:16]}"

    def check_recipe(self) -> None:
        """Nothing; raises RunError where the recipe is not the one that the run began with."""
        if digest(self.recipe_file) != self.read_measured()["recipe_sha256"]:
            right = "put it back as it was; to try another recipe, begin a run: `slimmer prune --recipe FILE --out NEW`"
            raise RunError(str(self.recipe_file), "was changed since the run began", right)

    def check_dense(self) -> None:
        """Nothing; raises RunError where the dense network is not the one that the run began with."""
        if not self.dense.is_file() or digest(self.dense) != self.read_measured()["dense_sha256"]:
            found = "is gone, damaged, or not the network that the run began with"
            raise RunError(str(self.dense), found, "put it back as it was, or start the run anew")

    def read_events(self) -> list[dict[str, Any]]:
        """What happened so far; a line that a sudden end tore is passed over."""
        return read_events(self.events)

    def record(self, event: Mapping[str, Any]) -> None:
        """Add an event."""
        with naming(self.events), self.events.open("a", encoding="utf-8") as file:
            file.write(json.dumps(event) + "\n")


def read_events(path: Path) -> list[dict[str, Any]]:
    """The events in a file, in the order in which they were recorded; none where there is no file.

    A process that is killed may leave its last line torn, and the one that resumes goes on behind
    it, so what is no whole event is passed over wherever it stands. Raises RunError for a file that
    can't be read.
    """
    if not path.exists():
        return []
    try:
        lines = read_bytes(path).splitlines()
    except OSError as error:
        raise RunError(
            str(path), f"can't be read ({error.strerror})", "delete it: only figures come from it"
        ) from error
    events = []
    for line in lines:
        with suppress(ValueError):
            event = parse_json(line)
            if is_event(event):
                events.append(event)
    return events


def worked(events: Sequence[Mapping[str, Any]]) -> float:
    """Seconds up to the last event of each part of a run, added up: time starts anew where a run is
    resumed.

    >>> worked([{"event": "begun", "time": 0.5}, {"event": "step", "time": 3.0}, {"event": "resumed", "time": 4.0}])
    7.0
    """
    ends = [before["time"] for before, after in pairwise(events) if after["event"] == "resumed"]
    return float(sum(ends) + sum(event["time"] for event in events[-1:]))


@contextmanager
def new_run(out: Path | None, arch: str) -> Iterator[tuple[Run, Claim]]:
    """A directory for a new run, which no other process takes meanwhile: `out`, or the next free
    runs/ARCH-N.

    One that a process left which was killed at its beginning is free again. Where the block fails
    before the directory is a run, nothing is left of it. Raises RunError where `out` holds
    something already: nothing that was there before is lost.
    """
    run, claim, held = _claim_new(out, arch)
    with held:
        yield run, claim


def _claim_new(out: Path | None, arch: str) -> tuple[Run, Claim, ExitStack]:
    stem = Path(arch.replace(":", "-")).name.removesuffix(".py") or "module"
    numbers = count(1)
    while True:
        path = out if out is not None else LATEST.parent / f"{stem}-{next(numbers)}"
        try:
            _check_free(path)
            with ExitStack() as stack:
                claim = stack.enter_context(claimed(path, "a run"))
                _check_free(path)  # another run may have ended between
                _clear_beginning(path)
                return Run(path), claim, stack.pop_all()
        except RunError:
            if out is not None:
                raise


@contextmanager
def old_run(run: Run) -> Iterator[Claim]:
    """The claim on a run that goes on; what a killed process had half written is gone. Raises
    RunError if it works.
    """
    with claimed(run.path, "a run") as claim:
        for file in half_written(run):
            file.unlink(missing_ok=True)
        yield claim


def half_written(run: Run) -> list[Path]:
    """The files that a process was writing in the run's directory when it was killed."""
    folders = [run.path, run.path / "figures"]
    files = [file for folder in folders if folder.is_dir() for file in folder.iterdir()]
    return [file for file in files if _is_own_part(run, file)]


def _is_own_part(run: Run, file: Path) -> bool:
    name = written_part(file)
    if name is None or file.is_symlink():
        return False
    if file.parent != run.path:
        return name.endswith(".png")
    return name in {each.name for each in run.files()} or name.endswith(
        (".onnx", ".onnx.data", ".pt2")
    )


def is_beginning(path: Path) -> bool:
    """Whether a directory holds only what a process leaves that was killed before the directory was
    a run.
    """
    if not path.is_dir() or not is_marked(path):
        return False
    run = Run(path)
    own = {path / LOCK, run.dense, run.measured}
    return all(file in own or _is_own_part(run, file) for file in path.iterdir())


def _check_free(path: Path) -> None:
    """Raise RunError where a directory holds something that is not of a run's killed beginning."""
    if not _holds_something(path) or is_beginning(path):
        return
    is_run = Run(path).recipe_file.exists()
    right = (
        f"go on with `slimmer prune --resume {path}`, or name another --out"
        if is_run
        else "name another --out"
    )
    raise RunError(str(path), "is a run already" if is_run else "exists and is not empty", right)


def _clear_beginning(path: Path) -> None:
    for file in path.iterdir():
        if file.name != LOCK:
            file.unlink()


def _holds_something(path: Path) -> bool:
    return path.exists() and (not path.is_dir() or any(path.iterdir()))


@contextmanager
def all_or_nothing(run: Run) -> Iterator[None]:
    """A block that makes a new directory a run; where it fails, what it wrote is gone again."""
    try:
        yield
    except BaseException:
        for file in (run.recipe_file, run.dense, run.measured):
            file.unlink(missing_ok=True)
        raise


def open_run(path: Path | None, *, finished: bool = True) -> Run:
    """The run in `path`, or the latest one. Raises RunError where it is none, or (if asked) not
    finished.
    """
    if path is None:
        if not LATEST.exists():
            raise RunError(
                str(LATEST.parent),
                "there is no run here yet",
                "start one with `slimmer prune`, or name a run",
            )
        path = _read_latest()
    run = Run(path)
    if not path.exists():
        raise RunError(str(path), "does not exist", "name a directory that `slimmer prune` wrote")
    if is_beginning(path):
        found = "was stopped before it was a run, or is just beginning"
        raise RunError(
            str(path), found, "give the command that began it again: the directory is free"
        )
    if not run.recipe_file.is_file():
        raise RunError(
            str(path),
            "is no run: it has no recipe.yaml",
            "name a directory that `slimmer prune` wrote",
        )
    if finished and not run.report.is_file():
        raise RunError(str(path), "is not finished", f"go on with `slimmer prune --resume {path}`")
    return run


def _read_latest() -> Path:
    if LATEST.is_symlink():
        raise RunError(
            str(LATEST), "is a link, and slimmer writes none", "delete it, and name the run"
        )
    try:
        return Path(read_text(LATEST, LONGEST_PATH).strip())
    except (OSError, UnicodeDecodeError) as error:
        right = "delete it, and name the run"
        raise RunError(str(LATEST), f"can't be read ({error})", right) from error


def mark_latest(run: Run) -> None:
    """Make `run` the one that commands take by default."""
    for file in LATEST.parent.glob(f".{LATEST.name}.*.part"):
        with suppress(OSError):
            if (
                time.time() - file.stat().st_mtime > STALE
            ):  # of a process that was killed: writing takes no time
                file.unlink()
    write_text(LATEST, f"{run.path.resolve()}\n")
