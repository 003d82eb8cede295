"""The report says what was measured: as data, and the same figures for people."""

import os
import re
from pathlib import Path

import pytest
import zoo
from fvcore.nn import FlopCountAnalysis

from slimmer.costs import Budget, flops_cost, params_cost
from slimmer.pruning.apply import prune
from slimmer.pruning.plan import make_plan
from slimmer.reports.hints import width_hint
from slimmer.reports.report_data import cost_report
from slimmer.reports.run_report import to_markdown

GOLDEN = Path(__file__).parent / "golden" / "report.md"

REPORT = {
    "format": 1,
    "slimmer": "0.1.0",
    "date": "2026-11-22T18:00:00+00:00",
    "run": "runs/cifar_resnet8-1",
    "arch": "cifar_resnet8",
    "inputs": "one image of 1x16x16",
    "seed": 7,
    "method": "taylor",
    "epochs": 2.5,
    "recipe_hash": "0123456789abcdef",
    "plan_hash": "fedcba9876543210",
    "flops": {
        "convention": "fvcore, 1 FLOP per multiply-add",
        "dense": 3024512,
        "slim": 1509102,
        "ratio": 1509102 / 3024512,
        "sparsity": 1 - 1509102 / 3024512,
        "limit": 1512256.0,
        "limit_ratio": 0.5,
    },
    "params": {
        "convention": "elements of all parameters, buffers not counted",
        "dense": 75002,
        "slim": 41234,
        "ratio": 41234 / 75002,
        "sparsity": 1 - 41234 / 75002,
        "limit": None,
        "limit_ratio": None,
    },
    "recount": {"fvcore": 1509102, "torch": 2966220},
    "accuracy": {"dense": 0.99444, "removed": 0.91667, "slim": 0.99167},
    "groups": [
        {"name": "conv1", "dense": 16, "slim": 11, "channels_each": 1},
        {"name": "layer1.0.conv1", "dense": 16, "slim": 8, "channels_each": 1},
        {"name": "layer3.0.conv1", "dense": 64, "slim": 41, "channels_each": 1},
    ],
    "fixed": [{"layer": "linear", "channels": 10, "of": 10, "reason": "the network's output"}],
    "seconds": 12.3,
    "environment": {},
}
CASE = {"model": "dense", "runtime": "onnxruntime", "threads": 1, "batch": 1}
SLIM = {**CASE, "model": "slim"}
TIMING = {
    **CASE,
    "samples": 1500,
    "median_ms": 0.41234,
    "block_medians_ms": [0.412] * 11,
    "p5_ms": 0.401,
    "p50_ms": 0.412,
    "p90_ms": 0.5,
    "p95_ms": 0.55,
    "p99_ms": 0.612,
    "variation": 0.0213,
    "drift": 0.0123,
    "drift_verdict": "steady",
    "images_per_s": 2425.2,
    "first_run_ms": 1.25,
    "cpu_median_ms": 0.41,
    "copies_ms": {},
}
LAYER = {
    "name": "conv1",
    "kind": "Conv",
    "width": 16,
    "reads": 1,
    "groups": 1,
    "multiple": 16,
    "output": False,
}
HEAD = {**LAYER, "name": "linear", "kind": "Gemm", "width": 10, "multiple": 1, "output": True}
COST = {"session_ms": 25.1, "first_run_ms": 1.4, "memory_bytes": 11_500_000, "device_bytes": None}
PROFILE = {
    "schema": 4,
    "provider": "CPUExecutionProvider",
    "conditions": {
        "input_size": [1, 16, 16],
        "effort": {"seconds": 1.0, "runs": 5, "blocks": 11},
        "batches": [1],
        "provider": "cpu",
        "runtimes": ["onnxruntime"],
        "threads": [1],
        "options": {
            "strict": False,
            "cuda_graph": False,
            "tf32": None,
            "conv_search": None,
            "prefer_nhwc": None,
        },
    },
    "environment": {
        "cpu": "A CPU",
        "usable_cores": 2,
        "load": 0.5,
        "onnxruntime": "1.31.1",
        "torch": "2.13.0",
    },
    "gpu": {"before": None, "after": None},
    "subjects": [
        {
            "name": name,
            "size_bytes": size,
            "runtime": "onnxruntime",
            "precision": "fp32",
            "origin": {},
        }
        for name, size in (("dense", 300_000), ("slim", 164_936))
    ],
    "timings": [
        TIMING,
        {**TIMING, **SLIM, "median_ms": 0.25, "p99_ms": None, "images_per_s": 4000.0},
    ],
    "among": [],
    "comparisons": [
        {
            **SLIM,
            "against": "dense",
            "against_runtime": "onnxruntime",
            "speedup": 1.649,
            "low": 1.6,
            "high": 1.701,
            "by": "wall time",
            "undisturbed": True,
            "wall": {"speedup": 1.649, "low": 1.6, "high": 1.701},
            "cpu": {"speedup": 1.64, "low": 1.6, "high": 1.68},
            "of_medians": 1.6,
            "verdict": "faster",
            "promise": 2.004,
            "efficiency": 0.823,
        }
    ],
    "fresh": [{**CASE, "cost": COST}, {**SLIM, "cost": {**COST, "memory_bytes": None}}],
    "traces": [
        {
            **CASE,
            "trace": {
                "nodes": {},
                "on_cpu": [],
                "memcpy": [],
                "shares": {"Conv": 0.99, "Add": 0.006, "Pad": 0.004},
            },
        },
        {
            **SLIM,
            "trace": {"nodes": {}, "on_cpu": [], "memcpy": [], "shares": {"Conv": 0.9, "Add": 0.1}},
        },
    ],
    "layers": {"dense": [LAYER, HEAD], "slim": [{**LAYER, "width": 11, "multiple": 1}, HEAD]},
    "notes": ["Timed on one thread."],
}
PARITY = {"max_abs": 1.3e-6, "max_rel": 1e-6, "top1_agreement": 1.0, "images": 64}
NETWORK = {
    "file": "runs/cifar_resnet8-1/dense.onnx",
    "bytes": 312_345,
    "precision": "fp32",
    "batch": "any",
    "image_size": "1x16x16",
    "notes": [],
    "parity": {
        "random": {**PARITY, "max_abs": 1e-7},
        "test": {**PARITY, "top1_agreement": 0.984375},
    },
    "accuracy": 0.99444,
}
EXPORTED = {
    "networks": {
        "dense": NETWORK,
        "slim": {**NETWORK, "file": "runs/cifar_resnet8-1/slim.onnx", "accuracy": None},
        "slim.int8": {
            **NETWORK,
            "file": "runs/cifar_resnet8-1/slim.int8.onnx",
            "precision": "int8, QDQ, static, weights per channel",
            "notes": [
                (
                    "top-1 99.17% compared with 99.44% in fp32 (-0.28 points); calibrated on 256 "
                    "training images"
                )
            ],
        },
    }
}


