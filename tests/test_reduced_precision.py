"""Where fp16 or int8 is no faster than float32, profile, export and report say it, all by one
decision.
"""

import json
import shutil

import pytest
import run_samples
from hypothesis import given
from hypothesis import strategies as st
from main_job import slimmer

from slimmer.pipeline import profiled_forms
from slimmer.pipeline.profiled_forms import said_by_profile
from slimmer.profiling.reduced_precision import not_faster
from slimmer.profiling.results import SCHEMA
from slimmer.reports.latency_tables import headline
from slimmer.reports.run_report import to_markdown
from slimmer.runs.directory import Run
from slimmer.runs.schemas.profile import ProfileFile

PRECISIONS = {
    "dense": "fp32",
    "slim": "fp32",
    "slim.int8": "int8, QDQ, static, weights per channel",
}
PLAN = "1" * 16


def against(speedup, low, high, **changes):
    """How slim.int8 compares with slim, by hand."""
    named = {"model": "slim.int8", "against": "slim", "low": low, "high": high}
    return run_samples.comparison(speedup, **{**named, **changes})


def profile(*among, precisions=PRECISIONS, plan=PLAN, **changes):
    """A whole profile of those networks, in which those comparisons with the second were made."""
    names = list(precisions)
    timings = [
        run_samples.timing(1.0, model=name, batch=one["batch"], threads=one["threads"])
        for one in {
            (one["batch"], one["threads"]): one for one in (run_samples.comparison(1.0), *among)
        }.values()
        for name in names
    ]
    found = run_samples.profile(timings, [])
    subject = found["subjects"][0]
    found["subjects"] = [
        {**subject, "name": name, "precision": precisions[name], "origin": origin(name, plan)}
        for name in names
    ]
    found |= {"among": list(among), "layers": {name: [] for name in names}, **changes}
    ProfileFile.model_validate(found)  # so that these are what a run's profile.json can hold
    return found


def origin(name, plan):
    network = name.partition(".")[0]
    return {
        "arch": "net",
        "network": network,
        "weights_sha256": network,
        **({"plan_hash": plan} if network == "slim" else {}),
    }


@pytest.mark.parametrize(
    ("ratio", "verdict"),
    [
        ((0.5, 0.4, 0.6), "is slower than float32"),
        ((0.99, 0.97, 1.01), "is not measurably faster than float32"),
        ((1.01, 0.99, 1.03), "is not measurably faster than float32"),
        ((1.0, 1.0, 1.0), "is not measurably faster than float32"),
        ((0.8, None, None), "is not measurably faster than float32"),
        ((1.2, None, None), None),
        ((1.05, 1.01, 1.1), None),
    ],
)
def test_a_form_that_is_not_clearly_faster_is_named(ratio, verdict):
    told = [str(one) for one in not_faster(profile(against(*ratio)))]
    assert len(told) == (verdict is not None)
    if verdict is not None:
        assert told[0].startswith(
            f"slim.int8 {verdict}: it runs at {ratio[0]:.2f} times the speed of slim ("
        )
        assert told[0].endswith("CPUExecutionProvider, batch 1, one thread per core.")


@given(st.tuples(*[st.floats(0.05, 20)] * 3).map(sorted))
def test_it_is_the_same_whichever_file_was_named_first(bounds):
    low, speedup, high = bounds
    turned = against(1 / speedup, 1 / high, 1 / low, model="slim", against="slim.int8")
    one, other = (not_faster(profile(each)) for each in (against(speedup, low, high), turned))
    assert len(one) == len(other) or low == pytest.approx(1)
    for each, same in zip(one, other, strict=False):
        assert (each.model, each.against) == (same.model, same.against) == ("slim.int8", "slim")
        assert each.speedup == pytest.approx(same.speedup)


def test_each_batch_and_number_of_threads_is_judged_by_itself():
    slow, fast = (
        against(0.5, 0.4, 0.6, batch=64, threads=1),
        against(2.0, 1.9, 2.1, batch=64, threads=2),
    )
    [one] = not_faster(profile(slow, fast))
    assert (one.batch, one.threads, one.provider) == (64, 1, "CPUExecutionProvider")


@pytest.mark.parametrize(
    "precisions",
    [
        {**PRECISIONS, "slim": "int8"},  # both are reduced
        {**PRECISIONS, "slim.int8": "fp32"},
        {**PRECISIONS, "slim.int8": None},  # a file that is not slimmer's
    ],
)
def test_only_a_reduced_precision_is_held_against_float32(precisions):
    assert not not_faster(profile(against(0.5, 0.4, 0.6), precisions=precisions))


