"""`slimmer export` with its options: which files a run then has, what they say, what is refused."""

import hashlib
import json
import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from main_job import ARCH, PYTHON, slimmer, tree
from onnx import TensorProto
from safetensors.torch import load_file

import slimmer as package
from slimmer.data import InMemory, evaluation_batches, load
from slimmer.errors import DataError, ExportError, RecipeError
from slimmer.exporting import forms, staged
from slimmer.exporting import torch_program as trace
from slimmer.pipeline import export_run as run_export
from slimmer.pipeline import verify_export as export_check
from slimmer.runs.claim import claimed
from slimmer.runs.directory import Run

FILES = {"dense.onnx", "slim.onnx", "slim.fp16.onnx", "slim.int8.onnx", "slim.pt2"}


@pytest.fixture(scope="module")
def exported(main_job, tmp_path_factory):
    """A copy of the main job's run, with every precision."""
    run = copied(main_job.run, tmp_path_factory.mktemp("exports"))
    result = slimmer(
        "export", run.path, "--fp16", "--int8", "--torch", "--int8-images", "64", "--json"
    )
    assert result.exit_code == 0, result.output
    return run, json.loads(result.stdout)


def copied(run, folder):
    """The same run in another place."""
    shutil.copytree(run.path, folder / "run")
    return Run(folder / "run")


def written(run):
    return {path.name for path in run.path.iterdir() if path.suffix in {".onnx", ".pt2", ".data"}}


def get_wrong(monkeypatch, name, *, share):
    """Let the file of that name get a share of the images wrong that it gets right."""
    real = export_check.judged

    def worse(answer, batches, *, where, batch=None):
        found = real(answer, batches, where=where, batch=batch)
        right = found.right.copy()
        if name in where:
            right[np.flatnonzero(right)[: int(np.ceil(share * len(right)))]] = False
        return replace(found, right=right)

    monkeypatch.setattr(export_check, "judged", worse)


def test_each_variant_is_a_file_of_its_own_and_listed_everywhere(exported):
    run, found = exported
    assert written(run) == FILES
    entries = found["networks"]
    assert set(entries) == {"dense", "slim", "slim.fp16", "slim.int8", "slim.pt2"}
    assert json.loads(run.exported.read_text()) == found
    told = run.text.read_text()
    for entry in entries.values():
        assert entry["file"] in told
        assert entry["bytes"] == (run.path / entry["file"]).stat().st_size
        assert {"random", "test"} == set(entry["parity"])
        assert entry["accuracy"] is not None
    assert [entries[name]["tolerance"] for name in ("slim", "slim.fp16", "slim.int8")] == [
        1e-4,
        2e-2,
        None,
    ]
    sizes = [entries[name]["bytes"] for name in ("slim", "slim.fp16", "slim.int8")]
    assert sizes == sorted(sizes, reverse=True)
    assert entries["slim.fp16"]["flops"] == entries["slim"]["flops"]
    assert "every operation is fp16" in entries["slim.fp16"]["notes"][0]
    assert "calibrated on 64 training images" in entries["slim.int8"]["notes"][0]


@pytest.mark.parametrize("name", ["slim.fp16", "slim.int8", "slim", "slim.pt2"])
def test_the_accuracy_is_that_of_the_file_on_all_images_though_it_was_run_on_few(name, exported):
    run, found = exported
    data = load("digits")
    [(images, labels)] = evaluation_batches(data.test, data, 1000)
    if name == "slim.pt2":
        with torch.inference_mode():
            logits = torch.export.load(run.path / name).module()(images).numpy()
    else:
        session = onnxruntime.InferenceSession(
            str(run.onnx(name)), providers=["CPUExecutionProvider"]
        )
        [logits] = session.run(None, {"input": images.numpy()})
    entry = found["networks"][name]
    assert entry["accuracy"] == (logits.argmax(axis=1) == labels.numpy()).mean()
    whole = name in ("slim", "slim.int8")
    assert (entry["run_on"] == len(labels)) == whole
    assert whole or entry["run_on"] < len(labels) / 3


def test_a_network_is_traced_once_for_its_forms(main_job, tmp_path, monkeypatch):
    run, traced = copied(main_job.run, tmp_path), []
    real = trace.trace
    monkeypatch.setattr(trace, "trace", lambda *given: traced.append(given[2]) or real(*given))
    for name in ("dense.onnx", "slim.onnx"):
        (run.path / name).unlink()
    package.export(run.path, torch=True, fp16=True)
    assert len(traced) == 2  # dense and slim


