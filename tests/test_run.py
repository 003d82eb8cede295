"""Where a run lives: no directory is taken twice, and what is no run, or not finished, is
refused.
"""

import json
from pathlib import Path

import pytest

from slimmer.atomic_files import write_json
from slimmer.errors import RunError
from slimmer.recipe import read_recipe
from slimmer.runs.directory import LATEST, Run
from slimmer.runs.event_log import worked
from slimmer.runs.new_run import all_or_nothing, new_run
from slimmer.runs.open_run import mark_latest, open_run


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """Every test works in a folder of its own."""
    monkeypatch.chdir(tmp_path)


def made(name, *, finished=True):
    """A run's directory with its recipe, and with a report where it is finished."""
    run = Run(Path(name))
    run.path.mkdir(parents=True)
    run.recipe_file.write_text("seed: 5\n")
    if finished:
        write_json(run.report, {"format": 1})
    return run


def place(out, arch):
    """Where a new run is, once it has ended without a word."""
    with new_run(out, arch) as (run, _claim):
        return run.path


def refused(action, *arguments, **options):
    with pytest.raises(RunError) as error:
        action(*arguments, **options)
    return error.value


# A new one


def test_runs_of_an_architecture_are_numbered_from_one():
    found = []
    for _ in range(3):
        with new_run(None, "cifar_resnet8") as (run, _claim):
            run.recipe_file.write_text("seed: 5\n")
        found.append(str(run.path))
    assert found == ["runs/cifar_resnet8-1", "runs/cifar_resnet8-2", "runs/cifar_resnet8-3"]
    assert place(None, "cifar_resnet14") == Path("runs/cifar_resnet14-1")


def test_whatever_is_there_is_passed_over_and_what_is_empty_is_taken():
    made("runs/net-1", finished=False)
    Path("runs/net-2").write_text("a file")
    Path("runs/net-3").mkdir()
    assert place(None, "net") == Path("runs/net-3")
    (Path("runs/net-3") / ".hidden").touch()
    assert place(None, "net") == Path("runs/net-4")


@pytest.mark.parametrize(
    ("arch", "stem"),
    [
        ("", "module"),
        ("timm/resnet18", "resnet18"),
        ("nets/my_net.py:factory", "my_net"),
        ("../../up.py:net", "up"),
    ],
)
def test_any_architecture_gives_one_directory_below_runs(arch, stem):
    path = place(None, arch)
    assert path.parent == Path("runs")
    assert path.name.startswith(stem)
    assert path.name.endswith("-1")
    assert ":" not in path.name


def test_a_directory_that_is_named_is_taken_where_it_is_free():
    Path("empty").mkdir()
    assert place(Path("empty"), "net") == Path("empty")
    assert list(Path("empty").iterdir()) == []
    assert place(Path("a/b"), "net") == Path("a/b")


def test_a_directory_that_holds_something_is_refused_with_what_to_do():
    made("mine")
    error = refused(place, Path("mine"), "net")
    assert (error.where, error.found) == ("mine", "is already a run")
    assert "slimmer prune --resume mine" in error.right
    Path("other").mkdir()
    Path("other/file").touch()
    Path("file").touch()
    for name in ("other", "file"):
        error = refused(place, Path(name), "net")
        assert (error.where, error.found, error.right) == (
            name,
            "exists and is not empty",
            "choose another --out",
        )


# The latest one


def test_the_latest_run_is_the_one_last_marked_from_wherever(tmp_path, monkeypatch):
    first, second = made("runs/net-1"), made("elsewhere")
    mark_latest(first)
    assert open_run(None).path == first.path.resolve()
    mark_latest(second)
    assert open_run(None).path == second.path.resolve()
    assert open_run(Path("runs/net-1")) == first
    monkeypatch.chdir("elsewhere")
    assert refused(open_run, None).found == "there is no run here yet"


def test_there_is_no_run_yet():
    error = refused(open_run, None)
    assert (error.where, error.found) == ("runs", "there is no run here yet")
    assert "slimmer prune" in error.right


def test_the_latest_run_has_gone():
    run = made("runs/net-1")
    mark_latest(run)
    place = run.path.resolve()
    for file in run.path.iterdir():
        file.unlink()
    error = refused(open_run, None)
    assert (error.where, error.found) == (str(place), "is not a run: it has no recipe.yaml")
    run.path.rmdir()
    error = refused(open_run, None)
    assert (error.where, error.found) == (str(place), "does not exist")
    assert LATEST.is_file()


# One that is there


def test_what_is_no_run_is_refused():
    assert refused(open_run, Path("nothing")).found == "does not exist"
    Path("folder/recipe.yaml").mkdir(parents=True)
    assert refused(open_run, Path("folder")).found == "is not a run: it has no recipe.yaml"
    Path("file").touch()
    assert refused(open_run, Path("file")).found == "is not a run: it has no recipe.yaml"


def test_a_run_that_is_not_finished_opens_only_to_go_on():
    run = made("mine", finished=False)
    error = refused(open_run, run.path)
    assert error.found == "is not finished"
    assert error.right == "resume it with `slimmer prune --resume mine`"
    assert open_run(run.path, finished=False) == run


def test_the_recipe_and_the_report_are_those_of_the_files():
    run = made("mine")
    assert run.recipe() == read_recipe(None, [("seed", 5)])
    with pytest.raises(RunError, match=r"report\.json: is damaged: slimmer: Field required"):
        run.read_report()


@pytest.mark.parametrize("content", [None, "", "{", "3", "[]", "[[1, 2]]", "null", "\xff"])
def test_a_damaged_report_is_refused_with_what_makes_it_anew(content):
    run = made("mine", finished=False)
    if content is not None:
        run.report.write_text(content, encoding="latin-1")
    error = refused(run.read_report)
    assert error.where == "mine/report.json"
    assert "can't be read" in error.found or "is damaged: it is not an object" in error.found
    assert "slimmer prune --resume mine" in error.right


def test_events_are_lines_that_are_added():
    run = made("mine")
    events = [
        {"event": "begun"},
        {"event": "epoch", "accuracy": 0.5},
        {"event": "done", "text": "two\nlines"},
    ]
    for event in events:
        run.record(event)
    assert [json.loads(line) for line in run.events.read_text().splitlines()] == events


def test_every_file_of_a_run_lies_in_it_under_a_name_of_its_own():
    run = Run(Path("mine"))
    names = [name for name in vars(Run) if isinstance(vars(Run)[name], property)]
    files = [getattr(run, name) for name in names] + [run.onnx("dense"), run.onnx("slim")]
    assert len(names) > 8
    assert len(set(files)) == len(files)
    assert {file.parent for file in files} == {run.path}


@pytest.mark.parametrize("error", [None, OSError, KeyboardInterrupt])
def test_a_run_that_fails_to_begin_leaves_no_run(error):
    run = Run(Path("mine"))
    run.path.mkdir()

    def begin():
        with all_or_nothing(run):
            for file in (run.dense, run.measured, run.recipe_file):
                file.touch()
            if error is not None:
                raise error

    if error is None:
        begin()
        assert len(list(run.path.iterdir())) == 3
    else:
        with pytest.raises(error):
            begin()
        assert list(run.path.iterdir()) == []


def test_seconds_add_up_over_all_parts_of_a_run():
    assert worked([]) == 0
    parts = [
        ("begun", 0.5),
        ("step", 3.0),
        ("resumed", 0.2),
        ("step", 4.0),
        ("resumed", 5.0),
        ("step", 5.5),
    ]
    assert worked([{"event": kind, "time": at} for kind, at in parts]) == pytest.approx(3 + 4 + 5.5)