def test_files_of_other_networks_are_not_forms_of_one():
    found = profile(against(0.5, 0.4, 0.6, against="dense"))
    assert not not_faster(found)
    found = profile(against(0.5, 0.4, 0.6))
    for subject in found["subjects"]:
        subject["origin"] = {}  # so that it is not known
    assert not not_faster(found)


def test_other_runtimes_run_no_file():
    slow = against(0.5, 0.4, 0.6)
    found = profile(slow)
    found["among"] = [{**slow, "against_runtime": "torch"}]
    assert not not_faster(found)
    assert not not_faster(profile())


def test_profile_and_report_say_it_in_the_same_sentence():
    found = profile(against(0.5, 0.4, 0.6))
    [sentence] = map(str, not_faster(found))
    assert headline(found)[-1] == sentence
    assert f"- {sentence}\n" in to_markdown(run_samples.report(), profile=found)
    quick = profile(against(2.0, 1.9, 2.1))
    assert not [text for text in headline(quick) if "float32" in text]
    assert "faster than float32" not in to_markdown(run_samples.report(), profile=quick)


def entry(file, precision):
    return {"file": f"runs/net-1/{file}", "precision": precision}


def test_an_export_says_what_is_known_of_the_forms_that_it_writes(monkeypatch):
    found = profile(against(0.5, 0.4, 0.6))
    int8, fp16 = entry("slim.int8.onnx", PRECISIONS["slim.int8"]), entry("slim.fp16.onnx", "fp16")
    here = dict(found["environment"])
    monkeypatch.setattr(profiled_forms, "environment", lambda: here)
    [told] = said_by_profile(found, [int8], PLAN)
    assert told.startswith(
        "according to profile.json, measured on this machine: slim.int8 is slower than float32"
    )
    assert said_by_profile(found, [entry("slim.batch8.int8.onnx", int8["precision"])], PLAN)
    assert not said_by_profile(found, [fp16], PLAN)
    assert not said_by_profile(found, [entry("dense.int8.onnx", int8["precision"])], PLAN)
    assert not said_by_profile(
        found, [entry("slim.int8.onnx", int8["precision"] + ", symmetric activations")], PLAN
    )
    assert not said_by_profile(found, [int8], "2" * 16)
    assert not said_by_profile(None, [int8], PLAN)
    assert not said_by_profile({"schema": SCHEMA - 1}, [int8], PLAN)
    here["cpu"] = "another"
    [told] = said_by_profile(found, [int8], PLAN)
    assert told.startswith(
        "according to profile.json, measured on another machine (one, None cores): slim.int8 is "
        "slower"
    )


def test_a_run_is_profiled_with_its_forms_and_the_next_export_says_what_came_of_it(
    main_job, tmp_path
):
    shutil.copytree(main_job.run.path, tmp_path / "run")
    run = Run(tmp_path / "run")
    forms = ("export", run.path, "--fp16", "--int8", "--int8-images", "8", "--int8-drop", "1")
    assert (
        "by profile.json" not in slimmer(*forms).stderr
    )  # that profile was of dense and slim alone
    quick = "--batch 1 --threads 1 --seconds 0 --runs 1 --blocks 1 --precision 1"
    assert slimmer("profile", run.path, *quick.split()).exit_code == 0
    found = json.loads(run.profile.read_text())
    assert [row["model"] for row in found["timings"]] == ["dense", "slim", "slim.fp16", "slim.int8"]
    assert {(one["model"], one["against"]) for one in found["among"]} == {
        ("slim.fp16", "slim"),
        ("slim.int8", "slim"),
    }
    for one, speedup in zip(found["among"], (2.0, 0.25), strict=True):
        one |= {"speedup": speedup, "low": speedup, "high": speedup}
    run.profile.write_text(json.dumps(found))
    again = slimmer(*forms)
    assert again.exit_code == 0, again.output
    said = " ".join(again.stderr.split())
    assert "slim.int8 is slower than float32: it runs at 0.25 times the speed of slim" in said
    assert "slim.fp16 is" not in said
    assert "slim.int8 is slower than float32" in run.text.read_text()
    only = slimmer("export", run.path, "--fp16")  # of int8 nobody asked
    assert "slim.int8 is slower" not in only.stderr


@pytest.mark.parametrize("option", ["--strict", "--runtime=onnxruntime,torch"])
def test_forms_are_left_out_where_they_could_not_run(option, main_job, tmp_path):
    shutil.copytree(main_job.run.path, tmp_path / "run")
    assert slimmer("export", tmp_path / "run", "--fp16").exit_code == 0
    quick = "--batch 1 --threads 1 --seconds 0 --runs 1 --blocks 1 --precision 1 --json"
    result = slimmer("profile", tmp_path / "run", *quick.split(), option)
    assert result.exit_code == 0, result.output
    assert {row["model"] for row in json.loads(result.stdout)["timings"]} == {"dense", "slim"}