# A process that is killed


KILLED = """
import os, sys
from pathlib import Path
import slimmer
from slimmer.pipeline import export_run as run_export

point = sys.argv[2]
real = getattr(run_export, point)

def end(*given):
    paths = [str(each) for each in given if isinstance(each, Path)]
    if point == "tell_report" or any("fp16" in each for each in paths):
        os._exit(9)
    return real(*given)

setattr(run_export, point, end)
slimmer.export(sys.argv[1], fp16=True)
"""


@pytest.mark.parametrize(
    ("point", "listed", "there"),
    [("judge", False, False), ("put", True, False), ("tell_report", True, True)],
)
def test_a_killed_export_leaves_no_file_that_is_not_listed(
    main_job, tmp_path, point, listed, there
):
    """Killed where the new file is made and not judged, is listed and not in its place, and where
    it is there.
    """
    run = copied(main_job.run, tmp_path)
    ended = subprocess.run(
        [sys.executable, "-c", KILLED, run.path, point], env=PYTHON, check=False, timeout=120
    )
    assert ended.returncode == 9
    before = json.loads(run.exported.read_text())["networks"]
    assert list(before) == ["dense", "slim", *(["slim.fp16"] if listed else [])]
    assert written(run) == {"dense.onnx", "slim.onnx", *(["slim.fp16.onnx"] if there else [])}

    found = package.export(run.path, fp16=True)["networks"]
    assert found["slim.fp16"]["reused"] == listed
    assert written(run) == {"dense.onnx", "slim.onnx", "slim.fp16.onnx"}
    assert not list(run.path.glob(".*"))
    assert (
        found["slim.fp16"]["sha256"]
        == hashlib.sha256(run.onnx("slim.fp16").read_bytes()).hexdigest()
    )


def test_what_a_killed_export_left_takes_its_place_only_where_it_is_the_listed_file(tmp_path):
    """With weights in a file of their own, too: before the moves, and between them."""
    stage = tmp_path / staged.FOLDER
    for moved in (False, True):
        stage.mkdir()
        (stage / "a.onnx").write_bytes(b"graph")
        ((tmp_path if moved else stage) / "a.onnx.data").write_bytes(b"weights")
        (stage / "b.onnx").write_bytes(b"half")
        (tmp_path / "b.onnx").write_bytes(b"before")
        sums = " ".join(hashlib.sha256(content).hexdigest() for content in (b"graph", b"weights"))
        staged.take_places(
            tmp_path, {"a.onnx": sums, "b.onnx": hashlib.sha256(b"whole").hexdigest()}
        )
        found = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
        assert found == {"a.onnx": b"graph", "a.onnx.data": b"weights", "b.onnx": b"before"}
        (tmp_path / "a.onnx").unlink()
        (tmp_path / "a.onnx.data").unlink()


def test_a_file_put_in_place_of_one_with_weights_beside_it_leaves_none_behind(tmp_path):
    (tmp_path / "a.onnx").write_bytes(b"old")
    (tmp_path / "a.onnx.data").write_bytes(b"old weights")
    with staged.staged(tmp_path) as stage:
        (stage / "a.onnx").write_bytes(b"new")
        staged.put(stage / "a.onnx", tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"a.onnx": b"new"}


def test_two_exports_of_a_run_are_one_at_a_time(main_job, tmp_path):
    run = copied(main_job.run, tmp_path)
    with claimed(run.path, "slimmer"):
        refused = slimmer("export", run.path)
    assert refused.exit_code == 2
    assert "is already using this directory" in refused.stderr


def test_an_export_that_is_begun_while_another_is_at_work_is_refused_and_the_first_is_whole(
    main_job, tmp_path
):
    run = copied(main_job.run, tmp_path)
    for file in (run.onnx("dense"), run.onnx("slim"), run.exported):
        file.unlink()
    refused = []

    def begin_another(event):
        if (
            event["event"] == "export" and event["file"] == "slim.onnx"
        ):  # dense.onnx is written, and listed
            before = tree(run.path)
            refused.append(slimmer("export", run.path, "--fp16"))
            assert tree(run.path) == before

    found = package.export(run.path, observe=begin_another)
    assert [(one.exit_code, "already using this directory" in one.stderr) for one in refused] == [
        (2, True)
    ]
    assert written(run) == {"dense.onnx", "slim.onnx"}
    assert json.loads(run.exported.read_text()) == found
    assert not list(run.path.glob(".*"))


