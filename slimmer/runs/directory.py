"""A run directory: the files in which the stages of a run store their results."""

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
        """The resolved recipe; a directory without it is not a run."""
        return self.path / "recipe.yaml"

    @property
    def dense(self) -> Path:
        """The dense network, for reference."""
        return self.path / "dense.safetensors"

    @property
    def plan(self) -> Path:
        """The pruning plan: which channels are kept."""
        return self.path / "plan.json"

    @property
    def state(self) -> Path:
        """The training state to resume from; it is deleted when the run finishes."""
        return self.path / "state.safetensors"

    @property
    def slim(self) -> Path:
        """The slim network."""
        return self.path / "slim.safetensors"

    @property
    def events(self) -> Path:
        """The event log, one JSON object per line."""
        return self.path / "events.jsonl"

    @property
    def measured(self) -> Path:
        """What was measured on the dense network before training."""
        return self.path / "dense.json"

    @property
    def report(self) -> Path:
        """The report as data: everything that was measured while pruning."""
        return self.path / "report.json"

    @property
    def text(self) -> Path:
        """The report as Markdown, with the export and the profile once they exist."""
        return self.path / "report.md"

    @property
    def profile(self) -> Path:
        """The measured latencies."""
        return self.path / "profile.json"

    @property
    def exported(self) -> Path:
        """What the export wrote and measured."""
        return self.path / "export.json"

    def onnx(self, name: str) -> Path:
        """The ONNX file of "dense" or "slim"."""
        return self.path / f"{name}.onnx"

    def files(self) -> tuple[Path, ...]:
        """The files whose names are the same in every run; exported files are not among them."""
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
        """The run's report. Raises RunError if it is missing or damaged."""
        right = f"delete it; `slimmer prune --resume {self.path}` writes it again"
        return read_checked(ReportFile, self.report, right)

    def read_measured(self) -> dict[str, Any]:
        """What was measured on the dense network. Raises RunError if it is missing or damaged."""
        right = "the run can't be resumed without it; start a new run"
        return read_checked(Measured, self.measured, right)

    def read_exported(self) -> dict[str, Any] | None:
        """What the export measured; None without an export. Raises RunError if it is damaged."""
        if not self.exported.exists():
            return None
        right = f"delete it; `slimmer export {self.path}` writes it again"
        return read_checked(ExportFile, self.exported, right)

    def read_profile(self, version: int) -> dict[str, Any] | None:
        """The latencies; None without a profile. A profile of another `version` is returned without
        further checks. Raises RunError if the file is damaged.
        """
        if not self.profile.exists():
            return None
        right = f"delete it; `slimmer profile {self.path}` writes it again"
        found = read_checked(AnyProfile, self.profile, right)
        if found["schema"] != version:
            return found
        return read_checked(ProfileFile, self.profile, right)

    def fingerprint(self) -> str:
        """What identifies the run: the hashes of its recipe and of its dense network."""
        return f"{digest(self.recipe_file)[:16]}-{digest(self.dense)[:16]}"

    def check_recipe(self) -> None:
        """Raise RunError if the recipe is not the one that the run started with."""
        if digest(self.recipe_file) != self.read_measured()["recipe_sha256"]:
            right = (
                "restore it; to try another recipe, start a new run: "
                "`slimmer prune --recipe FILE --out NEW`"
            )
            raise RunError(str(self.recipe_file), "was changed after the run started", right)

    def check_dense(self) -> None:
        """Raise RunError if the dense network is not the one that the run started with."""
        if not self.dense.is_file() or digest(self.dense) != self.read_measured()["dense_sha256"]:
            found = "is missing, damaged, or not the network that the run started with"
            raise RunError(str(self.dense), found, "restore it, or start a new run")

    def read_events(self) -> list[dict[str, Any]]:
        """The events so far; a line that was cut off when a process was killed is skipped."""
        return read_events(self.events)

    def record(self, event: Mapping[str, Any]) -> None:
        """Append an event to the event log."""
        with naming(self.events), self.events.open("a", encoding="utf-8") as file:
            file.write(json.dumps(event) + "\n")


def read_events(path: Path) -> list[dict[str, Any]]:
    """The events in a file, in the order in which they were recorded; empty if there is no file.

    A process that is killed may leave its last line incomplete, and the process that resumes
    appends after it. So a line that is not a complete event is skipped, wherever it is. Raises
    RunError for a file that can't be read.
    """
    if not path.exists():
        return []
    try:
        lines = read_bytes(path).splitlines()
    except OSError as error:
        right = "delete it: it is only used to draw figures"
        raise RunError(str(path), f"can't be read ({error.strerror})", right) from error
    events = []
    for line in lines:
        with suppress(ValueError):
            event = parse_json(line)
            if is_event(event):
                events.append(event)
    return events


