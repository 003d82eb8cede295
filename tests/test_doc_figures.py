"""Figures in the README and in docs/ are those of benchmarks/results."""

import json
import re
import statistics
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"


def page(name):
    return (ROOT / name).read_text(encoding="utf-8")


def accuracies(name):
    """Top-1 in percent of every seed, and one row: half the FLOPs of ResNet-20, three epochs."""
    paths = RESULTS.glob(f"finals/cifar_resnet20-{name}-flops50-seed?.json")
    rows = [json.loads(path.read_text()) for path in paths]
    assert {row["epochs"] for row in rows} == {3.0}
    return [100 * row["accuracy_onnxruntime"] for row in rows], rows[0]


def speedup(net, share, name):
    """Over the dense network: one thread, batch 32."""
    path = RESULTS / "latency" / f"{net}-{share}.json"
    (found,) = [
        each["speedup"]
        for each in json.loads(path.read_text())["profile"]["comparisons"]
        if (each["model"], each["against"]) == (name, "dense")
        and (each["batch"], each["threads"]) == (32, 1)
    ]
    return f"{found:.2f}"


def cells(text, first):
    """The cells of the table's row that begins with `first`."""
    (row,) = [line for line in text.splitlines() if line.startswith(f"| {first} |")]
    return [cell.strip() for cell in row.strip("|").split("|")][1:]


def latencies(name):
    """Milliseconds of the quickest twentieth of runs, and the speedup over dense, in batches of 1
    on one thread: of one of the networks whose accuracy was measured.
    """
    found = json.loads((RESULTS / "same_networks.json").read_text())["profile"]
    (run,) = [row for row in found["timings"] if (row["model"], row["batch"]) == (name, 1)]
    pairs = [one for one in found["comparisons"] if (one["model"], one["batch"]) == (name, 1)]
    assert all(one["undisturbed"] and one["threads"] == 1 for one in pairs)
    speedups = [f"{one['speedup']:.2f}" for one in pairs] or ["1"]
    return [f"{run['p5_ms']:.2f} ms", *speedups]


@pytest.mark.parametrize(
    ("row", "name", "network"),
    [
        ("**slimmer**", "slimmer", "slimmer-flops50-seed0"),
        (
            "Torch-Pruning 1.6.1, group magnitude",
            "tp-magnitude",
            "tp-magnitude-flops50-seed0",
        ),
        (
            "the same with slimmer's distillation",
            "tp-magnitude-distill",
            "tp-magnitude-flops50-seed0",  # the same widths, trained with distillation
        ),
    ],
)
def test_the_readmes_table_is_that_of_the_results(row, name, network):
    found, example = accuracies(name)
    assert len(found) == 3
    assert example["recipe"]["finetune"]["distill"] == (0.0 if name == "tp-magnitude" else 0.9)
    accuracy = f"{statistics.mean(found):.2f} ± {statistics.stdev(found):.2f} %"
    share = f"{100 * example['flops_ratio']:.1f} %"
    assert cells(page("README.md"), row) == [accuracy, share, *latencies(network)]
    dense = f"{100 * example['accuracy_dense']:.2f} %"
    assert cells(page("README.md"), "dense") == [dense, "100 %", *latencies("dense")]


def test_the_networks_whose_latency_the_readme_has_are_those_whose_accuracy_it_has():
    timed = json.loads((RESULTS / "same_networks.json").read_text())["profile"]["subjects"]
    dense, *slim = timed
    for row in slim:
        known = json.loads((RESULTS / f"finals/cifar_resnet20-{row['name']}.json").read_text())
        assert row["flops"] / dense["flops"] == known["flops_ratio"]
        assert row["params"] / dense["params"] == known["params_ratio"]
    plain, distilled = (accuracies(name)[1] for name in ("tp-magnitude", "tp-magnitude-distill"))
    for key in ("flops_ratio", "params_ratio"):
        assert plain[key] == distilled[key]


def test_speedups_in_the_page_on_budgets_are_those_of_the_results():
    nets = {
        "ResNet-34": "resnet34",
        "ResNet-50": "resnet50",
        "VGG-16": "torchvision_vgg16_bn",
        "CIFAR ResNet-20": "cifar_resnet20",
    }
    names = ("slimmer, multiples of 1", "slimmer", "slimmer, multiples of 16")
    rows = re.findall(
        r"^\| ([\w -]+) \| (\d+) % \|([^|]*)\|([^|]*)\|([^|]*)\| ([\d.]+) \|$",
        page("docs/budgets.md"),
        re.MULTILINE,
    )
    assert len(rows) == 8
    for label, share, *told, ideal in rows:
        assert ideal == f"{100 / int(share):.2f}"
        for name, figure in zip(names, told, strict=True):
            if re.fullmatch(r"[\d.]+", figure.strip()):
                assert figure.strip() == speedup(nets[label], share, name)