def test_the_initializers_have_the_slim_shapes(exported):
    """No zeros of removed channels: weight by weight the slim checkpoint's, which is smaller than
    the dense one.
    """
    run, _ = exported
    slim, dense = load_file(run.slim), load_file(run.dense)
    file = onnx.load(run.onnx("slim"))
    held = {tensor.name: tuple(tensor.dims) for tensor in file.graph.initializer}
    weights = {name: tuple(value.shape) for name, value in slim.items() if value.ndim > 1}
    assert {name: held[name] for name in weights} == weights
    assert any(tuple(dense[name].shape) != shape for name, shape in weights.items())
    left = {"BatchNormalization", "Constant", "Dropout", "Identity"}  # folded, or for nothing
    assert left.isdisjoint(node.op_type for node in file.graph.node)
    floats = [tensor for tensor in file.graph.initializer if tensor.data_type == TensorProto.FLOAT]
    assert sum(int(np.prod(tensor.dims)) for tensor in floats) <= sum(
        value.numel() for value in slim.values()
    )


def test_each_file_says_what_it_is_and_what_it_wants(exported):
    run, found = exported
    report = run.read_report()
    data = load("digits")
    for name, precision in (
        ("slim", "fp32"),
        ("slim.fp16", "fp16"),
        ("slim.int8", "int8"),
        ("slim.pt2", "fp32"),
    ):
        path = run.path / found["networks"][name]["file"]
        told = (
            trace.read_program_metadata(path)
            if path.suffix == ".pt2"
            else {entry.key: entry.value for entry in onnx.load(path).metadata_props}
        )
        assert told["precision"].startswith(precision)
        assert (told["arch"], told["plan_hash"]) == (ARCH, report["plan_hash"])
        assert told["recipe_hash"] == report["recipe_hash"]
        assert int(told["flops"]) == report["flops"]["slim"]
        assert "multiply-add" in told["flops_convention"]
        assert "50.00%" in told["budget_flops"]
        assert json.loads(told["classes"]) == list(data.classes)
        assert [json.loads(told["input_mean"]), json.loads(told["input_std"])] == [
            list(data.mean),
            list(data.std),
        ]
        assert told["input_layout"] == "NCHW"
        assert "255" in told["input_range"]


def test_current_files_are_not_written_again_and_stay_listed(exported, monkeypatch):
    run, found = exported
    before = {name: (run.path / name).stat().st_mtime_ns for name in FILES}

    def never(_):
        raise AssertionError("a file that was not just written must not be unpickled")

    monkeypatch.setattr(forms, "load_program", never)
    again = package.export(run.path, fp16=True, int8=True, int8_images=64, torch=True)["networks"]
    assert {name: (run.path / name).stat().st_mtime_ns for name in FILES} == before
    assert all(entry["reused"] for entry in again.values())
    assert again["slim.pt2"]["parity"] == found["networks"]["slim.pt2"]["parity"]
    plain = package.export(run.path)["networks"]
    assert set(plain) == set(again)
    assert plain["slim.int8"]["accuracy"] == again["slim.int8"]["accuracy"]


def test_a_file_that_was_changed_is_no_longer_listed(exported, tmp_path):
    run = copied(exported[0], tmp_path)
    (run.path / "slim.pt2").write_bytes(b"other")
    (run.path / "slim.fp16.onnx").unlink()
    assert set(package.export(run.path)["networks"]) == {"dense", "slim", "slim.int8"}


@pytest.mark.parametrize(
    "stop", [KeyboardInterrupt, DataError("images/1.png", "can't be read", "an image")]
)
def test_files_that_were_checked_outlive_an_export_that_is_stopped(
    exported, tmp_path, monkeypatch, stop
):
    run = copied(exported[0], tmp_path)
    measure = run_export.measure

    def stopped(job, variant, path):
        if variant.name == "slim":
            raise stop
        return measure(job, variant, path)

    monkeypatch.setattr(run_export, "measure", stopped)
    with pytest.raises(stop if isinstance(stop, type) else DataError):
        package.export(run.path)
    assert written(run) == FILES
    assert set(json.loads(run.exported.read_text())["networks"]) == set(exported[1]["networks"])


