"""A detector, pruned and fine-tuned in ultralytics' own trainer: mAP50 and latency.

    python benchmarks/detection.py --out benchmarks/results/detection.json

YOLO11n is trained from random weights on a few hundred images that are drawn (benchmarks/
drawn_boxes.py), pruned to half its FLOPs by slimmer, and trained on by ultralytics with the slim
network in place of the dense one. Needs ultralytics; nothing is downloaded.
"""

import json
import os
import tempfile
import time
from copy import deepcopy
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click
import torch
from drawn_boxes import draw_set, read_batches
from torchvision_here import import_torchvision

import slimmer
from slimmer.profiling.runtimes.environment import environment

import_torchvision()  # before ultralytics, which needs its nms


@click.command(help=__doc__)
@click.option("--epochs", default=60, show_default=True, help="Epochs of the dense network.")
@click.option("--tune", default=20, show_default=True, help="Epochs of the slim network.")
@click.option("--images", default=240, show_default=True, help="Training images; a third to test.")
@click.option("--size", default=128, show_default=True, help="Side of an image in pixels.")
@click.option("--flops", default=0.5, show_default=True, help="FLOPs that remain.")
@click.option("--seed", default=0, show_default=True)
@click.option("--magnitude", is_flag=True, help="Score channels by weights, without any images.")
@click.option("--dense", help="best.pt of an earlier call, in the place of training.")
@click.option("--work", type=Path, help="Folder to work in.  [default: a temporary one]")
@click.option("--out", type=Path, required=True)
def main(**options: Any) -> None:
    torch.set_num_threads(1)
    work = options["work"] or Path(tempfile.mkdtemp())
    work.mkdir(parents=True, exist_ok=True)
    os.environ |= {
        "YOLO_CONFIG_DIR": str(work),
        "YOLO_OFFLINE": "true",
        "YOLO_AUTOINSTALL": "false",
    }
    found = measured(work.resolve(), options)
    out = options["out"].resolve()
    named = ("epochs", "tune", "images", "size", "flops", "seed")
    flags = " ".join(f"--{name} {options[name]}" for name in named)
    if options["magnitude"]:
        flags += " --magnitude"
    if options["dense"] is not None:
        flags += f" --dense {Path(options['dense']).name}"
    about = {
        "command": f"python benchmarks/detection.py {flags} --out benchmarks/results/{out.name}",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "seed": options["seed"],
        "ultralytics": version("ultralytics"),
        "environment": environment(),
    }
    out.write_text(json.dumps({**about, **found}, indent=1) + "\n")


def measured(work: Path, options: dict[str, Any]) -> dict[str, Any]:
    """All figures of one run of the experiment."""
    from ultralytics import YOLO  # noqa: PLC0415 - reads its settings from the environment

    images, size, seed = options["images"], options["size"], options["seed"]
    data = draw_set(work / "set", train=images, val=images // 3, size=size, seed=seed)
    common = {"data": str(data), "imgsz": size, "batch": 16, "seed": seed, "device": "cpu"}
    common |= {"workers": 0, "val": False, "plots": False, "project": str(work), "amp": False}
    wrapper = YOLO(options["dense"] or "yolo11n.yaml")
    clock = time.process_time()
    if options["dense"] is None:
        wrapper.train(epochs=options["epochs"], name="dense", **common)
    dense = wrapper.model.float().eval()
    maps = {"dense": map50(dense, data, size)}
    seconds = {"dense": time.process_time() - clock}

    clock = time.process_time()
    folder = None if options["magnitude"] else work / "set"
    pruned = pruned_network(dense, options["flops"], size, folder)
    seconds["prune"] = time.process_time() - clock
    maps["slim, before fine-tuning"] = map50(pruned.model, data, size)

    clock = time.process_time()
    wrapper.model = trained_slim(pruned.model, options["tune"], common)
    seconds["fine-tune"] = time.process_time() - clock
    maps["slim, fine-tuned"] = map50(wrapper.model, data, size)

    finished = slimmer.finish(pruned, wrapper.model.float(), out=work / "run")
    dense.model[-1].shape = None  # the head's cache would fix the program to one batch size
    exported = slimmer.export(work / "run", model=dense)
    timed = slimmer.profile(work / "run", batches=(1, 8), threads=1)
    return {
        "mAP50": maps,
        "cpu_seconds": seconds,
        "flops": finished.report["flops"],
        "params": finished.report["params"],
        "exported": {name: file_entry(each) for name, each in exported["networks"].items()},
        "latency": timed["comparisons"],
    }


def pruned_network(
    dense: torch.nn.Module, flops: float, size: int, folder: Path | None
) -> slimmer.Result:
    """The pruned network; its channels are scored by ultralytics' own loss on the training images
    in `folder`, or without a folder by their weights.
    """
    if folder is None:
        return slimmer.prune(dense, flops=flops, input_size=(3, size, size))
    from ultralytics.cfg import get_cfg  # noqa: PLC0415

    dense.args = get_cfg()  # the weights of the parts of the loss
    criterion = dense.init_criterion()
    batches = read_batches(folder, 16)

    def loss(outputs: Any, batch: Any) -> torch.Tensor:
        return criterion(outputs, batch[1])[0].sum()

    return slimmer.prune(dense, batches[0][0][:1], flops=flops, loss=loss, batches=batches)


def trained_slim(slim: torch.nn.Module, epochs: int, common: dict[str, Any]) -> torch.nn.Module:
    """The slim network after training by ultralytics, whose trainer would build a dense one."""
    from ultralytics import YOLO  # noqa: PLC0415
    from ultralytics.models.yolo.detect import DetectionTrainer  # noqa: PLC0415

    class SlimTrainer(DetectionTrainer):
        def get_model(self, cfg=None, weights=None, verbose=True):  # noqa: ANN001, ANN202, ARG002
            return self.set_model_names_for_load(slim)

    wrapper = YOLO("yolo11n.yaml")
    wrapper.model = slim.train()
    wrapper.train(trainer=SlimTrainer, epochs=epochs, name="slim", **common)
    return wrapper.model


def file_entry(exported: dict[str, Any]) -> dict[str, Any]:
    """What was exported, without the folder of this run."""
    return {**exported, "file": Path(exported["file"]).name}


def map50(model: torch.nn.Module, data: Path, size: int) -> float:
    """mAP50 on the test images, 0 to 1; of a copy, since ultralytics fuses what it validates."""
    from ultralytics import YOLO  # noqa: PLC0415

    wrapper = YOLO("yolo11n.yaml")
    wrapper.model = deepcopy(model)
    found = wrapper.val(data=str(data), imgsz=size, device="cpu", workers=0, plots=False)
    return round(float(found.box.map50), 4)


if __name__ == "__main__":
    main()
