"""Tables 1, 2, 4, 5 and 6 of the MaskConvNet paper, trained from their recipes on one GPU, in
pieces of some minutes.

    python benchmarks/paper_tables.py --table 1 --data CIFAR_DIR --out benchmarks/results/paper
    --minutes 9

The same call goes on where the last one stopped. Each ends with OUT/tableN.md and .json: one row a
recipe, whether finished or not. The exit code is 0 when all rows are finished, 1 when there is more
to do, 2 when a row failed. Table 2 takes --data IMAGENET_DIR. The paper's own figures stand in the
recipes' comments.
"""

import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import click
import torch

from slimmer.atomic_files import read_json, write_json, write_text
from slimmer.errors import RunError, SlimmerError
from slimmer.pipeline.profile_runs import profile_run
from slimmer.pipeline.stages import resume, start
from slimmer.profiling.runtimes.environment import environment
from slimmer.recipe import Recipe, make_recipe, parse_setting, read_recipe
from slimmer.recipe.sweep import plan_rows
from slimmer.runs.directory import Run

RECIPES = Path(__file__).parents[1] / "recipes" / "paper"
TO_PROFILE = 180.0  # seconds that exporting and timing a run may take
HEADS = (
    "recipe",
    "state",
    "epochs",
    "FLOPs removed %",
    "params removed %",
    "top-1 %",
    "minutes",
    "ms dense > slim",
)

Settings = list[tuple[str, Any]]


class TimeIsUpError(Exception):
    """The minutes of this call are over."""


@dataclass(frozen=True)
class Row:
    """One recipe of a table, its run, and the row whose slim network is its checkpoint."""

    name: str
    recipe: Recipe
    run: Run
    needs: "Row | None" = None

    @property
    def finished(self) -> bool:
        """Whether the run has its report."""
        return self.run.report.is_file()


@click.command(help=__doc__)
@click.option("--table", type=click.Choice(["1", "2", "4", "5", "6"]), required=True)
@click.option(
    "--data",
    required=True,
    help="the folder of CIFAR-10 (table 2: of ImageNet), as for `slimmer prune`",
)
@click.option("--out", type=Path, required=True, help="run directories and tables")
@click.option(
    "--device", type=click.Choice(["cuda", "cpu", "auto"]), default="cuda", show_default=True
)
@click.option(
    "--minutes",
    type=float,
    help="stop after so many, and go on at the next call; without it, never",
)
@click.option(
    "--epochs",
    type=float,
    help="of the table's longest recipe; the others and warm-ups shrink alike",
)
@click.option(
    "--only",
    default="*",
    show_default=True,
    help="pattern of rows; a dense row comes with what needs it",
)
@click.option("--set", "settings", multiple=True, help="KEY=VALUE, laid over every recipe")
@click.option(
    "--provider",
    help="what times the runs of table 6  [default: cuda with --device cuda, else cpu]",
)
def main(
    table: str,
    data: str,
    out: Path,
    device: str,
    minutes: float | None,
    epochs: float | None,
    only: str,
    settings: tuple[str, ...],
    provider: str | None,
) -> None:
    deadline = time.time() + (60 * minutes if minutes else float("inf"))
    place = data if data == "digits" else str(Path(data).absolute())
    given = [
        ("device", device),
        ("data.name", None),
        ("data.path", place),
        *map(parse_setting, settings),
    ]
    torch.backends.cudnn.benchmark = True  # shapes stay the same for thousands of steps
    try:
        rows = list(choose(find_rows(table, out / f"table{table}", given, epochs), only))
    except SlimmerError as error:
        raise click.UsageError(str(error)) from error
    failed: dict[str, str] = {}
    try:
        for row in rows:
            try:
                bring_to_end(row, deadline)
                if table == "6" and lacks_times(row):
                    spare(deadline, TO_PROFILE)
                    profile_run(
                        row.run, provider=provider or ("cuda" if device == "cuda" else "cpu")
                    )
            except SlimmerError as error:
                failed[row.name] = str(error)
                print(f"{row.name}: {error}", flush=True)
    except TimeIsUpError:
        print("the time is up", flush=True)
    write_table(out / f"table{table}", rows, failed)
    left = sum(not row.finished or (table == "6" and lacks_times(row)) for row in rows)
    print(f"{len(rows) - left} of {len(rows)} rows are finished", flush=True)
    sys.exit(2 if failed else int(left > 0))


def find_rows(table: str, out: Path, given: Settings, epochs: float | None) -> list[Row]:
    """All rows of a table, the dense ones first; `out` holds their runs. Raises RecipeError."""
    sweep = RECIPES / f"table{table}.yaml"
    files = sorted(
        (RECIPES / f"table{table}").glob("*.yaml"),
        key=lambda file: ("dense" not in file.stem, file.stem),
    )
    recipes = (
        plan_rows(sweep, given)
        if sweep.is_file()
        else {file.stem: read_recipe(file, given) for file in files}
    )
    longest = max(recipe.finetune.epochs for recipe in recipes.values())
    share = 1.0 if epochs is None else epochs / longest
    rows: dict[str, Row] = {}
    for name, recipe in recipes.items():
        row = Row(name, shortened(recipe, share), Run(out / name))
        if not recipe.model.scratch:
            dense = rows[f"{name.partition('_')[0]}_dense"]
            model = recipe.model.model_copy(update={"checkpoint": str(dense.run.slim.absolute())})
            row = replace(row, recipe=row.recipe.model_copy(update={"model": model}), needs=dense)
        rows[name] = row
    return list(rows.values())