def test_a_file_that_fails_is_no_longer_listed(exported, tmp_path, monkeypatch):
    run = copied(exported[0], tmp_path)

    def fails(job, variant, path):
        raise ExportError(str(path), "computes something else", "one that does not")

    monkeypatch.setattr(run_export, "measure", fails)
    with pytest.raises(ExportError, match="something else"):
        package.export(run.path)
    assert written(run) == FILES - {"dense.onnx"}
    assert set(json.loads(run.exported.read_text())["networks"]) == set(exported[1]["networks"]) - {
        "dense"
    }


def test_a_damaged_file_is_written_anew(exported, tmp_path):
    run = copied(exported[0], tmp_path)
    network = onnx.load(run.onnx("slim"))
    network.graph.initializer[0].raw_data = bytes(len(network.graph.initializer[0].raw_data))
    onnx.save(network, run.onnx("slim"))
    found = package.export(run.path)["networks"]
    assert (found["dense"]["reused"], found["slim"]["reused"]) == (True, False)


def test_files_that_rest_on_other_data_are_written_anew(exported, tmp_path):
    run, before = copied(exported[0], tmp_path), exported[1]["networks"]
    data = load("digits")
    fewer = InMemory(data.test.images[:100], data.test.labels[:100])
    found = package.export(
        run.path, replace(data, test=fewer), int8=True, int8_images=64, torch=True
    )["networks"]
    reused = {name: entry["reused"] for name, entry in found.items() if name != "slim.fp16"}
    assert reused == {"dense": True, "slim": True, "slim.int8": False, "slim.pt2": False}
    assert (
        found["slim.pt2"]["accuracy"] == found["slim"]["accuracy"] != before["slim.pt2"]["accuracy"]
    )


def test_a_shape_is_written_beside_and_profile_keeps_its_files(main_job, tmp_path):
    run = copied(main_job.run, tmp_path)
    found = package.export(run.path, batch=8, dynamic_size=True, fp16=True, fp16_io=True)[
        "networks"
    ]
    assert written(run) == {
        "dense.onnx",
        "slim.onnx",
        "slim.batch8.anysize.onnx",
        "slim.batch8.anysize.fp16.onnx",
    }
    half = found["slim.batch8.anysize.fp16"]
    assert (half["batch"], half["image_size"], half["precision_io"]) == ("8", "any size", "fp16")
    assert set(half["parity"]) == {"random", "random 48x80", "test"}
    assert half["accuracy"] == pytest.approx(found["slim"]["accuracy"], abs=0.01)
    value = onnx.load(run.onnx("slim.batch8.anysize.fp16")).graph.input[0].type.tensor_type
    assert value.elem_type == TensorProto.FLOAT16
    assert [size.dim_param or size.dim_value for size in value.shape.dim] == [
        8,
        1,
        "height",
        "width",
    ]
    ordinary = onnx.load(run.onnx("slim")).graph.input[0].type.tensor_type.shape.dim
    assert [size.dim_param or size.dim_value for size in ordinary] == ["batch", 1, 16, 16]


def test_the_dense_network_in_the_same_forms_is_timed_against_the_slim_one(main_job, tmp_path):
    run = copied(main_job.run, tmp_path)
    found = package.export(run.path, fp16=True, dynamic_size=True, dense=True)["networks"]
    names = ["dense.anysize.fp16", "slim.anysize.fp16"]
    assert set(found) == {"dense", "slim", "dense.anysize", "slim.anysize", *names}
    report = run.read_report()
    assert [found[name]["flops"] for name in names] == [
        report["flops"]["dense"],
        report["flops"]["slim"],
    ]
    assert all(found[name]["accuracy"] is not None for name in names)

    files = [run.onnx(name) for name in names]
    quick = {"batches": (2,), "runs": 2, "seconds": 0.0, "blocks": 2}
    timed = package.profile(*files, image_size=(20, 24), **quick)
    assert timed["conditions"]["input_size"] == [1, 20, 24]
    assert [one["precision"] for one in timed["subjects"]] == ["fp16", "fp16"]
    [one] = timed["comparisons"]
    assert (one["model"], one["against"]) == ("slim.anysize.fp16", "dense.anysize.fp16")
    assert one["promise"] is None  # FLOPs were counted at the network's own size
    assert package.profile(*files, **quick)["conditions"]["input_size"] == [
        1,
        16,
        16,
    ]  # as export.json says
    run.exported.unlink()
    with pytest.raises(
        ExportError, match=r"(?s)takes images of anyxany, and no size.*--image-size"
    ):
        package.profile(*files, **quick)
    with pytest.raises(
        ExportError, match=r"(?s)images of 16x16, but 20x24 was requested.*--dynamic-size --dense"
    ):
        package.profile(run.path, image_size=(20, 24), **quick)
    result = slimmer("profile", *files, "--image-size", "20")
    assert result.exit_code == 2
    assert "image_size" in result.stderr


