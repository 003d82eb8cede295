"""Every method at 50 and 30 % of the FLOPs, one row a process; rows whose result is there already
are passed over.

    python benchmarks/screening.py CHECKPOINT CIFAR_DIR --out benchmarks/results/screening

ResNet-20, 50,000 training images (one epoch), one seed. `--epochs 3 --seeds 0,1,2 --flops 0.5
--methods slimmer,maskconvnet,tp-magnitude` are the finals.
"""

import subprocess
import sys
from itertools import product
from pathlib import Path

import click
from accuracy import METHODS, row_name
from peers import IMPORTANCES

HERE = Path(__file__).parent


@click.command(help=__doc__)
@click.argument("checkpoint", type=Path)
@click.argument("data_path", type=Path)
@click.option("--out", type=Path, required=True)
@click.option("--recipe", type=Path, default=HERE.parent / "recipes" / "cifar_resnet20.yaml")
@click.option("--arch", default="cifar_resnet20", show_default=True)
@click.option("--flops", default="0.5,0.3", show_default=True)
@click.option("--params", help="a budget on the parameters beside each on the FLOPs")
@click.option("--seeds", default="0", show_default=True)
@click.option("--epochs", default=1.0, show_default=True)
@click.option("--lr", default=0.02, show_default=True)
@click.option("--threads", default=2, show_default=True)
@click.option("--methods", default=",".join([*METHODS, *IMPORTANCES]), show_default=True)
@click.option("--peers-distill", default="no,yes", show_default=True)
def main(
    checkpoint: Path,
    data_path: Path,
    out: Path,
    recipe: Path,
    arch: str,
    flops: str,
    params: str | None,
    seeds: str,
    epochs: float,
    lr: float,
    threads: int,
    methods: str,
    peers_distill: str,
) -> None:
    for seed, budget, method in product(seeds.split(","), flops.split(","), methods.split(",")):
        for distill in peers_distill.split(",") if method not in METHODS else ["no"]:
            limits = {"flops": float(budget)} | ({"params": float(params)} if params else {})
            name = row_name(arch, method, limits, int(seed), distill=distill == "yes")
            if (out / name).exists():
                continue
            settings = {f"budget.{cost}": share for cost, share in limits.items()}
            settings |= {"seed": int(seed), "finetune.epochs": epochs, "finetune.lr": lr}
            command = [
                sys.executable,
                str(HERE / "accuracy.py"),
                str(recipe),
                str(checkpoint),
                str(data_path),
                method,
            ]
            command += ["--out", str(out), "--threads", str(threads)]
            command += ["--distill"] if distill == "yes" else []
            command += [
                part for key, value in settings.items() for part in ("--set", f"{key}={value}")
            ]
            print(name, flush=True)
            done = subprocess.run(command, check=False, stdout=subprocess.DEVNULL)
            if done.returncode:
                print(f"{name}: failed, exit code {done.returncode}", flush=True)


if __name__ == "__main__":
    main()
