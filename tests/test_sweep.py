"""Sweeps: the rows that a file makes, every mistake before anything runs, and real rows stopped and
gone on with.
"""

import fcntl
import json
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import chdir, closing
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from main_job import PYTHON, slimmer, tree

from slimmer.atomic_files import read_json
from slimmer.errors import RecipeError, RunError
from slimmer.pipeline.parallel_runs import share, side_by_side
from slimmer.pipeline.sweep import sweep
from slimmer.recipe import Recipe, read_recipe
from slimmer.recipe.sweep import plan_rows, read_sweep
from slimmer.reports.comparison_table import to_csv
from slimmer.runs.directory import Run

ROOT = Path(__file__).parents[1]


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with a checkpoint that is a file, and a recipe beside the sweep."""
    monkeypatch.chdir(tmp_path)
    Path("net.pth").write_text("no weights")
    recipe = {"model": {"checkpoint": "net.pth"}, "budget": {"flops": 0.7}, "finetune": {"lr": 0.5}}
    Path("base.yaml").write_text(yaml.safe_dump(recipe))
    return tmp_path


def write(text="", **content):
    path = Path("s.yaml")
    path.write_text(text or yaml.safe_dump({"recipe": "base.yaml", **content}, sort_keys=False))
    return path


# The rows of a file


def test_a_grid_makes_every_combination_in_its_order(here):
    rows = plan_rows(write(grid={"budget.flops": [0.5, "30%"], "seed": [1, 0]}))
    assert list(rows) == [
        "flops=0.5,seed=1",
        "flops=0.5,seed=0",
        "flops=30%,seed=1",
        "flops=30%,seed=0",
    ]
    assert [(each.budget.flops, each.seed) for each in rows.values()] == [
        (0.5, 1),
        (0.5, 0),
        ("30%", 1),
        ("30%", 0),
    ]
    assert {each.finetune.lr for each in rows.values()} == {0.5}


def test_rows_are_combined_with_the_grid(here):
    rows = [{"finetune.lr": 0.1}, {"finetune.momentum": 0.8}]
    found = plan_rows(write(rows=rows, grid={"seed": [0, 1]}))
    assert list(found) == [
        "lr=0.1,seed=0",
        "lr=0.1,seed=1",
        "momentum=0.8,seed=0",
        "momentum=0.8,seed=1",
    ]
    only = plan_rows(write(rows=rows))
    assert only == {"lr=0.1": found["lr=0.1,seed=0"], "momentum=0.8": found["momentum=0.8,seed=0"]}


def test_the_papers_pairs_are_a_list_of_rows(here):
    text = """
version: 1
recipe: base.yaml
grid: {method.name: [maskconvnet]}
rows:
  - {method.lambda_m: [1], method.lambda_v: [3]}
  - {method.lambda_m: [10], method.lambda_v: [2]}