def test_int8_may_cost_the_dense_network_what_it_does(main_job, tmp_path, monkeypatch):
    """The limit is on what is shipped; the twin is there to be timed."""
    run = copied(main_job.run, tmp_path)
    get_wrong(monkeypatch, "dense.int8", share=1.0)
    entry = package.export(run.path, int8=True, int8_images=32, int8_drop=0.5, dense=True)[
        "networks"
    ]["dense.int8"]
    assert entry["accuracy"] < 0.5
    assert "points" in entry["notes"][0]


def test_data_that_have_moved_are_said_to_be_gone_and_taken_from_where_they_are(
    checkpoint, tmp_path
):
    before, now, out = tmp_path / "before.py", tmp_path / "now.py", tmp_path / "run"
    before.write_text("from slimmer.data import load\ndef digits():\n    return load('digits')\n")
    done = slimmer(
        "prune",
        checkpoint,
        "--flops",
        "0.6",
        "--data",
        f"{before}:digits",
        "--epochs",
        "0",
        "--out",
        out,
    )
    assert done.exit_code == 0, done.output
    before.rename(now)
    found = slimmer("export", out)
    assert found.exit_code == 0, found.output
    assert "no accuracy is measured" in found.stderr
    assert "give the path where the data are now (slimmer export --data)" in found.stderr
    assert json.loads(Run(out).exported.read_text())["networks"]["slim"]["accuracy"] is None

    refused = slimmer("export", out, "--data", tmp_path / "nowhere")
    assert refused.exit_code == 2
    other = now.with_name("other.py")
    other.write_text(
        now.read_text()
        .replace("return", "from dataclasses import replace\n    return replace(")
        .rstrip()
    )
    other.write_text(other.read_text() + ", classes=tuple('abcdefghijk'))\n")
    refused = slimmer("export", out, "--data", f"{other}:digits")
    assert refused.exit_code == 2
    assert "11 classes, but the network has 10 outputs" in refused.stderr

    found = slimmer("export", out, "--data", f"{now}:digits", "--json")
    assert found.exit_code == 0, found.output
    networks = json.loads(found.stdout)["networks"]
    assert networks["slim"]["accuracy"] == pytest.approx(
        Run(out).read_report()["accuracy"]["removed"], abs=0.01
    )


# What is refused


@pytest.mark.parametrize(
    "damage", [{"slim": {}}, {"slim": None}, [], {"slim": {"file": 3, "sha256": "x"}}]
)
def test_a_list_of_files_that_is_damaged_is_made_anew(damage, exported, tmp_path):
    run = copied(exported[0], tmp_path)
    listed = json.loads(run.exported.read_text())
    run.exported.write_text(json.dumps({**listed, "networks": damage}))
    result = slimmer("export", run.path, "--json")
    assert result.exit_code == 0, result.output
    assert set(json.loads(result.stdout)["networks"]) == {"dense", "slim"}


def test_int8_that_loses_too_much_is_refused_and_not_kept(exported, tmp_path, monkeypatch):
    run = copied(exported[0], tmp_path)
    get_wrong(monkeypatch, "slim.int8", share=0.03)
    result = slimmer("export", run.path, "--int8", "--int8-images", "64", "--int8-drop", "0.02")
    assert result.exit_code == 2
    assert "slim.int8.onnx: top-1" in result.stderr
    assert "at most 2.00 points may be lost; the file is not kept" in result.stderr
    assert "--int8-images" in result.stderr
    assert "Traceback" not in result.stderr
    assert written(run) == FILES - {"slim.int8.onnx"}
    assert set(json.loads(run.exported.read_text())["networks"]) == {
        "dense",
        "slim",
        "slim.fp16",
        "slim.pt2",
    }
    assert "slim.int8" not in run.text.read_text()


