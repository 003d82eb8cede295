"""The latency scripts at toy size: what they write, that they go on, their arithmetic on reports
written by hand.
"""

import importlib
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
import torch
from click.testing import CliRunner
from onnx import TensorProto, helper, numpy_helper

FOLDER = Path(__file__).parents[1] / "benchmarks"
QUICK = ["--runs", "1", "--seconds", "0", "--blocks", "2"]
NET = "cifar_resnet8"


@pytest.fixture(scope="module")
def scripts():
    """The scripts as modules."""
    sys.path.insert(0, str(FOLDER))
    yield SimpleNamespace(
        **{
            name: importlib.import_module(name)
            for name in ("latency", "latency_gpu", "latency_budget", "repeatability")
        }
    )
    sys.path.remove(str(FOLDER))


def call(script, *words):
    result = CliRunner().invoke(script.main, [str(word) for word in words])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def write(path, width, flops):
    """A network made by hand: images (batch, 1, 4, 4) through a convolution, and what it says of
    its FLOPs.
    """
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["input", "conv.weight"], ["wide"]),
            helper.make_node("GlobalAveragePool", ["wide"], ["logits"]),
        ],
        "net",
        [value("input", TensorProto.FLOAT, ["batch", 1, 4, 4])],
        [value("logits", TensorProto.FLOAT, ["batch", width, 1, 1])],
        [numpy_helper.from_array(np.ones((width, 1, 3, 3), np.float32), "conv.weight")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    model.metadata_props.add(key="flops", value=str(flops))
    onnx.save(model, path)


@pytest.fixture
def no_export(scripts, monkeypatch):
    """Networks made by hand in place of the exported ones, whose names and FLOPs stay: exporting
    takes seconds each.
    """
    sizes = []

    def export_all(models, folder, size):
        for number, (name, model, flops) in enumerate(models):
            sizes.append((name, flops, sum(parameter.numel() for parameter in model.parameters())))
            write(folder / f"{number}.onnx", 4, flops)
            yield scripts.latency.Network(name, folder / f"{number}.onnx")

    monkeypatch.setattr(scripts.latency, "find", lambda net: SimpleNamespace(input_size=(1, 4, 4)))
    monkeypatch.setattr(
        scripts.latency_gpu, "find", lambda net: SimpleNamespace(input_size=(1, 4, 4))
    )
    monkeypatch.setattr(scripts.latency, "export_all", export_all)
    monkeypatch.setattr(scripts.latency_gpu, "export_all", export_all)
    real = scripts.latency.pruned
    for module in (scripts.latency, scripts.latency_gpu):
        monkeypatch.setattr(
            module,
            "pruned",
            lambda net, share, rounds, size, **options: real(
                net, share, rounds, (3, 32, 32), **options
            ),
        )
    return sizes


@pytest.mark.slow
def test_every_way_to_prune_is_timed_beside_dense_and_what_is_there_is_passed_over(
    scripts, no_export, tmp_path
):
    words = [
        "--out",
        tmp_path,
        "--nets",
        NET,
        "--shares",
        "0.5",
        "--rounds",
        "1,unasked,8,64",
        "--batches",
        "1,2",
        "--threads",
        "1",
    ]
    call(scripts.latency, *words, *QUICK)
    [file] = tmp_path.glob("*.json")
    found = json.loads(file.read_text())
    names = [
        "dense",
        "slimmer, multiples of 1",
        "slimmer",
        "slimmer, multiples of 8",
        "torch-pruning",
    ]
    assert [name for name, _, _ in no_export] == names
    dense, *slim = (flops for _, flops, _ in no_export)
    assert all(flops <= dense / 2 for flops in slim)
    assert slim[0] > 0.49 * dense
    assert len({params for _, _, params in no_export}) == 5
    comparisons = found["profile"]["comparisons"]
    assert [(one["model"], one["batch"]) for one in comparisons] == [
        (name, b) for b in (1, 2) for name in names[1:]
    ]
    assert [one["promise"] for one in comparisons[:4]] == [dense / flops for flops in slim]
    assert found["weights"] == "random, seed 0"
    assert list(found["left_out"]) == [
        f"{who}, multiples of 64" for who in ("slimmer", "torch-pruning")
    ]
    assert "is there" in call(scripts.latency, *words, *QUICK).output
    table = call(scripts.latency, "--out", tmp_path, "--table").output
    assert "\nslimmer, multiples of 64: budget: " in table
    assert (
        f"| torch-pruning | {slim[3] / dense:.1%} | {dense / slim[3]:.2f} | "
        f"{scripts.latency.told(comparisons[3])} |" in table
    )
    assert all(f"- {note}" in table for note in found["profile"]["notes"])


def test_the_table_of_a_gpu_has_a_part_for_each_provider_and_says_what_is_not_active(
    scripts, no_export, tmp_path
):
    words = [
        "--out",
        tmp_path,
        "--nets",
        NET,
        "--batches",
        "1",
        *QUICK,
        "--provider",
        "cpu",
        "--provider",
        "tensorrt",
    ]
    result = call(scripts.latency_gpu, *words)
    text = (tmp_path / "latency_gpu.md").read_text()
    assert [name for name, _, _ in no_export] == [
        "dense",
        *(f"{gone}% fewer FLOPs" for gone in (50, 60, 70)),
    ]
    dense, *slim = (flops for _, flops, _ in no_export)
    assert all(
        flops <= (1 - gone) * dense for flops, gone in zip(slim, (0.5, 0.6, 0.7), strict=True)
    )
    assert f"## {NET}, cpu" in text
    assert text.count("% fewer FLOPs | 1 |") in {3, 6}
    if result.exit_code:
        assert f"## {NET}, tensorrt\n\nNot measured: provider tensorrt" in text
        before = (tmp_path / f"{NET}-cpu.json").read_bytes()
        call(scripts.latency_gpu, *words)  # what failed is tried again, what is there stays
        assert (tmp_path / f"{NET}-cpu.json").read_bytes() == before


def report(speedup, low, high):
    return {
        "comparisons": [
            {
                "model": "slim",
                "batch": 1,
                "threads": None,
                "speedup": speedup,
                "low": low,
                "high": high,
            }
        ]
    }


def test_the_spread_is_highest_over_lowest_and_intervals_are_held_against_the_median(scripts):
    [found] = scripts.repeatability.summary(
        [report(2.0, 1.9, 2.1), report(1.6, 1.5, 1.7), report(1.8, 1.5, 2.1)]
    )
    assert (found["speedup"], found["reports"], found["covered"]) == (1.8, 3, 1)
    assert found["hold_all"] == 1
    assert found["spread"] == pytest.approx(0.25)


@pytest.mark.slow
def test_repeats_are_processes_of_their_own(scripts, tmp_path):
    for name, width in (("dense", 8), ("slim", 4)):
        write(tmp_path / f"{name}.onnx", width, 100 * width)
    out = tmp_path / "out.json"
    files = tmp_path / "dense.onnx", tmp_path / "slim.onnx"
    options = "--batch 1 --threads 1 --runs 1 --seconds 0 --blocks 2"
    call(scripts.repeatability, *files, "--out", out, "--repeats", "2", "--set", options)
    found = json.loads(out.read_text())
    [case] = found["cases"]
    assert (case["model"], case["reports"], len(found["environments"])) == ("slim", 2, 2)
    assert all(one["promise"] == 2 for [one] in found["comparisons"])


@pytest.mark.slow
def test_the_script_exports_what_it_times(scripts, tmp_path):
    words = [
        "--out",
        tmp_path,
        "--nets",
        NET,
        "--shares",
        "0.5",
        "--rounds",
        "8",
        "--batches",
        "1",
        "--threads",
        "1",
    ]
    call(scripts.latency, *words, *QUICK)
    [file] = tmp_path.glob("*.json")
    layers = json.loads(file.read_text())["profile"]["layers"]
    widths = [one["width"] for one in layers["slimmer, multiples of 8"] if not one["output"]]
    assert all(width % 8 == 0 for width in widths)
    assert sum(widths) < sum(one["width"] for one in layers["dense"] if not one["output"])


def test_the_table_of_latency_budgets_is_written_after_every_case(scripts, monkeypatch, tmp_path):
    asked = []

    def measured(case, beside):
        asked.append(case)
        row = {"case": case, "busy": beside, "load": 1.25, "seconds": 12.3}
        if case["budget"]["latency"] == 0.3:
            raise KeyboardInterrupt
        if case["budget"]["latency"] == 0.5:
            return {**row, "refused": "budget.latency: too low\nmore"}
        clock = {"ratio": 0.661}
        found = {"ratio": 0.69, "low": 0.68, "high": 0.70, "rounds": [0.72, 0.69]}
        return {**row, "latency": found, "apart": {"cpu": clock, "wall": {"ratio": 0.7}}}

    monkeypatch.setattr(scripts.latency_budget, "measured", measured)
    words = [
        "--out",
        tmp_path,
        "--only",
        "cifar_resnet56",
        "--busy",
        "1",
        "--shares",
        "0.7,0.5,0.3",
    ]
    call(scripts.latency_budget, *words)  # stops at the third case
    text = (tmp_path / "README.md").read_text()
    shown = "0.690 (0.680 to 0.700) | 0.661 | 0.700 | 2 | 12 |"
    assert f"| cifar_resnet56 | latency 0.7 | cpu | fp32 | 1 | 1 | 1 | 1.2 | {shown}" in text
    assert "| refused: budget.latency: too low |  |" in text
    assert "2 cases, 1 with a plan; by the other script 1 inside the budget, 0 of them" in text
    assert [case["budget"]["latency"] for case in asked] == [0.7, 0.5, 0.3]
    call(scripts.latency_budget, *words)
    assert asked[3]["budget"]["latency"] == 0.3  # the first two are passed over


def test_a_case_in_int8_is_exported_in_int8_for_the_other_script(scripts, tmp_path):
    [case] = [each for each in scripts.latency_budget.cases() if each.get("precision") == "fp16"]
    assert case["net"] == "resnet18"
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU(), torch.nn.Conv2d(8, 8, 3))
    for precision, kind in (("int8", TensorProto.INT8), ("fp16", TensorProto.FLOAT16)):
        path = tmp_path / f"{precision}.onnx"
        scripts.latency_budget.export(model.eval(), path, (3, 16, 16), precision)
        kinds = [each.data_type for each in onnx.load(path).graph.initializer if each.dims]
        assert kind in kinds
        assert TensorProto.FLOAT not in [
            each.data_type for each in onnx.load(path).graph.initializer if len(each.dims) == 4
        ]
