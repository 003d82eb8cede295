"""The runs of a sweep file, each a process and a directory of its own, and their comparison at the
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
from slimmer.runs.directory import Run, is_beginning
from slimmer.runs.events import Observe


@dataclass(frozen=True)
class Row:
    """One run of a sweep: its name, what it does, and where."""

    name: str
    recipe: Recipe
    run: Run

    @property
    def finished(self) -> bool:
        """Whether it has its report."""
        return self.run.report.is_file()

    @property
    def begun(self) -> bool:
        """Whether its directory is a run."""
        return self.run.recipe_file.is_file()


def sweep(
    path: Path,
    out: Path | None = None,
    given: Settings = (),
    *,
    jobs: int = 1,
    observe: Observe = lambda _: None,
) -> dict[str, Any]:
    """Run the rows of the sweep file in `path` and compare them; what is finished already is not
    done again.

    Every row is a process of its own, `jobs` of them at a time; each run lies in `out` (default:
    runs/sweep-FILE) under the row's name. `given` settings are laid over the recipe of every row. A
    row that fails is noted, and the others go on. The result has `out`, `comparisons` (one for each
    network and data), and `failed` rows with their errors; the comparisons are also written into
    `out`. Raises RecipeError for all that is wrong with any row, and RunError where a row's
    directory holds something else, before anything is run.
    """
    out = Path("runs") / f"sweep-{path.stem}" if out is None else out
    rows = [Row(name, recipe, Run(out / name)) for name, recipe in plan_rows(path, given).items()]
    _check_places(rows, out)
    count = {"finished": sum(row.finished for row in rows), "begun": sum(row.begun for row in rows)}
    observe({"event": "sweep", "out": str(out), "rows": len(rows), "jobs": jobs, **count})
    with claimed(
        out, "a sweep"
    ) as claim:  # rows keep it open: it holds while one of a killed sweep still works
        failed = _run(rows, out, jobs, claim.descriptor, observe)
    entries = [read_entry(row.run.path) for row in rows if row.finished]
    comparisons = [merge(part) for part in partition(entries)]
    notes = [f"- failed: {name}: {' '.join(error.split())}" for name, error in failed.items()]
    write_comparison(
        out, comparisons, [f"# Sweep {path.name}", "", *notes, *([""] if notes else [])]
    )
    return {"out": str(out), "comparisons": comparisons, "failed": failed}


def _check_places(rows: Sequence[Row], out: Path) -> None:
    """Raise RunError where what a row would write to holds something else already."""
    if out.exists() and not out.is_dir():
        raise RunError(str(out), "is a file", "name a directory with --out")
    if Run(out).recipe_file.exists():
        raise RunError(str(out), "is a run", "name another directory with --out")
    wrong = []
    for row in rows:
        if row.begun:
            there, here = (flat(recipe.model_dump()) for recipe in (row.run.recipe(), row.recipe))
            keys = differing([there, here])
            if keys:
                listed = ", ".join(
                    f"{key} {text(there.get(key))} there, {text(here.get(key))} here"
                    for key in keys
                )
                wrong.append(f"{row.name}: {listed}")
        elif row.run.path.exists() and not is_beginning(row.run.path):
            wrong.append(f"{row.name}: exists and is no run")
    if wrong:
        right = ["name another --out, or remove what is no longer wanted:", *wrong]
        raise RunError(
            str(out), f"{number(len(wrong), 'row')} of another sweep", "\n  ".join(right)
        )


def _run(rows: Sequence[Row], out: Path, jobs: int, lock: int, observe: Observe) -> dict[str, str]:
    """Bring all rows to their end; the errors of those that failed, by their names."""
    numbers = {row.name: number for number, row in enumerate(rows, start=1)}
    runs = {row.name: row.run for row in rows}
    commands = {row.name: _command(row, out) for row in rows if not row.finished}
    done, failed, said = len(rows) - len(commands), dict[str, str](), dict[str, list[str]]()

    def tell(name: str, **more: Any) -> None:
        observe(
            {
                "event": "row",
                "name": name,
                "number": numbers[name],
                "rows": len(rows),
                "done": done,
                **more,
            }
        )

    with closing(side_by_side(commands, jobs, keep=[lock])) as happenings:
        for each in happenings:
            if each.said is not None:
                said.setdefault(each.name, []).append(each.said)
                tell(each.name, said=each.said)
            elif each.code is None:
                tell(
                    each.name,
                    state="goes on" if runs[each.name].recipe_file.is_file() else "started",
                )
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
    """How to bring a row to its end; its recipe is then in `out`."""
    slimmer = [sys.executable, "-m", "slimmer", "prune"]
    if row.begun:
        return [*slimmer, "--resume", str(row.run.path)]
    file = out / "rows" / f"{row.name}.yaml"
    write_text(file, row.recipe.to_yaml())
    return [*slimmer, "--recipe", str(file), "--out", str(row.run.path)]


def _error(lines: Sequence[str], code: int, log: Path) -> str:
    """What stopped a process that ended with `code`, from the lines that it said."""
    if code < 0:
        return f"killed by signal {-code}; see {log}"
    starts = [at for at, line in enumerate(lines) if line.startswith("Error: ")]
    if starts:
        return "\n".join(lines[starts[-1] :]).removeprefix("Error: ")
    return f"{lines[-1] if lines else f'exit code {code}'}; see {log}"