def test_int8_without_data_is_refused_before_anything_is_written_and_takes_them_in_python(
    checkpoint, tmp_path
):
    out = tmp_path / "run"
    package.prune(checkpoint, params=0.5, input_size=(1, 16, 16), out=out)
    before = tree(out)
    result = slimmer("export", out, "--int8")
    assert result.exit_code == 2
    assert "the run has no readable data" in result.stderr
    assert "prune with --data" in result.stderr
    with pytest.raises(RecipeError, match="int8_drop"):
        package.export(out, int8_drop=2.0)
    with pytest.raises(
        RecipeError, match="pruned without data, so the normalisation of its images is unknown"
    ):
        package.export(out, "digits")
    assert tree(out) == before
    found = package.export(out, load("digits"), int8=True, int8_images=32, int8_drop=1.0)[
        "networks"
    ]
    assert found["slim.int8"]["accuracy"] is not None


@pytest.mark.parametrize("option", [{"int8_images": 16}, {"int8_drop": 0.5}])
def test_an_option_of_int8_without_int8_is_refused(main_job, option):
    with pytest.raises(RecipeError, match="add --int8"):
        package.export(main_job.run.path, **option)


def test_fp16_io_needs_fp16(main_job):
    before = tree(main_job.run.path)
    result = slimmer("export", main_job.run.path, "--fp16-io")
    assert result.exit_code == 2
    assert "set fp16 (--fp16) too" in result.stderr
    with pytest.raises(RecipeError, match="set one, such as fp16"):
        package.export(main_job.run.path, dense=True)
    for options in (["--batch", "0"], ["--int8-drop", "1.5"], ["--int8-images", "none"]):
        assert slimmer("export", main_job.run.path, *options).exit_code == 2
    with pytest.raises(RecipeError, match="int8"):
        package.export(main_job.run.path, int9=True)
    assert tree(main_job.run.path) == before


def test_a_file_that_computes_something_else_is_not_kept(main_job, tmp_path, monkeypatch):
    run = copied(main_job.run, tmp_path)
    strict = replace(forms.FORMS["fp16"], tolerance=1e-9)
    monkeypatch.setitem(forms.FORMS._entries, "fp16", strict)
    with pytest.raises(ExportError, match="output 0 differs"):
        package.export(run.path, fp16=True)
    assert written(run) == {"dense.onnx", "slim.onnx"}
    assert set(json.loads(run.exported.read_text())["networks"]) == {"dense", "slim"}


def test_a_form_of_the_registry_is_written_verified_and_listed(main_job, tmp_path, monkeypatch):
    run = copied(main_job.run, tmp_path)
    again = replace(forms.FORMS["fp32"], name="again", ending=".again.onnx", asked=lambda *_: True)
    monkeypatch.setitem(forms.FORMS._entries, "again", again)
    found = package.export(run.path)["networks"]
    assert written(run) == {"dense.onnx", "slim.onnx", "slim.again.onnx"}
    assert list(found) == ["dense", "slim", "slim.again"]
    assert found["slim.again"]["accuracy"] == found["slim"]["accuracy"]
    assert (run.path / "slim.again.onnx").read_bytes() == run.onnx("slim").read_bytes()


def test_data_that_are_gone_do_not_make_a_current_file_old(exported, tmp_path):
    """Without them the metadata would say less; the file keeps what it knows."""
    run = copied(exported[0], tmp_path)
    recipe = run.recipe_file.read_text()
    assert "digits" in recipe
    run.recipe_file.write_text(
        recipe.replace("path: digits", "path: /nowhere/digits").replace(
            "name: digits", "name: null"
        )
    )
    before = run.onnx("slim").read_bytes()
    found = package.export(run.path)["networks"]
    assert found["slim"]["accuracy"] is None
    assert run.onnx("slim").read_bytes() == before


def test_the_program_answers_as_the_slim_network(exported):
    run, _ = exported
    program = torch.export.load(run.path / "slim.pt2").module()
    slim = package.load(run.path)
    x = torch.randn(3, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(program(x), slim(x))
