"""Sweeps: each run of a sweep file has its own process and directory; the runs are compared at the
end.
"""

import sys
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slimmer.atomic_files import write_text
from slimmer.errors import RunError
from slimmer.pipeline.parallel_runs import side_by_side
from slimmer.recipe import Recipe
from slimmer.recipe.keys import differing, flat, text
from slimmer.recipe.sweep import Settings, number, plan_rows
from slimmer.reports.compare_runs import merge, partition
from slimmer.reports.comparison_table import write_comparison
from slimmer.reports.finished_runs import read_entry
from slimmer.runs.claim import claimed
from slimmer.runs.directory import Run
from slimmer.runs.events import Observe
from slimmer.runs.new_run import is_beginning


@dataclass(frozen=True)
class Row:
    """One run of a sweep: its name, its recipe and its directory."""

    name: str
    recipe: Recipe
    run: Run

    @property
    def finished(self) -> bool:
        """Whether the run has its report."""
        return self.run.report.is_file()

    @property
    def begun(self) -> bool:
        """Whether its directory is already a run."""
        return self.run.recipe_file.is_file()


def sweep(
    path: Path,
    out: Path | None = None,
    given: Settings = (),
    *,
    jobs: int = 1,
    observe: Observe = lambda _: None,
) -> dict[str, Any]:
    """Run the rows of the sweep file at `path` and compare them; finished rows are not run again.

    Each row runs in its own process, `jobs` of them at a time; its run is in `out` (default:
    runs/sweep-FILE) under the row's name. The `given` settings override the recipe of each row. If
    a row fails, the error is recorded and the others continue. The result has `out`, `comparisons`
    (one for each network and data), and the `failed` rows with their errors; the comparisons are
    also written to `out`. Before anything runs, raises RecipeError with all mistakes in all rows,
    and RunError if a row's directory contains something else.
    """
    out = Path("runs") / f"sweep-{path.stem}" if out is None else out
    rows = [Row(name, recipe, Run(out / name)) for name, recipe in plan_rows(path, given).items()]
    _check_places(rows, out)
    count = {"finished": sum(row.finished for row in rows), "begun": sum(row.begun for row in rows)}
    observe({"event": "sweep", "out": str(out), "rows": len(rows), "jobs": jobs, **count})
    with claimed(out, "a sweep") as claim:
        # The rows' processes hold the claim too, so it lasts while a row of a killed sweep runs.
        failed = _run(rows, out, jobs, claim.descriptor, observe)
    entries = [read_entry(row.run.path) for row in rows if row.finished]
    comparisons = [merge(part) for part in partition(entries)]
    head = [f"# Sweep {path.name}", ""]
    if failed:
        head += [f"- failed: {name}: {' '.join(error.split())}" for name, error in failed.items()]
        head.append("")
    write_comparison(out, comparisons, head)
    return {"out": str(out), "comparisons": comparisons, "failed": failed}


def _check_places(rows: Sequence[Row], out: Path) -> None:
    """Raise RunError if the directory of the sweep or of a row contains something else."""
    if out.exists() and not out.is_dir():
        raise RunError(str(out), "is a file", "choose a directory with --out")
    if Run(out).recipe_file.exists():
        raise RunError(str(out), "is a run", "choose another directory with --out")
    wrong = []
    for row in rows:
        found = _conflict(row)
        if found:
            wrong.append(f"{row.name}: {found}")
    if wrong:
        right = ["choose another --out, or remove the rows that are no longer wanted:", *wrong]
        found = f"contains {number(len(wrong), 'row')} of another sweep"
        raise RunError(str(out), found, "\n  ".join(right))


def _conflict(row: Row) -> str:
    """What keeps a row from using its directory; empty if nothing does."""
    if not row.begun:
        free = not row.run.path.exists() or is_beginning(row.run.path)
        return "" if free else "exists and is not a run"
    there, here = flat(row.run.recipe().model_dump()), flat(row.recipe.model_dump())
    changed = differing([there, here])
    return ", ".join(
        f"{key} is {text(there.get(key))} there, {text(here.get(key))} here" for key in changed
    )


def _run(rows: Sequence[Row], out: Path, jobs: int, lock: int, observe: Observe) -> dict[str, str]:
    """Run all rows that are not finished, and return the errors of those that failed, by name."""
    numbers = {row.name: number for number, row in enumerate(rows, start=1)}
    runs = {row.name: row.run for row in rows}
    commands = {row.name: _command(row, out) for row in rows if not row.finished}
    done, failed, said = len(rows) - len(commands), dict[str, str](), dict[str, list[str]]()

    def tell(name: str, **more: Any) -> None:
        place = {"number": numbers[name], "rows": len(rows), "done": done}
        observe({"event": "row", "name": name, **place, **more})

    with closing(side_by_side(commands, jobs, keep=[lock])) as happenings:
        for each in happenings:
            if each.said is not None:
                said.setdefault(each.name, []).append(each.said)
                tell(each.name, said=each.said)
            elif each.code is None:
                begun = runs[each.name].recipe_file.is_file()
                tell(each.name, state="goes on" if begun else "started")
            else:
                done += 1
                if each.code == 0:
                    tell(each.name, state="finished", report=runs[each.name].read_report())
                    continue
                lines = said.get(each.name, [])
                log = out / "rows" / f"{each.name}.log"
                write_text(log, "\n".join([*lines, ""]))
                failed[each.name] = _error(lines, each.code, log)
                tell(each.name, state="failed", error=failed[each.name])
    return failed


def _command(row: Row, out: Path) -> list[str]:
    """The command that starts or resumes a row; for a new row its recipe is written to `out`."""
    slimmer = [sys.executable, "-m", "slimmer", "prune"]
    if row.begun:
        return [*slimmer, "--resume", str(row.run.path)]
    file = out / "rows" / f"{row.name}.yaml"
    write_text(file, row.recipe.to_yaml())
    return [*slimmer, "--recipe", str(file), "--out", str(row.run.path)]


def _error(lines: Sequence[str], code: int, log: Path) -> str:
    """The error of a process that ended with `code`, from its output lines."""
    if code < 0:
        return f"killed by signal {-code}; see {log}"
    starts = [at for at, line in enumerate(lines) if line.startswith("Error: ")]
    if starts:
        return "\n".join(lines[starts[-1] :]).removeprefix("Error: ")
    last = lines[-1] if lines else f"exit code {code}"
    return f"{last}; see {log}"