def worked(events: Sequence[Mapping[str, Any]]) -> float:
    """The seconds that a run took: the times of the last event before each resume and of the last
    event, added up. Time starts at zero again when a run is resumed.

    >>> began, step = {"event": "begun", "time": 0.5}, {"event": "step", "time": 3.0}
    >>> worked([began, step, {"event": "resumed", "time": 4.0}])
    7.0
    """
    ends = [before["time"] for before, after in pairwise(events) if after["event"] == "resumed"]
    return float(sum(ends) + sum(event["time"] for event in events[-1:]))


@contextmanager
def new_run(out: Path | None, arch: str) -> Iterator[tuple[Run, Claim]]:
    """A directory for a new run, claimed for this process: `out`, or the next free runs/ARCH-N.

    A directory is also free if it was left by a process that was killed before the directory became
    a run. If the block fails before that point, the directory is removed. Raises RunError if `out`
    is not empty, so that nothing is overwritten.
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
                _check_free(path)  # another run may have ended in between
                _clear_beginning(path)
                return Run(path), claim, stack.pop_all()
        except RunError:
            if out is not None:
                raise


@contextmanager
def old_run(run: Run) -> Iterator[Claim]:
    """The claim on a run that is resumed; partly written files of a killed process are deleted.
    Raises RunError if another process is using the run.
    """
    with claimed(run.path, "a run") as claim:
        for file in half_written(run):
            file.unlink(missing_ok=True)
        yield claim


def half_written(run: Run) -> list[Path]:
    """The partly written files that a killed process left in the run's directory."""
    found = []
    for folder in (run.path, run.path / "figures"):
        if folder.is_dir():
            found += [file for file in folder.iterdir() if _is_own_part(run, file)]
    return found


def _is_own_part(run: Run, file: Path) -> bool:
    name = written_part(file)
    if name is None or file.is_symlink():
        return False
    if file.parent != run.path:
        return name.endswith(".png")
    if name.endswith((".onnx", ".onnx.data", ".pt2")):
        return True
    return name in [each.name for each in run.files()]


def is_beginning(path: Path) -> bool:
    """Whether a directory contains only the files of a process that was killed before the directory
    became a run.
    """
    if not path.is_dir() or not is_marked(path):
        return False
    run = Run(path)
    own = {path / LOCK, run.dense, run.measured}
    return all(file in own or _is_own_part(run, file) for file in path.iterdir())


def _check_free(path: Path) -> None:
    """Raise RunError if a directory is not empty, unless only a killed process's beginning of a run
    is in it.
    """
    if not _holds_something(path) or is_beginning(path):
        return
    if Run(path).recipe_file.exists():
        right = f"resume it with `slimmer prune --resume {path}`, or choose another --out"
        raise RunError(str(path), "is already a run", right)
    raise RunError(str(path), "exists and is not empty", "choose another --out")


def _clear_beginning(path: Path) -> None:
    for file in path.iterdir():
        if file.name != LOCK:
            file.unlink()


def _holds_something(path: Path) -> bool:
    return path.exists() and (not path.is_dir() or any(path.iterdir()))


@contextmanager
def all_or_nothing(run: Run) -> Iterator[None]:
    """A block that turns a new directory into a run; if it fails, the files it wrote are deleted."""
    try:
        yield
    except BaseException:
        for file in (run.recipe_file, run.dense, run.measured):
            file.unlink(missing_ok=True)
        raise


def open_run(path: Path | None, *, finished: bool = True) -> Run:
    """The run in `path`, or the latest one. Raises RunError if it is not a run, or if it is not
    finished and `finished` is set.
    """
    path = _read_latest() if path is None else path
    run = Run(path)
    if not path.exists():
        raise RunError(str(path), "does not exist", "give a directory that `slimmer prune` wrote")
    if is_beginning(path):
        found = "is not a run yet: it was stopped early, or is just starting"
        right = "repeat the command that started it; the directory can be used again"
        raise RunError(str(path), found, right)
    if not run.recipe_file.is_file():
        found = "is not a run: it has no recipe.yaml"
        raise RunError(str(path), found, "give a directory that `slimmer prune` wrote")
    if finished and not run.report.is_file():
        right = f"resume it with `slimmer prune --resume {path}`"
        raise RunError(str(path), "is not finished", right)
    return run


def _read_latest() -> Path:
    """The directory of the latest run. Raises RunError if there is none."""
    if not LATEST.exists():
        right = "start one with `slimmer prune`, or give the path of a run"
        raise RunError(str(LATEST.parent), "there is no run here yet", right)
    right = "delete it, and give the path of the run"
    if LATEST.is_symlink():
        raise RunError(str(LATEST), "is a symbolic link, which slimmer never writes", right)
    try:
        return Path(read_text(LATEST, LONGEST_PATH).strip())
    except (OSError, UnicodeDecodeError) as error:
        raise RunError(str(LATEST), f"can't be read ({error})", right) from error


def mark_latest(run: Run) -> None:
    """Make `run` the default run of other commands."""
    for file in LATEST.parent.glob(f".{LATEST.name}.*.part"):
        with suppress(OSError):
            # Writing takes no time, so an old file is from a process that was killed.
            if time.time() - file.stat().st_mtime > STALE:
                file.unlink()
    write_text(LATEST, f"{run.path.resolve()}\n")
