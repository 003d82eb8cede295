"""Runs, recipes and metadata that are damaged in hundreds of ways: one message each, and nothing
left behind.
"""

import json
import os
import random
import shutil
from pathlib import Path

import pytest
import torch
from main_job import slimmer, tree
from safetensors import safe_open
from safetensors.torch import load_file, save

from slimmer.errors import SlimmerError
from slimmer.models.checkpoint import save_weights
from slimmer.models.checksum import CHECKSUM, sealed
from slimmer.pipeline.export_listing import earlier, tell_report
from slimmer.pipeline.stages import resume, start
from slimmer.pruning.plan import Plan, read_plan
from slimmer.pruning.slim_file import load_network
from slimmer.recipe import parse_setting, read_recipe
from slimmer.recipe.sweep import plan_rows
from slimmer.reports.finished_runs import read_entry
from slimmer.runs.directory import LATEST, Run
from slimmer.runs.open_run import open_run
from slimmer.runs.schemas import ExportFile, ProfileFile, ReportFile, check

VALUES = (
    None,
    True,
    -1,
    0,
    1e308,
    float("nan"),
    float("inf"),
    "",
    "abc",
    "\0",
    [],
    {},
    [[]],
    {"a": {}},
    10**400,
    "x" * 9999,
)


@pytest.fixture(scope="module")
def finished(checkpoint, tmp_path_factory):
    """A finished run with an export and a profile, and one that was stopped while its slim network
    trained.
    """
    folder = tmp_path_factory.mktemp("runs")
    settings = [
        ("model.checkpoint", str(checkpoint)),
        ("budget.flops", 0.5),
        ("data.name", "digits"),
    ]
    quick = [
        ("finetune.epochs", 0.4),
        ("method.batches", 1),
        ("finetune.recalibrate", 1),
        ("method.name", "taylor"),
    ]
    recipe = read_recipe(None, [*settings, *quick])

    def stop(event):
        if event["event"] == "removed":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        start(recipe, folder / "stopped", stop, latest=False)
    start(recipe, folder / "done", latest=False)
    for command in (
        ["export"],
        ["profile", "--batch", "1", "--threads", "1", "--seconds", "0", "--precision", "1"],
    ):
        done = slimmer(*command[:1], folder / "done", *command[1:])
        assert done.exit_code == 0, done.output
    return folder


@pytest.fixture
def damaged(finished, tmp_path, monkeypatch):
    """A copy of the two runs, to be damaged."""
    shutil.copytree(finished, tmp_path / "runs")
    monkeypatch.chdir(tmp_path / "runs")
    return tmp_path / "runs"


class Refusals:
    """Counts cases, each of which must be refused in one short message or work, and leave every
    file as it was.

    `told` are the names of files that may be told of it.
    """

    def __init__(self, *told):
        self.cases = self.refused = 0
        self.told = set(told)

    def expect(self, action, *, must=False, where=""):
        before = tree(".")
        self.cases += 1
        said = None
        try:
            action()
        except SlimmerError as error:
            said = str(error)
        if said is None:
            assert not must, f"case {self.cases} passed"
        else:
            self.refused += 1
            assert len(said) < 2000, said[:300]
            assert where in said
        after = tree(".")
        changed = {path for path in before | after if before.get(path) != after.get(path)}
        assert {path.name for path in changed} <= self.told, changed


def places(value, at=()):
    """Every place in nested dictionaries and lists, the first two of a list."""
    yield at
    inner = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value[:2])
        if isinstance(value, list)
        else ()
    )
    for key, each in inner:
        yield from places(each, (*at, key))


def changed(value, at, new, *, gone=False):
    """The value with another one, or none, at a place."""
    if not at:
        return new
    copy = json.loads(json.dumps(value))
    inner = copy
    for key in at[:-1]:
        inner = inner[key]
    if gone:
        del inner[at[-1]]
    else:
        inner[at[-1]] = new
    return copy


