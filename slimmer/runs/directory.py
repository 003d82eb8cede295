"""A run directory: the files in which the stages of a run store their results."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slimmer.atomic_files import digest, naming
from slimmer.errors import RunError
from slimmer.recipe import Recipe, read_recipe
from slimmer.runs.event_log import read_events
from slimmer.runs.schemas import (
    AnyProfile,
    ExportFile,
    Measured,
    ProfileFile,
    ReportFile,
    read_checked,
)

LATEST = Path("runs") / "latest"


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
    def logs(self) -> Path:
        """The directory of the loggers, each with a directory of its own."""
        return self.path / "logs"

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
    def page(self) -> Path:
        """The report as an HTML page, with the export and the profile once they exist."""
        return self.path / "report.html"

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
        return (*pruned, self.events, self.text, self.page, self.exported, self.profile)

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
