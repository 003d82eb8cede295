"""Whether a latency budget is kept: plans of `--latency`, timed by another script.

    python benchmarks/latency_budget.py --out benchmarks/results/latency_budget

Each case prunes a network with random weights (latency does not depend on them), exports the dense
and the slim network with `torch.onnx`, and runs timed_apart.py on the two files in a process of its
own. The line of a case has the budget, the measured share by slimmer and by that script (CPU time
and wall time), the rounds, and the seconds. `--busy N` runs N processes beside each case. Cases
that are in OUT/cases.jsonl are passed over. OUT/README.md is the table of all lines, written after
every case (benchmarks/latency_budget_table.py writes it alone). Measurements are cached while this
runs, so the first case of a network and setting takes longer. `--provider cuda` or `tensorrt` does
the same on a GPU, in one call; timed_apart.py then binds inputs and outputs on the device.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from busy import busy
from latency_budget_table import write_table
from torch import nn
from torchvision_here import import_torchvision

import slimmer
from slimmer.errors import SlimmerError
from slimmer.exporting.fp16 import write_fp16
from slimmer.exporting.int8 import write_int8
from slimmer.exporting.onnx import export_onnx
from slimmer.models import build, find
from slimmer.profiling.runtimes.environment import environment

APART = Path(__file__).with_name("timed_apart.py")
SHARES = (0.7, 0.5, 0.3)
REDUCED = (
    *(("resnet18", 0.6, "int8"), ("resnet18", 0.7, "fp16")),
    ("cifar_resnet56", 0.7, "int8"),
)
ON_GPU = ("resnet18", "resnet50", "cifar_resnet56")
NETS = (
    *("cifar_resnet20", "cifar_resnet56", "resnet18", "torchvision/mobilenet_v2"),
    *("torchvision/regnet_y_400mf", "resnet34", "resnet50", "torchvision/vgg16"),
)


def cases(provider: str = "cpu") -> list[dict[str, Any]]:
    """The 33 cases: eight networks at three budgets on one thread, then others, three of them in
    int8 and fp16. On a GPU, three networks at two budgets and two batch sizes.
    """
    if provider != "cpu":
        found = []
        for net, share, batch in product(ON_GPU, (0.7, 0.5), (1, 64)):
            budget = {"latency": share}
            found.append({"net": net, "budget": budget, "provider": provider, "batch": batch})
        return found
    found = []
    for net in NETS:
        for share in SHARES:
            found.append({"net": net, "budget": {"latency": share}, "threads": 1, "batch": 1})
    joint = {"latency": 0.6, "flops": 0.5}
    found += [
        {"net": "cifar_resnet56", "budget": joint, "threads": 1, "batch": 1},
        {"net": "resnet18", "budget": {"latency": 0.5, "params": 0.4}, "threads": 1, "batch": 1},
        {"net": "cifar_resnet20", "budget": {"latency": 0.6}, "threads": 1, "batch": 32},
        {"net": "cifar_resnet56", "budget": {"latency": 0.5}, "threads": 1, "batch": 32},
        {"net": "cifar_resnet56", "budget": {"latency": 0.7}, "threads": 2, "batch": 1},
        {"net": "resnet18", "budget": {"latency": 0.5}, "threads": 2, "batch": 1},
    ]
    for net, share, precision in REDUCED:
        budget = {"latency": share}
        case = {"net": net, "budget": budget, "threads": 1, "batch": 1, "precision": precision}
        found.append(case)
    return found


@click.command(help=__doc__)
@click.option("--out", type=Path, required=True)
@click.option("--only", default="", help="networks, separated by commas; all by default")
@click.option("--shares", default="", help="budgets on the latency alone; all by default")
@click.option("--provider", default="cpu", show_default=True)
@click.option("--busy", "beside", default=0, show_default=True, help="processes that only compute")
def main(out: Path, only: str, shares: str, provider: str, beside: int) -> None:
    out.mkdir(parents=True, exist_ok=True)
    file = out / "cases.jsonl"
    done = []
    if file.exists():
        rows = [json.loads(line) for line in file.read_text().splitlines()]
        done = [{**row["case"], "busy": row["busy"]} for row in rows]
    with tempfile.TemporaryDirectory(prefix="slimmer-cache-") as cache:
        os.environ["XDG_CACHE_HOME"] = cache
        for case in cases(provider):
            named = not only or case["net"] in only.split(",")
            near = not shares or str(case["budget"]["latency"]) in shares.split(",")
            if not named or not near or {**case, "busy": beside} in done:
                continue
            with busy(beside):
                row = measured(case, beside)
            with file.open("a") as lines:
                lines.write(json.dumps(row) + "\n")
            write_table(out)
            print(told(row), flush=True)


def measured(case: dict[str, Any], beside: int) -> dict[str, Any]:
    """The line of a case."""
    model, size = network(case["net"])
    budget, began = dict(case["budget"]), time.monotonic()
    cpu = time.process_time()
    row = {"case": case, "busy": beside, "load": os.getloadavg()[0]}
    row["date"] = datetime.now(UTC).isoformat(timespec="seconds")
    row["environment"] = environment()
    options = {"batch": case["batch"], "input_size": size}
    options["precision"] = case.get("precision", "fp32")
    if "threads" in case:
        options["threads"] = case["threads"]
    else:
        options["latency_on"] = case["provider"]
    try:
        result = slimmer.prune(model, **budget, **options)
    except SlimmerError as error:
        return {**row, "refused": str(error), "seconds": round(time.monotonic() - began, 1)}
    row["seconds"] = round(time.monotonic() - began, 1)
    row["cpu_seconds"] = round(time.process_time() - cpu, 1)
    row["kept"] = {name: result.report[name]["ratio"] for name in budget}
    row["latency"] = {
        key: value for key, value in result.report["latency_measured"].items() if key != "machine"
    }
    row["widths"] = list(result.plan.widths)
    row["apart"] = apart(model, result.model, size, case)
    return row


def apart(
    dense: nn.Module, slim: nn.Module, size: tuple[int, ...], case: dict[str, Any]
) -> dict[str, Any]:
    """What timed_apart.py finds for the networks, exported in the precision of the case."""
    with tempfile.TemporaryDirectory(prefix="slimmer-apart-") as folder:
        files = [str(Path(folder) / f"{name}.onnx") for name in ("dense", "slim")]
        for model, file in zip((dense, slim), files, strict=True):
            export(model, Path(file), size, case.get("precision", "fp32"))
        setting = [f"--threads={case.get('threads', 1)}", f"--batch={case['batch']}"]
        setting.append(f"--provider={case.get('provider', 'cpu')}")
        command = [sys.executable, str(APART), *files, *setting]
        found = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(found.stdout)


def export(model: nn.Module, path: Path, size: tuple[int, ...], precision: str) -> None:
    """Write the ONNX file of a network in a precision."""
    if precision == "fp32":
        export_onnx(model, path, size, metadata={})
        return
    single = path.with_name(f"single-{path.name}")
    export_onnx(model, single, size, metadata={})
    if precision == "fp16":
        write_fp16(single, path, half_io=False, metadata={})
    else:
        images = np.random.default_rng(1).standard_normal((4, *size), dtype=np.float32)
        write_int8(single, path, [images], metadata={})


def network(name: str) -> tuple[nn.Module, tuple[int, ...]]:
    """A network with random weights, in eval mode, and its image."""
    torch.manual_seed(0)
    if name.startswith("torchvision/"):
        import_torchvision()
    model = build(name).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.1)
    return model, find(name).input_size


def told(row: dict[str, Any]) -> str:
    """A line of progress."""
    case = row["case"]
    where = case.get("provider", f"{case.get('threads')} threads")
    text = f"{case['net']} {case['budget']} {where} batch {case['batch']}"
    text += f" {case.get('precision', 'fp32')}"
    if "refused" in row:
        return f"{text}: refused, {row['refused'].splitlines()[0]}"
    cpu, wall = row["apart"]["cpu"]["ratio"], row["apart"]["wall"]["ratio"]
    found = row["latency"]
    text += f": {found['ratio']:.3f}; apart {cpu:.3f} (wall {wall:.3f})"
    return f"{text}; {len(found['rounds'])} rounds, {row['seconds']} s"


if __name__ == "__main__":
    main()