def texts(value, number, seed):
    """Damaged JSON texts: whole files that are wrong, then places with another value or none."""
    deep = "[" * 100_000 + "]" * 100_000
    yield from (
        b"",
        b"{",
        b"[]",
        b"{}",
        b"3",
        b"null",
        b"\xff\xfe{\x00}\x00",
        deep.encode(),
        b'{"a":' * 100_000,
    )
    whole = json.dumps(value).encode()
    yield from (whole[: len(whole) // 2], whole + b"}", whole.replace(b'"', b"'"))
    rng = random.Random(seed)
    every = list(places(value))[1:]
    for _ in range(number):
        at = rng.choice(every)
        yield json.dumps(changed(value, at, rng.choice(VALUES), gone=rng.random() < 0.3)).encode()


def written(path, content):
    """A file in place of another."""
    path.unlink(missing_ok=True)
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("name", "number"), [("report.json", 150), ("export.json", 80), ("profile.json", 120)]
)
def test_what_a_finished_run_holds(damaged, name, number):
    run, refusals = Run(Path("done")), Refusals("report.md", "report.html")
    value = json.loads((run.path / name).read_text())
    report = run.read_report()

    def use():
        tell_report(run)
        if name == "export.json":
            earlier(run, report)
        else:
            read_entry(run.path)

    for content in texts(value, number, seed=1):
        written(run.path / name, content)
        refusals.expect(use, where=f"done/{name}")
    assert refusals.cases > number
    assert refusals.refused > number / 2  # others change a text or a number into another
    (run.path / name).unlink()
    os.mkfifo(run.path / name)
    refusals.expect(use, must=True, where=f"done/{name}")


def test_a_finished_runs_files_are_complete_by_their_schemas(damaged):
    """Nothing that slimmer writes is unknown to the schema, so that a new key is added there
    too.
    """
    for schema, name in (
        (ReportFile, "report.json"),
        (ExportFile, "export.json"),
        (ProfileFile, "profile.json"),
    ):
        found = check(schema, json.loads(Path("done", name).read_text()), name, "")
        for inner in parts(found):
            assert not inner.model_extra, (name, type(inner).__name__, inner.model_extra)


def parts(value):
    """A model and all models in it."""
    if isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            yield from parts(each)
    elif hasattr(value, "model_extra"):
        yield value
        for name in type(value).model_fields:
            yield from parts(getattr(value, name))


def test_what_a_stopped_run_holds(damaged):
    run, refusals = Run(Path("stopped")), Refusals()
    measured = json.loads(run.measured.read_text())
    for content in texts(measured, 40, seed=2):
        written(run.measured, content)
        refusals.expect(run.check_recipe, where="stopped/")
    assert refusals.refused > 30
    run.measured.unlink()
    refusals.expect(lambda: resume(run), must=True, where="dense.json")
    run.measured.write_text(json.dumps(measured))
    recipe = run.recipe_file.read_text()
    run.recipe_file.write_text(recipe.replace("flops: 0.5", "flops: 0.9"))
    refusals.expect(lambda: resume(run), must=True, where="was changed after the run started")
    run.recipe_file.write_text(recipe)
    written(run.dense, Path("done/slim.safetensors").read_bytes())
    refusals.expect(
        lambda: resume(run), must=True, where="dense.safetensors: is missing, damaged, or not"
    )


def plans(text):
    """Damaged plans, each of which must be refused."""
    value = json.loads(text)
    groups = value["groups"]
    yield text.encode("utf-16")
    yield text.encode() + b"\xff"
    yield json.dumps({**value, "groups": [*groups, groups[0]]}).encode()
    yield json.dumps({**value, "groups": groups[1:]}).encode()
    yield json.dumps({**value, "groups": []}).encode()
    wide = changed(value, ("groups", 0, "size"), 10**9)
    yield json.dumps(wide).encode()
    for keep in (
        "",
        "0:999",
        "5:2",
        "-1",
        "0,0",
        "1,0",
        "9" * 5000,
        "a",
        "0:99999999999",
        "0.5",
        "0:2:4",
        ",",
    ):
        yield json.dumps(changed(value, ("groups", 0, "keep"), keep)).encode()
    for at, new in (
        (0, 3),
        (0, "no.such.weight"),
        (1, -1),
        (1, 9),
        (2, 0),
        (2, 10**12),
        (3, "0:10000000"),
        (3, "1:17"),
    ):
        yield json.dumps(changed(value, ("groups", 0, "slices", 0, at), new)).encode()
    other = changed(value, ("groups", 0, "keep"), "0:3")
    yield json.dumps(other).encode()


def test_plans_of_a_stopped_run(damaged):
    run, refusals = Run(Path("stopped")), Refusals()
    text = run.plan.read_text()
    for content in plans(text):
        written(run.plan, content)
        try:
            same = read_plan(run.plan).hash == Plan.from_json(text).hash
        except SlimmerError:
            same = False
        assert not same
        refusals.expect(lambda: read_plan(run.plan))
    refusals.expect(lambda: resume(run), must=True, where="plan.json")
    run.plan.unlink()
    refusals.expect(
        lambda: resume(run), must=True, where="delete stopped/state.safetensors and resume"
    )
    for content in texts(json.loads(text), 60, seed=3):
        written(run.plan, content)
        refusals.expect(lambda: read_plan(run.plan))
    assert refusals.refused > 60


def with_notes(path, **notes):
    """A safetensors file with other metadata and a right checksum, or none where it has none."""
    with safe_open(path, framework="pt") as file:
        metadata = {key: text for key, text in file.metadata().items() if key != CHECKSUM} | notes
    return sealed(
        save(load_file(path), {key: text for key, text in metadata.items() if text is not None})
    )


def test_states(damaged):
    run, refusals = Run(Path("stopped")), Refusals()
    good = run.state.read_bytes()
    wrong = [{"step": step} for step in ("abc", "-5", "", "1e3", "9" * 5000, "1.5", "999999", None)]
    wrong += [{"stage": stage} for stage in ("", "later", None)] + [
        {"run_hash": "of another"},
        {"plan_hash": "x"},
    ]
    for notes in wrong:
        run.state.write_bytes(good)
        written(run.state, with_notes(run.state, **notes))
        refusals.expect(lambda: resume(run), must=True)
    weights = load_file_bytes(good)
    for tensors in (
        {"network.x": torch.zeros(2)},
        {**weights, next(iter(weights)): torch.zeros(3, 3)},
    ):
        run.state.write_bytes(good)
        with safe_open(run.state, framework="pt") as file:
            metadata = file.metadata()
        save_weights(
            run.state, tensors, {key: text for key, text in metadata.items() if key != CHECKSUM}
        )
        refusals.told = {"events.jsonl"}  # by now it goes on
        refusals.expect(lambda: resume(run), must=True, where="state.safetensors: does not fit")
        refusals.told = set()
    for content in (
        b"",
        good[:100],
        good[:-1],
        good + b"x",
        flipped(good, len(good) - 5),
        flipped(good, 50),
    ):
        written(run.state, content)
        refusals.expect(lambda: resume(run), must=True, where="delete it and resume")


def load_file_bytes(content):
    from safetensors.torch import load

    return load(content)


def flipped(content, place):
    """The bytes with one bit changed."""
    damaged = bytearray(content)
    damaged[place] ^= 1
    return bytes(damaged)


SIZES = (
    "[-1,16,16]",
    "[1,Infinity,16]",
    "[1,[16],16]",
    "[1,1e9,16]",
    f"[1,{10**9},{10**9}]",
    "[" * 9999,
    "{}",
    "3",
    "",
    "[0]",
)
CLASSES = ("-1", str(10**9), str(10**12), "1e9", "abc", "", "9" * 5000, "ten", "٣", str(10**7))


@pytest.mark.parametrize("name", ["slim", "dense"])
def test_networks_whose_metadata_lie(damaged, name):
    path, refusals = Path("done", f"{name}.safetensors"), Refusals()
    good = path.read_bytes()
    wrong = [{"input_size": size} for size in SIZES] + [
        {"num_classes": number} for number in CLASSES
    ]
    wrong += [{"arch": arch} for arch in ("", "no_such_net", "x" * 9999, None)]
    wrong += [{"plan": plan} for plan in ("", "{}", "[" * 100_000, "null")]
    for notes in wrong:
        path.write_bytes(good)
        path.write_bytes(with_notes(path, **notes))
        refusals.expect(
            lambda: load_network(path), must=True, where=name if notes.get("arch") != "" else ""
        )
    for place in random.Random(4).sample(range(len(good)), 40):
        path.write_bytes(flipped(good, place))
        refusals.expect(lambda: load_network(path), must=True)


def test_events_that_are_none(damaged):
    run = Run(Path("done"))
    events = run.read_events()
    lines = run.events.read_bytes()
    bad = [
        b"3",
        b"[]",
        b"null",
        b'{"event": 3}',
        b'{"event": "step", "time": 1}',
        b'{"time": "abc", "event": "done"}',
    ]
    bad += [
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"event": "epoch", "time": -1, "step": 1, "epoch": 1, "accuracy": 0.5}',
    ]
    run.events.write_bytes(b"\n".join([*bad, lines.strip(), *bad]) + b"\n")
    assert run.read_events() == events
    run.events.unlink()
    os.mkfifo(run.events)
    with pytest.raises(SlimmerError, match="is not a regular file"):
        run.read_events()