def test_the_report_for_people_is_the_golden_text():
    """Set SLIMMER_GOLDEN=write to take over a change that is meant."""
    text = to_markdown(REPORT, EXPORTED, PROFILE)
    if os.environ.get("SLIMMER_GOLDEN") == "write":
        GOLDEN.write_text(text, encoding="utf-8")
    assert text == GOLDEN.read_text(encoding="utf-8")


def rows(text):
    """The cells of every row of every table, by its first cell."""
    lines = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    return {cells[0]: cells[1:] for cells in lines}


def number(text):
    return int(text.replace(",", ""))


@pytest.mark.parametrize(("label", "key"), [("FLOPs", "flops"), ("parameters", "params")])
def test_the_shares_follow_from_the_counts_beside_them(label, key):
    dense, slim, remains, sparsity, _ = rows(to_markdown(REPORT))[label]
    assert (number(dense), number(slim)) == (REPORT[key]["dense"], REPORT[key]["slim"])
    assert remains == f"{100 * number(slim) / number(dense):.2f}%"
    assert float(remains.rstrip("%")) + float(sparsity.rstrip("%")) == pytest.approx(100)


def test_the_budget_stands_beside_what_it_limits():
    table = rows(to_markdown(REPORT))
    assert table["FLOPs"][-1] == "at most 1.51 M (50.00%)"
    assert table["parameters"][-1] == "none"


