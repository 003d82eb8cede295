"""The tables' script at toy size: one row a recipe, in pieces that end in what one piece gives."""

import importlib.util
import json
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import run_samples
import torch
from click.testing import CliRunner

from slimmer.atomic_files import write_json
from slimmer.models.checkpoint import read_weights
from slimmer.recipe import read_recipe

FILE = Path(__file__).parents[1] / "benchmarks" / "paper_tables.py"
TOY = {
    "device": "cpu",
    "data.name": "digits",
    "data.augment": "crop",
    "data.size": 8,
    "model.arch": "cifar_resnet8",
    "finetune.batch_size": 128,
    "finetune.save_every": 0.001,
    "finetune.recalibrate": 2,
}
NEVER = float("inf")


@pytest.fixture(scope="module")
def tables():
    """The script as a module."""
    spec = importlib.util.spec_from_file_location("paper_tables", FILE)
    module = sys.modules["paper_tables"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    benchmark = torch.backends.cudnn.benchmark
    yield module
    torch.backends.cudnn.benchmark = benchmark
    del sys.modules["paper_tables"]


def rows_of(tables, out, table="1", epochs=2.0):
    return {row.name: row for row in tables.find_rows(table, out, list(TOY.items()), epochs)}


def call(tables, out, *arguments):
    """What the script does for table 1 at toy size."""
    settings = [
        part
        for key, value in TOY.items()
        if key != "data.name"
        for part in ("--set", f"{key}={value}")
    ]
    common = ["--table", "1", "--data", "digits", "--device", "cpu", "--out", str(out), *settings]
    return CliRunner().invoke(tables.main, [*common, *arguments])


def described(out):
    """The rows of table 1 by their names."""
    return {row["recipe"]: row for row in json.loads((out / "table1.json").read_text())["rows"]}


def test_every_table_has_its_rows(tables, tmp_path):
    found = {table: list(rows_of(tables, tmp_path, table)) for table in ("1", "2", "4")}
    assert {table: len(rows) for table, rows in found.items()} == {"1": 36, "2": 3, "4": 4}
    names = {
        table: [row.name for row in tables.find_rows(table, tmp_path, [], None)]
        for table in ("5", "6")
    }
    assert {table: len(rows) for table, rows in names.items()} == {"5": 10, "6": 8}


def test_what_prunes_a_trained_network_starts_from_its_dense_row_which_comes_first(
    tables, tmp_path
):
    rows = rows_of(tables, tmp_path)
    later = [name for name, row in rows.items() if row.needs is not None]
    assert len(later) == 16
    for name in later:
        dense = rows[name].needs
        assert dense.name == f"{name.split('_')[0]}_dense"
        assert rows[name].recipe.model.checkpoint == str(dense.run.slim)
        assert list(rows).index(dense.name) < list(rows).index(name)
    assert [row.name for row in tables.choose(list(rows.values()), "vgg16_l1_*")] == [
        "vgg16_dense",
        "vgg16_l1_f",
        "vgg16_l1_p",
    ]


def test_fewer_epochs_shrink_all_rows_and_their_warm_up_alike(tables, tmp_path):
    full = {row.name: row.recipe for row in tables.find_rows("1", tmp_path, [], None)}
    for name, row in rows_of(tables, tmp_path, epochs=16.0).items():
        assert row.recipe.finetune.epochs == pytest.approx(full[name].finetune.epochs / 10)
        if row.recipe.method.name == "maskconvnet":
            assert row.recipe.method.warmup == pytest.approx(full[name].method.warmup / 10)


@pytest.mark.slow
def test_a_row_trained_in_pieces_ends_as_one_trained_at_once(tables, tmp_path, monkeypatch):
    whole = rows_of(tables, tmp_path / "whole")["vgg16_maskconvnet_f"]
    pieces = rows_of(tables, tmp_path / "pieces")["vgg16_maskconvnet_f"]
    tables.bring_to_end(whole, NEVER)
    ticks = iter(range(10**6))
    monkeypatch.setattr(tables, "time", SimpleNamespace(time=lambda: next(ticks)))
    stopped = []
    while not pieces.finished:
        try:
            tables.bring_to_end(pieces, next(ticks) + 11)
        except tables.TimeIsUpError:
            stopped.append(tables.progress(pieces))
    assert len(stopped) > 1
    assert stopped[-1].startswith("epoch ")
    assert pieces.run.plan.read_bytes() == whole.run.plan.read_bytes()
    ours, theirs = read_weights(pieces.run.slim), read_weights(whole.run.slim)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


@pytest.mark.parametrize(
    ("now", "saved", "stops"),
    [
        (960, None, False),
        (980, None, False),
        (980, 960, False),
        (980, 975, True),
        (1000, None, True),
    ],
)
def test_a_piece_ends_at_its_deadline_or_shortly_before_when_a_state_was_saved(
    tables, tmp_path, monkeypatch, now, saved, stops
):
    row = rows_of(tables, tmp_path)["vgg16_dense"]
    finetune = row.recipe.finetune.model_copy(update={"save_every": 30.0})
    row = tables.replace(row, recipe=row.recipe.model_copy(update={"finetune": finetune}))
    if saved is not None:
        row.run.path.mkdir(parents=True)
        row.run.state.touch()
        os.utime(row.run.state, (saved, saved))
    monkeypatch.setattr(tables, "time", SimpleNamespace(time=lambda: now))
    watch = tables.watching(row, 1000)
    watch({"event": "done"})
    if stops:
        with pytest.raises(tables.TimeIsUpError):
            watch({"event": "step"})
    else:
        assert watch({"event": "step"}) is None


def test_the_table_holds_what_is_finished_and_what_is_not(tables, tmp_path):
    short = ("--only", "vgg16_[dl]*[ef]", "--epochs", "2")
    before = call(tables, tmp_path, *short, "--minutes", "0.00001")
    assert before.exit_code == 1, before.output
    assert {row["state"] for row in described(tmp_path).values()} == {"not begun"}

    done = call(tables, tmp_path, *short)
    assert done.exit_code == 0, done.output
    rows = described(tmp_path)
    assert list(rows) == ["vgg16_dense", "vgg16_l1_f"]
    assert {row["state"] for row in rows.values()} == {"finished"}
    assert rows["vgg16_dense"]["flops"]["sparsity"] == 0
    assert rows["vgg16_l1_f"]["flops"]["sparsity"] >= 0.5
    assert rows["vgg16_l1_f"]["accuracy"]["dense"] == rows["vgg16_dense"]["accuracy"]["slim"]
    lines = (tmp_path / "table1.md").read_text().splitlines()
    assert [line.split(" | ")[0] for line in lines[-2:]] == ["| vgg16_dense", "| vgg16_l1_f"]
    assert f"{100 * rows['vgg16_l1_f']['accuracy']['slim']:.2f}" in lines[-1]

    reports = {name: (tmp_path / "table1" / name / "report.json").read_bytes() for name in rows}
    again = call(tables, tmp_path, *short)
    assert (again.exit_code, "epoch" in again.output) == (0, False)
    assert reports == {
        name: (tmp_path / "table1" / name / "report.json").read_bytes() for name in rows
    }


def test_a_row_that_fails_is_noted_and_the_others_go_on(tables, tmp_path):
    row = rows_of(tables, tmp_path / "table1", epochs=1.0)["vgg16_dense"]
    row.run.path.mkdir(parents=True)
    row.run.recipe_file.write_text(read_recipe(None).to_yaml())  # of another run
    found = call(tables, tmp_path, "--only", "vgg16_[dn]*[ef]", "--epochs", "1")
    assert found.exit_code == 2, found.output
    rows = described(tmp_path)
    assert "was begun with another recipe" in rows["vgg16_dense"]["state"]
    assert rows["vgg16_network_slimming_f"]["state"] == "finished"


def test_a_row_waits_for_the_network_that_it_starts_from(tables, tmp_path):
    row = rows_of(tables, tmp_path)["vgg16_bar_p"]
    with pytest.raises(tables.RunError, match="vgg16_dense is not finished"):
        tables.bring_to_end(row, NEVER)


def test_the_finished_masked_runs_of_table_6_are_timed_while_there_is_time(
    tables, tmp_path, monkeypatch
):
    rows = [rows_of(tables, tmp_path)[name] for name in ("vgg16_dense", "vgg16_maskconvnet_f")]
    for row in rows:
        row.run.path.mkdir()
        write_json(row.run.report, run_samples.report())

    def profile(run, *, provider):
        times = [
            run_samples.timing(ms, model=name) for name, ms in (("dense", 22.4), ("slim", 12.9))
        ]
        write_json(run.profile, run_samples.profile(times, [], provider))

    monkeypatch.setattr(tables, "find_rows", lambda *_: rows)
    monkeypatch.setattr(tables, "profile_run", profile)
    asked = ["--table", "6", "--data", "digits", "--out", str(tmp_path)]
    assert (
        CliRunner().invoke(tables.main, [*asked, "--minutes", "1"]).exit_code == 1
    )  # too short to begin
    assert CliRunner().invoke(tables.main, asked).exit_code == 0
    assert [row.run.profile.is_file() for row in rows] == [False, True]
    title, *_, dense, slim = (tmp_path / "table6.md").read_text().splitlines()
    assert title == "# Table 6 of the MaskConvNet paper"
    assert "22.4 > 12.9 (batch 1)" in slim
    assert ">" not in dense


@pytest.mark.parametrize("arguments", [("--set", "finetune.lr=0"), ("--set", "finetune.speed=1")])
def test_settings_that_can_not_be_are_refused_before_anything_is_written(
    tables, tmp_path, arguments
):
    found = call(tables, tmp_path, *arguments)
    assert found.exit_code == 2
    assert arguments[1].split("=")[0] in found.output
    assert not list(tmp_path.iterdir())