@pytest.mark.parametrize("content", [b"\xff\xfe", b"", b"\0", b"x" * 100_000, b"/nowhere", None])
def test_the_latest_run_of_a_damaged_note(content, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    LATEST.parent.mkdir()
    if content is None:
        os.mkfifo(LATEST)
    else:
        LATEST.write_bytes(content)
    refusals = Refusals()
    refusals.expect(lambda: open_run(None), must=True)


SETTINGS = (
    "model",
    "data",
    "budget",
    "method",
    "finetune",
    "export",
    "profile",
    "seed",
    "device",
    "version",
    "x",
)
KEYS = (
    "flops",
    "arch",
    "name",
    "epochs",
    "batches",
    "threads",
    "keep",
    "classes",
    "min_width",
    "input_size",
    "y.z",
)
TEXTS = (
    "2020-13-45",
    "!!int abc",
    "&a {b: *a}",
    "[[[[]]]]",
    "{a: b}",
    "1e999",
    "-1",
    "~",
    "'",
    "!!binary x",
    "0x" + "f" * 99,
)


def test_settings_and_recipes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    refusals, path = Refusals(), Path("r.yaml")
    for section in SETTINGS:
        for key in KEYS:
            text = TEXTS[(SETTINGS.index(section) * 7 + KEYS.index(key)) % len(TEXTS)]
            refusals.expect(lambda: read_recipe(None, [parse_setting(f"{section}.{key}={text}")]))  # noqa: B023
    for section in SETTINGS:
        for text in TEXTS:
            path.write_text(f"{section}: {text}\n")
            refusals.expect(lambda: read_recipe(path))
            path.write_text(f"grid:\n  {section}: [{text}, 1]\n")
            refusals.expect(lambda: plan_rows(path))
    assert refusals.cases > 350
    assert refusals.refused > 300