def test_accuracies_in_the_page_on_budgets_are_those_of_the_results():
    files = {
        "`--flops 0.7`": "flops70",
        "`--params 0.6`": "params60",
        "`--flops 0.5 --params 0.6`": "flops50-params60",
        "`--params 0.35`": "params35",
        "`--flops 0.7 --params 0.35`": "flops70-params35",
    }
    for label, name in files.items():
        path = RESULTS / "both_budgets" / f"cifar_resnet20-slimmer-{name}-seed0.json"
        found = json.loads(path.read_text())
        keys = ("flops_ratio", "params_ratio", "accuracy_onnxruntime")
        assert cells(page("docs/budgets.md"), label) == [
            f"{100 * found[key]:.1f} %" for key in keys
        ]


def test_the_step_under_masks_costs_what_the_page_on_methods_says():
    rows = json.loads((RESULTS / "step_cost.json").read_text())["rows"]
    small, large = (f"{row['ratio_median']:.2f}" for row in rows)
    assert f"took {small} (ResNet-20) and {large} (ResNet-56)" in page("docs/methods.md")


def test_the_readme_counts_the_networks_of_the_results():
    number = len((RESULTS / "coverage.jsonl").read_text().splitlines())
    assert f"**{number} networks of torchvision and timm, none wrong.**" in page("README.md")
    lists = [line for line in page("benchmarks/results/coverage.md").splitlines() if "| " in line]
    wrong = [
        line.split(" | ")[5] for line in lists if line.startswith(("| timm,", "| torchvision |"))
    ]
    assert wrong == ["0", "0", "0"]


def test_the_page_on_the_paper_has_the_figures_of_the_results():
    names = {
        "MaskConvNet, dual ascent, weighted by cost": ("maskconvnet", "dual"),
        "MaskConvNet as reconstructed": ("maskconvnet", "proportional"),
        "Network Slimming": ("network_slimming", None),
        "BAR": ("bar", None),
    }
    (found,) = json.loads((RESULTS / "small" / "methods" / "compare.json").read_text())
    for label, wanted in names.items():
        (row,) = [
            row
            for row in found["rows"]
            if (row["method"], row["settings"].get("method.controller")) == wanted
        ]
        told = cells(page("docs/paper.md"), label)
        assert told[1] == f"{row['flops']['ratio']['mean']:.2%}".replace("%", " %")
        assert told[2] == f"{row['accuracy']['slim']['mean']:.2%}".replace("%", " %")
        if told[0]:
            left = row["masks_left"]["flops"]["mean"]
            assert told[0] == f"{left:.1%}".replace("%", " %")


def test_the_table_of_accuracies_in_the_limits_is_that_of_the_results():
    """Rows in the order of the page: network, share of the FLOPs, folder of one or more epochs."""
    wanted = [("20", 50, "screening"), ("20", 50, "finals"), ("20", 30, "screening")]
    wanted += [("56", 50, "screening"), ("56", 50, "finals")]
    _, _, table = page("docs/limits.md").partition("|---|---|---|---|---|---|\n")
    rows = table.strip().splitlines()
    assert len(rows) == len(wanted)
    for row, (net, share, folder) in zip(rows, wanted, strict=True):
        told = [cell.strip() for cell in row.strip("|").split("|")][3:]
        found = []
        for name in ("slimmer", "tp-magnitude", "tp-magnitude-distill"):
            files = RESULTS.glob(f"{folder}/cifar_resnet{net}-{name}-flops{share}-seed?.json")
            every = [json.loads(path.read_text())["accuracy_onnxruntime"] for path in files]
            found.append(f"{100 * statistics.mean(every):.1f} %" if every else "")
        assert told == found


@pytest.mark.parametrize(("net", "epochs"), [("20", 30), ("56", 12)])
def test_the_readme_has_the_long_runs_of_the_results(net, epochs):
    path = RESULTS / f"finals/cifar_resnet{net}-slimmer-{epochs}epochs-flops50-seed0.json"
    row = json.loads(path.read_text())
    top1, minutes = row["accuracy_onnxruntime"], row["seconds"] / 60
    text = " ".join(page("README.md").split())
    assert re.search(rf"ResNet-{net} (ends )?at {100 * top1:.2f} %", text)
    assert f"{minutes:.0f} minutes" in text
    assert row["epochs"] == epochs