def choose(rows: list[Row], only: str) -> Iterator[Row]:
    """The rows whose names fit the pattern, and those that they need."""
    fitting = [row for row in rows if fnmatch(row.name, only)]
    needed = [row.needs for row in fitting]
    return (row for row in rows if row in fitting or row in needed)


def shortened(recipe: Recipe, share: float) -> Recipe:
    """The recipe with `share` of its epochs, those of MaskConvNet's warm-up among them."""
    data = json.loads(recipe.model_dump_json())
    data["finetune"]["epochs"] *= share
    if "warmup" in data["method"]:
        data["method"]["warmup"] *= share
    return make_recipe(data, "--epochs")


def lacks_times(row: Row) -> bool:
    """Whether dense and slim are still to be timed; the dense rows' latency is what the slim ones
    are timed beside.
    """
    return row.recipe.method.name == "maskconvnet" and not row.run.profile.is_file()


def bring_to_end(row: Row, deadline: float) -> None:
    """Start or resume the row's run, unless it is finished. Raises TimeIsUpError at the deadline,
    in seconds.
    """
    if row.finished:
        return
    if row.needs is not None and not row.needs.finished:
        raise RunError(
            row.name, f"{row.needs.name} is not finished", "its network is where this one starts"
        )
    spare(deadline, 0)
    print(f"{row.name}: {progress(row)}", flush=True)
    watch = watching(row, deadline)
    if row.run.recipe_file.is_file():
        if row.run.recipe() != row.recipe:
            right = "give the same --epochs, --device and --set as before, or another --out"
            raise RunError(str(row.run.path), "was begun with another recipe", right)
        resume(row.run, watch)
        return
    for file in (
        row.run.dense,
        row.run.measured,
        *row.run.path.glob("*.part"),
    ):  # of a start that was killed
        file.unlink(missing_ok=True)
    start(row.recipe, row.run.path, watch, latest=False)


def watching(row: Row, deadline: float) -> Callable[[dict[str, Any]], None]:
    """An observer of the run that raises TimeIsUpError at the deadline, or before, just after a
    state was saved.

    So what a later call has to do again is little, however seldom states are saved.
    """
    last = deadline - row.recipe.finetune.save_every

    def watch(event: dict[str, Any]) -> None:
        now = time.time()
        saved = now >= last and row.run.state.is_file() and row.run.state.stat().st_mtime >= last
        if event["event"] != "done" and (saved or now >= deadline):
            raise TimeIsUpError
        if event["event"] == "epoch":
            print(f"{row.name}: epoch {event['epoch']:g}, {event['accuracy']:.2%}", flush=True)

    return watch


def spare(deadline: float, seconds: float) -> None:
    """Nothing; raises TimeIsUpError where fewer than so many seconds are left."""
    if time.time() + seconds >= deadline:
        raise TimeIsUpError


def write_table(stem: Path, rows: list[Row], failed: dict[str, str]) -> None:
    """Write what the rows came to as Markdown and JSON."""
    found = [describe(row, failed.get(row.name)) for row in rows]
    stamp = datetime.now(UTC).isoformat(timespec="seconds")
    command = " ".join(["python", *sys.argv])
    result = {"date": stamp, "command": command, "rows": found, "environment": environment()}
    write_json(stem.with_suffix(".json"), json.loads(json.dumps(result)))
    table = [HEADS, ("---",) * len(HEADS), *map(cells, found)]
    lines = [
        f"# Table {stem.name.removeprefix('table')} of the MaskConvNet paper",
        "",
        f"`{command}`, {stamp}",
        "",
    ]
    write_text(
        stem.with_suffix(".md"),
        "\n".join([*lines, *(f"| {' | '.join(each)} |" for each in table), ""]),
    )


def describe(row: Row, error: str | None) -> dict[str, Any]:
    """The row as data: its state, and where it is finished its report's figures and latencies."""
    found: dict[str, Any] = {"recipe": row.name, "epochs": row.recipe.finetune.epochs}
    if not row.finished:
        return {**found, "state": f"failed: {error}" if error else progress(row)}
    report = row.run.read_report()
    timed = read_json(row.run.profile) if row.run.profile.is_file() else None
    return {
        **found,
        "state": "finished" if error is None else f"finished; timing failed: {error}",
        **{cost: report[cost] for cost in ("flops", "params")},
        "accuracy": report["accuracy"],
        "seconds": report["seconds"],
        "timings": [] if timed is None else timed["timings"],
        "environment": report["environment"],
    }


def progress(row: Row) -> str:
    """How far an unfinished run has come, by its events."""
    epochs = [event["epoch"] for event in row.run.read_events() if "epoch" in event]
    return f"epoch {epochs[-1]:.3g} of {row.recipe.finetune.epochs:g}" if epochs else "not begun"


def cells(found: dict[str, Any]) -> tuple[str, ...]:
    """A row of the Markdown table."""
    head = (found["recipe"], " ".join(found["state"].split()), f"{found['epochs']:g}")
    if "flops" not in found:
        return (*head, *[""] * (len(HEADS) - len(head)))
    times = {(each["batch"], each["model"]): each["median_ms"] for each in found["timings"]}
    pairs = [
        f"{ms:.3g} > {times[batch, 'slim']:.3g} (batch {batch})"
        for (batch, model), ms in times.items()
        if model == "dense"
    ]
    figures = (found["flops"]["sparsity"], found["params"]["sparsity"], found["accuracy"]["slim"])
    return (
        *head,
        *(f"{100 * figure:.2f}" for figure in figures),
        f"{found['seconds'] / 60:.1f}",
        "; ".join(pairs),
    )


if __name__ == "__main__":
    main()