@pytest.mark.parametrize(
    ("widths", "odd"),
    [
        ([(16, 11, 1), (32, 24, 1), (64, 64, 1)], "1 of 2 pruned"),
        ([(16, 8, 1), (10, 10, 1), (32, 5, 16)], None),
    ],
)
def test_odd_widths_are_said_where_they_come_about(widths, odd):
    groups = [
        {"name": "a", "dense": dense, "slim": slim, "channels_each": each}
        for dense, slim, each in widths
    ]
    told = width_hint({"groups": groups})
    assert [line[:13] for line in told] == ([odd] if odd else [])


@pytest.mark.parametrize("known", [{}, {"exported": EXPORTED}, {"profile": PROFILE}])
def test_export_and_latency_stand_there_once_they_are_known(known):
    headings = re.findall("^## (.*)$", to_markdown(REPORT, **known), re.MULTILINE)
    between = {
        "exported": ["Exported files, compared with PyTorch"],
        "profile": ["Latency, CPUExecutionProvider"],
    }
    assert headings == [*(between[next(iter(known))] if known else []), "Widths", "Not pruned"]


def test_latencies_of_another_version_are_passed_over_and_said():
    text = to_markdown(REPORT, profile={"provider": "CPUExecutionProvider", "timings": []})
    assert "run `slimmer profile` again" in text


def test_every_comparison_with_pytorch_is_shown_and_what_there_is_to_say():
    lines = to_markdown(REPORT, EXPORTED).splitlines()
    found = [
        line.strip("| ").split(" | ")[1:]
        for line in lines
        if line.startswith("| runs/cifar_resnet8-1/dense.onnx")
    ]
    taken = ["fp32, batch any, 1x16x16", "0.31"]
    assert found == [
        [*taken, "64 random", "1.0e-07", "1.0e-06", "100.00%", "top-1 99.44%"],
        [*taken, "64 test", "1.3e-06", "1.0e-06", "98.44%", "top-1 99.44%"],
    ]
    assert sum("slim.int8.onnx: top-1 99.17% compared with 99.44%" in line for line in lines) == 1


def test_without_data_no_accuracy_is_claimed():
    text = to_markdown({**REPORT, "accuracy": None})
    assert "accuracy is unknown" in text
    assert "top-1" not in text


def test_a_module_without_a_name_has_a_heading():
    assert to_markdown({**REPORT, "arch": ""}).startswith("# module, pruned\n")


def test_the_figures_are_those_of_the_slim_network():
    """fvcore's count and the parameters of the network that the plan gives."""
    model, graph = zoo.traced("Chain")
    plan = make_plan(graph, {"conv1": [0, 3], "conv2": [1, 2, 4]})
    slim = prune(model, plan)
    flops, params = flops_cost(model, graph, zoo.SIZE), params_cost(model, graph)
    found = [cost_report(cost, plan, [Budget(params, 100.0)]) for cost in (flops, params)]
    image = zoo.images("Chain", 1)
    counted = [
        [FlopCountAnalysis(net, image), sum(p.numel() for p in net.parameters())]
        for net in (model, slim)
    ]
    for net, key in zip(counted, ("dense", "slim"), strict=True):
        net[0].unsupported_ops_warnings(enabled=False)
        assert [report[key] for report in found] == [net[0].total(), net[1]]
    for report in found:
        assert report["ratio"] == report["slim"] / report["dense"]
        assert report["ratio"] + report["sparsity"] == pytest.approx(1)
    assert (found[0]["limit"], found[0]["limit_ratio"]) == (None, None)
    assert (found[1]["limit"], found[1]["limit_ratio"]) == (100.0, 100 / found[1]["dense"])


def test_what_masks_left_by_themselves_is_said():
    told = to_markdown({**REPORT, "before_projection": {"flops": 0.5213, "params": 0.6}})
    assert "The masks alone left 52.13% of the FLOPs and 60.00% of the parameters" in told
    assert "masks alone" not in to_markdown({**REPORT, "before_projection": None})
