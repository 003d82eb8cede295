"""Seconds to prune a ResNet-50 of ImageNet's size in one shot, slimmer beside Torch-Pruning, each a
whole process.

    python benchmarks/one_shot.py --out benchmarks/results/one_shot.json

Both read the same checkpoint (random weights), leave at most half the FLOPs and write the slim
network; slimmer also checks the slim network against the masked one and recounts it.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import click

from slimmer.models import build
from slimmer.models.checkpoint import save_weights
from slimmer.profiling.runtimes.environment import environment

PEER = """
import sys, torch
import torch_pruning as tp
from safetensors.torch import load_file
from slimmer.models import build
model = build("resnet50").eval()
model.load_state_dict(load_file(sys.argv[1]))
image = torch.zeros(1, 3, 224, 224)
dense, _ = tp.utils.count_ops_and_params(model, image)
pruner = tp.pruner.BasePruner(
    model, image, importance=tp.importance.GroupMagnitudeImportance(p=2), pruning_ratio=0.999,
    pruning_ratio_dict={}, ignored_layers=[model.fc], iterative_steps=100,
)
while tp.utils.count_ops_and_params(model, image)[0] > 0.5 * dense:
    pruner.step()
model.zero_grad()
torch.save(model, sys.argv[2])
print(tp.utils.count_ops_and_params(model, image)[0] / dense)
"""


@click.command(help=__doc__)
@click.option("--repeats", default=3)
@click.option("--out", type=Path, required=True)
def main(repeats: int, out: Path) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        checkpoint = folder / "resnet50.safetensors"
        save_weights(checkpoint, build("resnet50"), {})
        slimmer = [
            sys.executable,
            "-m",
            "slimmer",
            "prune",
            str(checkpoint),
            "--flops",
            "0.5",
            "--epochs",
            "0",
        ]
        seconds: dict[str, list[float]] = {"slimmer": [], "torch-pruning": []}
        ratios = {}
        for repeat in range(repeats):
            run = folder / f"run{repeat}"
            seconds["slimmer"].append(_timed([*slimmer, "--out", str(run)], folder)[0])
            ratios["slimmer"] = json.loads((run / "report.json").read_text())["flops"]["ratio"]
            peer = [sys.executable, "-c", PEER, str(checkpoint), str(folder / "peer.pth")]
            took, said = _timed(peer, folder)
            seconds["torch-pruning"].append(took)
            ratios["torch-pruning"] = float(said.strip().splitlines()[-1])
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    result = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "job": "ResNet-50, 224x224, half the FLOPs, no training, whole process",
        "seconds": seconds,
        "median": medians,
        "slimmer_over_torch_pruning": medians["slimmer"] / medians["torch-pruning"],
        "flops_remaining": ratios,
        "environment": environment(),
    }
    out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(medians, ratios)


def _timed(command: list[str], folder: Path) -> tuple[float, str]:
    began = time.perf_counter()
    done = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
    return time.perf_counter() - began, done.stdout


if __name__ == "__main__":
    main()