"""
    rows = plan_rows(write(text))
    assert list(rows) == [
        "lambda_m=1,lambda_v=3,method=maskconvnet",
        "lambda_m=10,lambda_v=2,method=maskconvnet",
    ]
    assert [each.method.lambda_v for each in rows.values()] == [(3,), (2,)]


def test_a_mapping_replaces_its_section_and_single_keys_are_laid_over_it(here):
    methods = [{"name": "taylor", "batches": 5}, {"name": "maskconvnet", "lambda_m": [3]}]
    rows = plan_rows(write(grid={"method": methods}), [("method.compensate", False)])
    assert list(rows) == ["method=taylor,method.batches=5", "method=maskconvnet,lambda_m=3"]
    taylor, masks = rows.values()
    assert (taylor.method.name, taylor.method.batches, taylor.method.compensate) == (
        "taylor",
        5,
        False,
    )
    assert (masks.method.name, masks.method.lambda_m, masks.method.compensate) == (
        "maskconvnet",
        (3,),
        False,
    )
    assert read_yaml("s.yaml")["grid"]["method"] == methods


def read_yaml(path):
    return yaml.safe_load(Path(path).read_text())


def test_the_command_line_is_laid_over_every_row(here):
    rows = plan_rows(write(grid={"seed": [0, 1]}), [("finetune.lr", 0.25), ("data.path", "digits")])
    assert {(each.finetune.lr, each.data.path) for each in rows.values()} == {(0.25, "digits")}


def test_recipes_can_be_a_part_of_the_grid_and_lie_beside_the_file(here):
    Path("deep").mkdir()
    Path("deep/other.yaml").write_text(
        "finetune: {lr: 0.125}\nmodel: {checkpoint: net.pth}\nbudget: {flops: 0.6}\n"
    )
    Path("deep/s.yaml").write_text("grid: {recipe: [../base.yaml, other.yaml], seed: [0]}\n")
    rows = plan_rows(Path("deep/s.yaml"))
    assert {name: each.finetune.lr for name, each in rows.items()} == {
        "recipe=base,seed=0": 0.5,
        "recipe=other,seed=0": 0.125,
    }


def test_names_are_safe_unique_and_stay_when_values_are_added(here):
    keep = [["layer1.*/x"], ["layer1.* x"], [f"layer{number}.conv" for number in range(60)]]
    names = list(plan_rows(write(grid={"model.keep": keep})))
    assert len(set(names)) == 3
    assert all(re.fullmatch(r"[\w.=,+%-]{1,160}", name) for name in names), names
    assert set(plan_rows(write(grid={"model.keep": keep[:1]}))) <= set(names)
    assert (
        list(plan_rows(write(rows=[{"finetune.warmup": 0.1}])))
        == list(
            plan_rows(
                write(
                    rows=[
                        {"finetune.warmup": 0.1},
                        {"method": {"name": "maskconvnet", "warmup": 0.5}},
                    ]
                )
            )
        )[:1]
    )


# Mistakes


def refused(*arguments):
    before = tree(".")
    result = slimmer("sweep", *arguments)
    assert result.exit_code == 2, result.output
    assert not result.stdout
    assert "Traceback" not in result.output
    assert tree(".") == before
    return result.stderr


def test_all_mistakes_of_all_rows_are_shown_at_once_each_once(here):
    grid = {"budget.flops": [0.5, "much"], "finetune.lrr": [1], "seed": [0, 1]}
    said = refused(write(grid=grid), "--set", "device=tpu")
    assert "3 errors in its rows" in said
    assert re.search(r"finetune\.lrr: is not known; did you mean 'lr'.*\(all 4 rows\)", said)
    assert re.search(r"device: .*tpu.*\(all 4 rows\)", said)
    assert re.search(
        r"budget\.flops: .*much.*\(flops=much,lrr=1,seed=0; flops=much,lrr=1,seed=1\)", said
    )


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("recipe: base.yaml\n", "the sweep has no rows: neither grid nor rows"),
        ("grid: {}\nrows: []\n", "the sweep has no rows: neither grid nor rows"),
        (
            "grid: {seed: [], budget.flops: [0.5]}\n",
            "the sweep has no rows: grid: seed has no values",
        ),
        ("gird: {seed: [0]}\n", "gird: is not known; did you mean 'grid'"),
        ("grid: {seed: 0}\n", "grid"),
        ("version: 2\ngrid: {seed: [0]}\n", "version"),
        ("grid: [\n", "is not valid YAML"),
        ("- 1\n", "contains a list"),
        ("recipe: nowhere.yaml\ngrid: {seed: [0, 1]}\n", "nowhere.yaml: can't be read"),
        ("recipe: base.yaml\ngrid: {seed: [0]}\nrows: [{seed: 1}]\n", "seed: in grid and in rows"),
        (
            "recipe: base.yaml\ngrid: {method: [{name: taylor}]}\nrows: [{method.name: l1}]\n",
            "method.name: in grid and in rows",
        ),
        ("recipe: base.yaml\ngrid: {seed: [1, 1]}\n", "the same recipe as row seed=1"),
        ("recipe: base.yaml\ngrid: {seed.x: [1]}\n", "seed"),
        ("recipe: base.yaml\ngrid: {budget.flops: [null]}\n", "budget: no budget given"),
        (
            "recipe: base.yaml\ngrid: {method: [{name: maskconvnet, lambda_m: [-3]}]}\n",
            "method.lambda_m.0",
        ),
        (
            "recipe: base.yaml\ngrid: {method: [{name: maskconvnet, lambda_v: [1, 2]}]}\n",
            "the number of budgets is 1",
        ),
        (
            "recipe: base.yaml\ngrid: {method: [{name: maskconvnet, warmup: 99}]}\n",
            "the masks never move",
        ),
        (
            "recipe: base.yaml\ngrid: {model.checkpoint: [away.pth]}\n",
            "model.checkpoint: away.pth is not a file",
        ),
        ("recipe: base.yaml\ngrid: {model: [{}]}\n", "model.checkpoint: no checkpoint given"),
    ],
)
def test_a_sweep_that_is_wrong_is_refused(here, text, part):
    assert part in refused(write(text))


def test_what_the_sweep_sets_the_command_line_can_not(here):
    path = write(grid={"seed": [0, 1]})
    assert "seed: on the command line and in the sweep" in refused(path, "--set", "seed=3")
    assert "nowhere.yaml: can't be read" in refused("nowhere.yaml")
    assert "--jobs" in refused(path, "--jobs", "0")


def test_places_that_hold_something_else_are_refused(here):
    path = write(grid={"seed": [0, 1]})
    Path("file").write_text("mine")
    assert "file: is a file" in refused(path, "--out", "file")
    Path("run").mkdir()
    Path("run/recipe.yaml").write_text("version: 1\n")
    assert "run: is a run" in refused(path, "--out", "run")
    Path("out/seed=1").mkdir(parents=True)
    Path("out/seed=1/precious.txt").write_text("mine")
    assert "seed=1: exists and is not a run" in refused(path, "--out", "out")


def test_a_second_sweep_in_the_same_place_is_refused(here):
    path = write(grid={"seed": [0]})
    Path("out").mkdir()
    with Path("out/.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(RunError, match="a sweep is already using this directory"):
            sweep(path, Path("out"))
    assert [path.name for path in Path("out").iterdir()] == [".lock"]


# Processes


def test_commands_run_side_by_side_and_no_more_than_that():
    code = (
        "import sys, time; print('a\\nb', file=sys.stderr, end=''); time.sleep(0.3); "
        "sys.exit(int(sys.argv[1]))"
    )
    commands = {str(code_): [sys.executable, "-c", code, str(code_)] for code_ in range(3)}
    running, most, said, codes = 0, 0, [], {}
    for each in side_by_side(commands, 2):
        running += (each.said is None and each.code is None) - (each.code is not None)
        most = max(most, running)
        said += [(each.name, each.said)] if each.said is not None else []
        codes |= {each.name: each.code} if each.code is not None else {}
    assert most == 2
    assert sorted(said) == [(name, text) for name in "012" for text in "ab"]
    assert codes == {"0": 0, "1": 1, "2": 2}


def test_closing_stops_what_runs_also_where_it_ignores_ctrl_c(monkeypatch):
    monkeypatch.setattr("slimmer.pipeline.parallel_runs.GRACE", 0.5)
    code = (
        "import os, signal, sys, time\n"
        "signal.signal(signal.SIGINT, signal.SIG_IGN if sys.argv[1] == 'deaf' else "
        "signal.default_int_handler)\n"
        "print(os.getpid(), file=sys.stderr, flush=True)\n"
        "time.sleep(60)\n"
    )
    pids = []
    commands = {name: [sys.executable, "-c", code, name] for name in ("deaf", "polite")}
    with closing(side_by_side(commands, 2)) as happenings:
        while len(pids) < 2:
            said = next(happenings).said
            pids += [int(said)] if said else []
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_closing_does_not_wait_for_what_a_command_started_and_left_running():
    code = (
        "import subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(20)'])\n"
        "print(child.pid, file=sys.stderr, flush=True)\n"
        "time.sleep(60)\n"
    )
    begun = time.monotonic()
    with closing(side_by_side({"one": [sys.executable, "-c", code]}, 1)) as happenings:
        next(happenings)
        left = int(next(happenings).said)
    assert time.monotonic() - begun < 15
    os.kill(left, signal.SIGKILL)  # it has the pipe open, and lived on


def test_the_machine_is_shared_among_the_jobs(monkeypatch):
    monkeypatch.setattr(
        "slimmer.pipeline.parallel_runs.os.sched_getaffinity", lambda _: range(8), raising=False
    )
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,6")
    assert share(0, 1) == {}
    assert [share(slot, 3) for slot in range(3)] == [
        {"OMP_NUM_THREADS": "2", "CUDA_VISIBLE_DEVICES": "4"},
        {"OMP_NUM_THREADS": "2", "CUDA_VISIBLE_DEVICES": "6"},
        {"OMP_NUM_THREADS": "2", "CUDA_VISIBLE_DEVICES": "4"},
    ]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert share(1, 2) == {"OMP_NUM_THREADS": "1"}


def test_a_row_that_was_begun_is_resumed_and_one_killed_at_its_beginning_starts_anew(
    here, monkeypatch
):
    path = write(grid={"seed": [0, 1, 2]})
    rows = plan_rows(path)
    for name, files in {
        "seed=0": ("recipe.yaml", "dense.json"),
        "seed=1": ("dense.json", ".dense.json.ab12_d34.part"),
    }.items():
        Path("out", name).mkdir(parents=True)
        for file in files:
            Path("out", name, file).write_text(rows[name].to_yaml())
    Path("out/seed=1/.lock").write_text("slimmer, process 4 on a machine\n")
    called = {}

    def stopped(commands, jobs, keep):
        called.update(commands)
        raise KeyboardInterrupt
        yield

    monkeypatch.setattr("slimmer.pipeline.sweep.side_by_side", stopped)
    events = []
    with pytest.raises(KeyboardInterrupt):
        sweep(path, Path("out"), observe=events.append)
    assert called["seed=0"][3:] == ["prune", "--resume", "out/seed=0"]
    assert called["seed=1"][3:] == [
        "prune",
        "--recipe",
        "out/rows/seed=1.yaml",
        "--out",
        "out/seed=1",
    ]
    assert list(called) == ["seed=0", "seed=1", "seed=2"]
    assert {name: read_recipe(Path(f"out/rows/{name}.yaml")) for name in ("seed=1", "seed=2")} == {
        name: rows[name] for name in ("seed=1", "seed=2")
    }
    assert [len(list(Path("out", name).iterdir())) for name in ("seed=0", "seed=1")] == [
        2,
        3,
    ]  # theirs to clear
    assert (events[0]["rows"], events[0]["finished"], events[0]["begun"]) == (3, 0, 1)


def test_rows_that_fail_are_noted_with_their_own_words_and_the_others_go_on(here, monkeypatch):
    endings = {
        "seed=0": (
            "print('dense: 1 FLOP\\nError: budget: below reach\\n  give more', file=sys.stderr); "
            "sys.exit(2)"
        ),
        "seed=1": "print('Traceback\\nZeroDivisionError: a bug', file=sys.stderr); sys.exit(1)",
        "seed=2": "os.kill(os.getpid(), 9)",
    }
    monkeypatch.setattr(
        "slimmer.pipeline.sweep._command",
        lambda row, _: [sys.executable, "-c", f"import os, sys; {endings[row.name]}"],
    )
    result = slimmer("sweep", write(grid={"seed": [0, 1, 2]}), "--out", "out", "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["failed"] == {
        "seed=0": "budget: below reach\n  give more",
        "seed=1": "ZeroDivisionError: a bug; see out/rows/seed=1.log",
        "seed=2": "killed by signal 9; see out/rows/seed=2.log",
    }
    assert "[3/3] seed=2: failed: killed by signal 9" in result.stderr
    assert Path("out/rows/seed=1.log").read_text() == "Traceback\nZeroDivisionError: a bug\n"
    assert "- failed: seed=0: budget: below reach give more" in Path("out/compare.md").read_text()


def test_ctrl_c_stops_the_rows_and_says_how_to_go_on(here):
    """The rows sleep, each after it has told its process; where tests run in the background, Ctrl-C
    is ignored.
    """
    row = "import os, sys, time; print(os.getpid(), file=sys.stderr, flush=True); time.sleep(60)"
    code = f"""
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from slimmer import cli
from slimmer.pipeline import sweep
sweep._command = lambda *_: [sys.executable, "-c", {row!r}]
cli.main(sys.argv[1:])
"""
    command = [
        sys.executable,
        "-c",
        code,
        "sweep",
        write(grid={"seed": [0, 1, 2]}),
        "--out",
        "out",
        "--jobs",
        "2",
    ]
    process = subprocess.Popen(command, env=PYTHON, stderr=subprocess.PIPE, text=True)
    started = [process.stderr.readline() for _ in range(3)]
    time.sleep(1)  # until the rows sleep
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert [line.endswith(": started\n") for line in started] == [False, True, True]
    assert process.returncode == 130
    assert said.splitlines()[-1].startswith("stopped; to resume, repeat the command")
    assert "Traceback" not in said
    assert not Path("out/.lock").exists()
    for line in started[1:]:
        assert line


# A real sweep: one row finished before, one to do


QUICK = {
    "finetune": {"epochs": 0.2, "batch_size": 72, "recalibrate": 2},
    "method": {"name": "taylor", "batches": 2},
}
FLOPS = [0.6, 0.5]


@dataclass(frozen=True)
class Swept:
    """Where it worked, what the command gave, and what stood there before."""

    folder: Path
    result: object
    before: dict


@pytest.fixture(scope="module")
def swept(checkpoint, tmp_path_factory):
    folder = tmp_path_factory.mktemp("sweep")
    with chdir(folder):
        recipe = {**QUICK, "model": {"checkpoint": str(checkpoint)}, "data": {"name": "digits"}}
        Path("base.yaml").write_text(yaml.safe_dump(recipe))
        Path("s.yaml").write_text(
            yaml.safe_dump({"recipe": "base.yaml", "grid": {"budget.flops": FLOPS}})
        )
        done = slimmer(
            "prune",
            "--recipe",
            "base.yaml",
            "--flops",
            "0.6",
            "--set",
            "budget.flops=0.6",
            "--out",
            "o/flops=0.6",
        )
        assert done.exit_code == 0, done.output
        before = tree("o/flops=0.6")
        result = slimmer("sweep", "s.yaml", "--out", "o", "--json", "--jobs", "2")
    return Swept(folder, result, before)


def test_a_finished_row_is_kept_and_the_others_are_run(swept):
    said = swept.result.stderr
    assert swept.result.exit_code == 0
    assert "2 runs in o: 1 finished, 0 to resume, 2 in parallel" in said
    assert "[2/2] flops=0.5: started" in said
    assert "[1/2]" not in said
    with chdir(swept.folder):
        assert tree("o/flops=0.6") == swept.before
        report = Run(Path("o/flops=0.5")).read_report()
    assert report["flops"]["limit_ratio"] == 0.5
    assert report["flops"]["ratio"] <= 0.5


def test_the_comparison_holds_the_rows_in_their_order(swept):
    found = json.loads(swept.result.stdout)
    [comparison] = found["comparisons"]
    assert [row["flops"]["budget"] for row in comparison["rows"]] == [0.6, 0.5]
    for row, flops in zip(comparison["rows"], FLOPS, strict=True):
        report = Run(swept.folder / f"o/flops={flops}").read_report()
        assert row["accuracy"]["slim"]["mean"] == report["accuracy"]["slim"]
    assert read_json(swept.folder / "o/compare.json") == [comparison]
    assert (swept.folder / "o/compare.csv").read_text() == to_csv([comparison])
    assert (swept.folder / "o/compare.png").is_file()


def test_a_finished_sweep_does_nothing_again_and_another_recipe_is_refused(swept, monkeypatch):
    monkeypatch.chdir(swept.folder)
    Path("t.yaml").write_text(
        yaml.safe_dump({"recipe": "base.yaml", "grid": {"budget.flops": FLOPS}})
    )
    reports = {path: path.read_bytes() for path in Path("o").rglob("report.json")}
    again = slimmer("sweep", "t.yaml", "--out", "o", width=80)
    assert again.exit_code == 0, again.output
    assert "2 finished, 0 to resume" in again.stderr
    assert "started" not in again.stderr
    assert again.stdout.splitlines()[-2] == "comparison: o/compare.md"
    assert again.stdout.splitlines()[-1].startswith("next: slimmer profile o/")
    assert {path: path.read_bytes() for path in Path("o").rglob("report.json")} == reports
    said = refused("t.yaml", "--out", "o", "--set", "finetune.epochs=0.3")
    assert "2 rows of another sweep" in said
    assert "flops=0.5: finetune.epochs is 0.2 there, 0.3 here" in said


# The guide


def test_the_guides_example_is_a_sweep(tmp_path):
    text = (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8")
    [example] = [
        block for block in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL) if "grid:" in block
    ]
    (tmp_path / "s.yaml").write_text(example)
    found = read_sweep(tmp_path / "s.yaml")
    assert (ROOT / "docs" / found.recipe).is_file()
    known = set(Recipe.model_fields)
    assert {key.split(".")[0] for key in found.grid} <= known
    with pytest.raises(RecipeError, match="can't be read"):
        plan_rows(tmp_path / "s.yaml")


SWEEPS = [
    file
    for file in (ROOT / "benchmarks").rglob("*.yaml")
    if "\nrecipe:" in file.read_text(encoding="utf-8")
]


@pytest.mark.parametrize("file", SWEEPS, ids=lambda file: file.stem)
def test_the_sweeps_of_the_benchmarks_have_rows_that_can_run(file, here):
    scratch = read_recipe(file.parent / read_sweep(file).recipe).model.scratch
    given = [] if scratch else [("model.checkpoint", str(here / "net.pth"))]
    assert len(plan_rows(file, given)) >= 6
