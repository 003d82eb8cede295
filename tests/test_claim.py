"""One process at a time works in a run's directory, and a dead one holds nothing."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from main_job import PYTHON, slimmer, tree

from slimmer.errors import RunError
from slimmer.pipeline.stages import start
from slimmer.recipe import read_recipe
from slimmer.runs.claim import claimed
from slimmer.runs.directory import Run
from slimmer.runs.new_run import half_written, is_beginning, new_run, old_run
from slimmer.runs.open_run import mark_latest, open_run

ROOT = Path(__file__).parents[1]
HOLD = """
import sys
from pathlib import Path
from slimmer.runs.claim import claimed
with claimed(Path(sys.argv[1]), "a run"):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """Every test works in a folder of its own."""
    monkeypatch.chdir(tmp_path)


def holder(folder):
    """A process that has a folder claimed."""
    command = [sys.executable, "-c", HOLD, folder]
    process = subprocess.Popen(
        command, env=PYTHON, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    return process


FORKED = HOLD.replace(
    "    sys.stdin.read()",
    """    import multiprocessing, os, time
    def work():
        print(os.getpid(), flush=True)
        time.sleep(30)
    multiprocessing.get_context("fork").Process(target=work).start()
    sys.stdin.read()""",
)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_worker_that_outlives_its_killed_process_holds_nothing():
    command = [sys.executable, "-W", "ignore", "-c", FORKED, "run"]
    with subprocess.Popen(
        command, env=PYTHON, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "held\n"
        worker = int(process.stdout.readline())
        process.send_signal(signal.SIGKILL)
        process.wait()
    try:
        os.kill(worker, 0)  # it is alive
        with claimed(Path("run"), "a run"):
            pass
    finally:
        os.kill(worker, signal.SIGKILL)


def test_a_second_process_is_refused_until_the_first_ends_however_it_ends():
    for end in (signal.SIGTERM, signal.SIGKILL):
        with holder("run") as process:
            with (
                pytest.raises(
                    RunError, match=f"a run is already using this directory .process {process.pid}"
                ),
                new_run(Path("run"), ""),
            ):
                pass
            process.send_signal(end)
        assert Path("run/.lock").exists()  # dead, and so no claim
        assert is_beginning(Path("run"))
        with new_run(Path("run"), "") as (run, _):
            assert [file.name for file in run.path.iterdir()] == [".lock"]
        assert not Path("run/.lock").exists()


def test_a_claim_is_an_flock_on_the_file_which_other_programs_see():
    flock = pytest.importorskip("fcntl").flock
    exclusive = 2 | 4  # LOCK_EX | LOCK_NB, the same numbers on every POSIX system
    with claimed(Path("run"), "a run"):
        with Path("run/.lock").open("rb") as file, pytest.raises(BlockingIOError):
            flock(file, exclusive)
        assert Path("run/.lock").read_text().split()[:3] == [
            "slimmer,",
            "process",
            str(os.getpid()),
        ]
    assert not Path("run/.lock").exists()


def test_where_python_has_no_fcntl_locks_and_commands_can_be_imported():
    """As on Windows, where filelock locks by LockFileEx."""
    code = (
        "import sys; sys.modules['fcntl'] = None\n"
        "import slimmer.cli, slimmer.runs.claim as claim\n"
        "print(claim.NAME)"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], env=PYTHON, capture_output=True, text=True, check=False
    )
    assert (found.stdout, found.returncode) == (".lock\n", 0), found.stderr


def test_no_module_imports_what_only_posix_has():
    only_posix = re.compile(
        r"^(?:import|from) (fcntl|grp|pty|pwd|resource|selectors|termios)\b", re.MULTILINE
    )
    for path in (ROOT / "slimmer").rglob("*.py"):
        assert not only_posix.search(path.read_text()), path


def test_two_in_one_process_do_not_share_a_directory_either():
    with new_run(None, "net") as (first, _), new_run(None, "net") as (second, _):
        assert [first.path.name, second.path.name] == ["net-1", "net-2"]
        with pytest.raises(RunError, match="already using this directory"), old_run(first):
            pass
    assert sorted(tree("runs")) == [Path("runs/net-1"), Path("runs/net-2")]  # no lock is left


def test_what_was_made_for_a_claim_that_fails_goes_and_what_was_there_stays():
    Path("mine").mkdir()

    def fail():
        with claimed(Path("mine/a/b"), "a run"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert tree(".") == {Path("mine"): None}


def test_a_directory_of_the_users_own_is_never_taken_for_a_killed_beginning():
    Path("mine").mkdir()
    Path("mine/dense.safetensors").write_text("precious")
    Path("mine/.lock").write_text("of another program")
    before = tree(".")
    with pytest.raises(RunError, match="exists and is not empty"), new_run(Path("mine"), ""):
        pass
    assert tree(".") == before


def test_a_link_that_leads_nowhere_is_refused():
    Path("link").symlink_to("nowhere")
    with pytest.raises(RunError, match="is a broken symbolic link"), new_run(Path("link"), ""):
        pass
    assert Path("link").readlink() == Path("nowhere")


@pytest.mark.parametrize("again", [False, True])
def test_a_directory_that_goes_while_it_is_worked_in_is_an_error(again):
    def remove():
        with claimed(Path("run"), "a run"):
            shutil.rmtree("run")
            if again:  # somebody else's, by now
                Path("run").mkdir()
                Path("run/.lock").write_text("theirs")

    with pytest.raises(RunError, match="was removed"):
        remove()
    assert not again or Path("run/.lock").read_text() == "theirs"


def test_only_what_slimmer_had_half_written_goes_when_a_run_goes_on():
    run = Run(Path("run"))
    (run.path / "figures").mkdir(parents=True)
    own = [
        ".plan.json.ab12_d34.part",
        ".state.safetensors.abcdefgh.part",
        "figures/.masks.png.abcdefgh.part",
    ]
    others = [
        "mine.part",
        ".notes.txt.abcdefgh.part",
        ".plan.json.part",
        "figures/.masks.svg.abcdefgh.part",
    ]
    for name in (*own, *others):
        (run.path / name).write_text("half")
    assert sorted(str(file.relative_to(run.path)) for file in half_written(run)) == sorted(own)
    with old_run(run):
        assert not half_written(run)
    assert all((run.path / name).exists() for name in others)


def test_a_killed_mark_of_the_latest_run_goes_later():
    Path("runs").mkdir()
    old, new = Path("runs/.latest.abcdefgh.part"), Path("runs/.latest.bcdefghi.part")
    for file in (old, new):
        file.touch()
    os.utime(old, (time.time() - 3600,) * 2)
    mark_latest(Run(Path("runs/net-1")))
    assert (old.exists(), new.exists()) == (False, True)


# Whole runs


def begun(checkpoint, *arguments):
    command = [
        sys.executable,
        "-m",
        "slimmer",
        "prune",
        checkpoint,
        "--data",
        "digits",
        "--epochs",
        "2",
        *arguments,
    ]
    return subprocess.Popen(
        command, env=PYTHON, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )


def test_two_runs_started_together_are_two_runs(checkpoint):
    processes = [begun(checkpoint, "--flops", share) for share in ("0.5", "0.3")]
    said = [process.communicate(timeout=120)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    budgets = {
        run.recipe().budget.flops: run.read_report()["flops"]["ratio"]
        for run in map(Run, Path("runs").glob("c*"))
    }
    assert sorted(budgets) == ["0.3", "0.5"]
    assert all(float(budget) - 0.005 < ratio <= float(budget) for budget, ratio in budgets.items())
    assert not list(Path("runs").rglob(".*"))


def test_the_second_with_one_out_is_refused_and_the_first_is_whole(checkpoint):
    first = begun(checkpoint, "--flops", "0.5", "--out", "one")
    until = time.monotonic() + 60
    while not Path("one/.lock").exists() and time.monotonic() < until:
        time.sleep(0.02)
    second = slimmer("prune", checkpoint, "--flops", "0.3", "--out", "one")
    said = first.communicate(timeout=120)[1]
    assert second.exit_code == 2
    assert (
        second.stderr.count("Error: one: a run is already using this directory")
        + second.stderr.count("is a run")
        >= 1
    )
    assert first.returncode == 0, said
    assert Run(Path("one")).read_report()["flops"]["limit_ratio"] == 0.5


def test_a_run_whose_directory_is_removed_ends_with_an_error(checkpoint):
    def remove(event):
        if event["event"] == "removed":
            shutil.rmtree("run")

    settings = [
        ("model.checkpoint", str(checkpoint)),
        ("budget.flops", 0.5),
        ("finetune.epochs", 0.2),
    ]
    recipe = read_recipe(None, [*settings, ("data.name", "digits")])
    with pytest.raises(RunError, match="run: was removed"):
        start(recipe, Path("run"), remove)


def test_a_run_killed_before_it_was_one_is_begun_by_the_same_command(checkpoint):
    Path("run").mkdir()
    for name, text in {
        ".lock": "slimmer, process 1 on x\n",
        "dense.safetensors": "cut",
        ".dense.json.abcdefgh.part": "",
    }.items():
        Path("run", name).write_text(text)
    with pytest.raises(RunError, match="repeat the command that started it"):
        open_run(Path("run"), finished=False)
    done = slimmer(
        "prune",
        checkpoint,
        "--flops",
        "0.5",
        "--epochs",
        "0",
        "--set",
        "model.input_size=[1,16,16]",
        "--out",
        "run",
    )
    assert done.exit_code == 0, done.output
    assert not list(Path("run").glob(".*"))


def test_sigterm_to_a_sweep_ends_its_children(checkpoint):
    """Started behind a shell, where Ctrl-C is ignored by what it starts."""
    Path("s.yaml").write_text("grid: {seed: [0, 1]}\n")
    settings = ["--set", "budget.flops=0.5", "--set", "finetune.epochs=2000"]
    command = [
        sys.executable,
        "-m",
        "slimmer",
        "sweep",
        "s.yaml",
        checkpoint,
        "--data",
        "digits",
        "--out",
        "o",
        *settings,
    ]
    process = subprocess.Popen(
        command,
        env=PYTHON,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),  # noqa: PLW1509 - no other thread runs
    )
    until = time.monotonic() + 100
    while not Path("o/seed=0/events.jsonl").exists() and time.monotonic() < until:
        time.sleep(0.1)
    row = int(Path("o/seed=0/.lock").read_text().split()[2])
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 143, said
    assert said.splitlines()[-1].startswith("stopped; to resume, repeat the command")
    assert "Traceback" not in said
    with pytest.raises(ProcessLookupError):
        os.kill(row, 0)
    assert not Path("o/.lock").exists()
    assert not Path("o/seed=0/.lock").exists()  # it ended by itself, and was not killed
