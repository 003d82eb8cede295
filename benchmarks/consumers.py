"""Which runtimes take slimmer's files, and how near their outputs are to PyTorch's.

    python benchmarks/consumers.py --ort117 DIR --openvino DIR --ncnn DIR --web DIR --out
    benchmarks/results

Every form that slimmer exports, of three networks at half their FLOPs with random weights, is run
by each consumer in a process of its own. DIR is where `pip install --target DIR` put it (a virtual
environment does too), for --web where `npm install` did; without one a consumer is skipped. Today's
ONNX Runtime and PyTorch are slimmer's own.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from torch import nn
from torchvision_here import import_torchvision

import slimmer
from slimmer.atomic_files import write_json, write_text
from slimmer.exporting.fp16 import write_fp16
from slimmer.exporting.input_shape import ORDINARY, Shape
from slimmer.exporting.int8 import write_int8
from slimmer.exporting.onnx import export_onnx
from slimmer.exporting.torch_program import larger, write_program
from slimmer.models import build, find
from slimmer.profiling.runtimes.environment import environment

FOLDER = Path(__file__).parent
NETS = "cifar_resnet20,resnet18,torchvision/mobilenet_v2"
IMAGES, SIDE = 16, 64  # of networks for ImageNet, which take any: so that a table takes minutes
PROGRAM = "torch.export program"
LIMIT = 600  # seconds for all files of a network in one consumer


@dataclass(frozen=True)
class Consumer:
    """What runs files: its name, how consume.py calls it, where it is installed (None: beside
    slimmer).
    """

    name: str
    kind: str
    where: Path | None = None
    programs: bool = (
        False  # whether it takes torch.export programs, for which it needs PyTorch beside it
    )
    onnx: bool = True


@dataclass(frozen=True, eq=False)
class File:
    """An exported file: its form in words, the type and batch of its images, the images, what
    PyTorch makes of them.
    """

    form: str
    path: Path
    images: torch.Tensor
    expected: np.ndarray[Any, Any]
    kind: str = "float32"
    batch: int | None = None


@click.command(help=__doc__)
@click.option(
    "--ort117",
    type=click.Path(exists=True, path_type=Path),
    help="onnxruntime 1.17.3 and numpy 1.26.4",
)
@click.option("--openvino", type=click.Path(exists=True, path_type=Path))
@click.option("--ncnn", type=click.Path(exists=True, path_type=Path), help="ncnn and pnnx")
@click.option("--web", type=click.Path(exists=True, path_type=Path), help="onnxruntime-web, by npm")
@click.option("--nets", default=NETS, show_default=True)
@click.option(
    "--out", type=Path, required=True, help="the folder of consumers.json and consumers.md"
)
def main(nets: str, out: Path, **places: Path | None) -> None:
    consumers, skipped = available(places)
    versions: dict[str, Any] = {}
    rows = []
    import_torchvision()
    for net in nets.split(","):
        with tempfile.TemporaryDirectory(prefix="slimmer-consumers-") as folder:
            files = list(exported(net, Path(folder)))
            for consumer in consumers:
                for row in consumed(consumer, files, Path(folder), versions):
                    rows.append({"network": net, **row})
                    print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
    words = [f"--{name} DIR" for name, place in places.items() if place is not None]
    found = {
        "command": " ".join(
            ["python benchmarks/consumers.py", *words, f"--nets {nets}", "--out", out.name]
        ),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": versions,
        "skipped": skipped,
        "environment": environment(),
        "rows": rows,
    }
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / "consumers.json", found)
    write_text(out / "consumers.md", "\n".join(to_table(found)) + "\n")


def available(places: Mapping[str, Path | None]) -> tuple[list[Consumer], dict[str, str]]:
    """The consumers that are there, and why the others are skipped."""
    consumers = [
        Consumer("PyTorch", "torch", programs=True, onnx=False),
        Consumer("ONNX Runtime, today's", "onnxruntime"),
    ]
    others = {
        "ort117": Consumer("ONNX Runtime 1.17", "onnxruntime"),
        "openvino": Consumer("OpenVINO", "openvino", programs=True),
        "ncnn": Consumer("ncnn, by pnnx", "ncnn"),
        "web": Consumer("onnxruntime-web", "web"),
    }
    skipped = {}
    for option, consumer in others.items():
        place = places.get(option)
        if place is None:
            skipped[consumer.name] = f"no --{option} was given"
        else:
            consumers.append(replace(consumer, where=place))
    return consumers, skipped


def exported(net: str, folder: Path) -> Iterator[File]:
    """Every form of a slim network, as the export of a run writes it, made apart so that none stops
    the others.
    """
    model, size = slim(net)
    images, other = torch.randn(IMAGES, *size), torch.randn(IMAGES, *larger(size))

    def of(form: str, name: str, images: torch.Tensor = images, **settings: Any) -> File:
        with torch.inference_mode():
            expected = model(images).numpy()
        return File(form, folder / name, images, expected, **settings)

    shapes = {
        "fp32": ("fp32.onnx", ORDINARY, None, images),
        "fp32, opset 18": ("opset18.onnx", ORDINARY, 18, images),
        "fp32, batch 1": ("batch1.onnx", Shape(batch=1), None, images[:1]),
        "fp32, batch 8": ("batch8.onnx", Shape(batch=8), None, images[:8]),
        "fp32, any size": ("anysize.onnx", Shape(dynamic_size=True), None, other),
    }
    for form, (name, shape, opset, fed) in shapes.items():
        file = of(form, name, fed, batch=shape.batch)
        export_onnx(model, file.path, size, metadata={}, opset=opset, shape=shape)
        yield file
    single = folder / "fp32.onnx"
    for half_io in (False, True):
        file = of("fp16, inputs too" if half_io else "fp16", f"fp16{half_io}.onnx")
        write_fp16(single, file.path, half_io=half_io, metadata={})
        yield replace(file, kind="float16" if half_io else "float32")
    for symmetric in (False, True):
        file = of("int8, symmetric" if symmetric else "int8", f"int8{symmetric}.onnx")
        write_int8(single, file.path, [images.numpy()], metadata={}, symmetric=symmetric)
        yield file
    file = of(PROGRAM, "program.pt2")
    write_program(model, file.path, size, shape=ORDINARY, metadata={})
    yield file


def slim(net: str) -> tuple[nn.Module, tuple[int, ...]]:
    """A network by name with half its FLOPs, random weights and batch norm that has seen images;
    and their size.
    """
    torch.manual_seed(0)
    model, size = build(net), find(net).input_size
    size = (size[0], min(size[1], SIDE), min(size[2], SIDE))
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = None  # the mean over all that it sees
    with torch.inference_mode():
        model.train()(torch.randn(IMAGES, *size))
    return slimmer.prune(model.eval(), input_size=list(size), flops=0.5, epochs=0).model, size


def consumed(
    consumer: Consumer, files: Sequence[File], folder: Path, versions: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    """What came of each file that a consumer takes; its version is put into `versions`."""
    taken = [
        file
        for file in files
        if (consumer.programs if file.path.suffix == ".pt2" else consumer.onnx)
    ]
    jobs = [job(file, folder) for file in taken]
    (folder / "jobs.json").write_text(json.dumps(jobs), encoding="utf-8")
    done = subprocess.run(
        command(consumer, folder),
        env=surroundings(consumer),
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    if not lines:
        raise click.ClickException(f"{consumer.name} does not start: {done.stderr[-1000:]}")
    versions[consumer.name] = lines[0]
    said = {line["name"]: line for line in lines[1:]}
    died = {"error": f"the process ended with {done.returncode}"}
    for file, asked in zip(taken, jobs, strict=True):
        error = said.get(file.form, died).get("error")
        found = (
            {"error": " ".join(error.split())[:300]}
            if error
            else held(file, folder / asked["answer"])
        )
        (folder / asked["answer"]).unlink(missing_ok=True)
        yield {"form": file.form, "consumer": consumer.name, **found}


def command(consumer: Consumer, folder: Path) -> list[str]:
    """What runs the files in `folder`; a consumer with a place of its own sees no other packages,
    if it can.
    """
    if consumer.kind == "web":
        return ["node", str(FOLDER / "consume_web.cjs"), str(consumer.where), str(folder)]
    alone = ["-S"] if consumer.where is not None and not consumer.programs else []
    return [sys.executable, *alone, str(FOLDER / "consume.py"), consumer.kind, str(folder)]


def surroundings(consumer: Consumer) -> dict[str, str]:
    """The environment of a consumer's process: one thread, and its folder first in sys.path."""
    found = {**os.environ, "OMP_NUM_THREADS": "1"}
    if consumer.where is None or consumer.kind == "web":
        return found
    inside = sorted(consumer.where.glob("lib/python*/site-packages"))  # of a virtual environment
    return {**found, "PYTHONPATH": str(next(iter(inside), consumer.where).resolve())}


def job(file: File, folder: Path) -> dict[str, Any]:
    """What a consumer is told of a file; the images are written beside it as raw numbers."""
    images = folder / f"{file.path.stem}.images"
    file.images.numpy().astype(file.kind).tofile(images)
    return {
        "name": file.form,
        "file": file.path.name,
        "images": images.name,
        "answer": f"{file.path.stem}.answer",
        "shape": list(file.images.shape),
        "type": file.kind,
        "batch": file.batch,
    }


def held(file: File, answer: Path) -> dict[str, Any]:
    """How near an answer comes: the largest difference over the largest output, and the share of
    equal top-1.
    """
    got = np.fromfile(answer, file.kind).astype(np.float32)
    if got.size != file.expected.size:
        return {"error": f"it gives {got.size} numbers in place of {file.expected.size}"}
    got = got.reshape(file.expected.shape)
    return {
        "max_rel": float(np.abs(got - file.expected).max() / np.abs(file.expected).max()),
        "same_top1": float((got.argmax(1) == file.expected.argmax(1)).mean()),
        "images": len(got),
    }


def to_table(found: Mapping[str, Any]) -> list[str]:
    """The rows as Markdown: a table for each network, a row a form, a column a consumer."""
    lines = [
        "# Which runtimes take the files",
        "",
        f"`{found['command']}`, {found['date']}, {machine(found)}.",
        "",
    ]
    lines += [
        (
            "Cells: largest difference over the largest output, and the share of images with "
            "PyTorch's top-1."
        )
    ]
    lines += [
        "Weights are random, so that outputs lie near one another and int8 may change the top-1."
    ]
    lines += [f"Skipped: {name}, {why}." for name, why in found["skipped"].items()]
    rows = {(row["network"], row["form"], row["consumer"]): row for row in found["rows"]}
    consumers, reasons = list(found["versions"]), list[str]()
    heads = [f"{name}, {found['versions'][name]['version']}" for name in consumers]
    for network in dict.fromkeys(row["network"] for row in found["rows"]):
        lines += [
            "",
            f"## {network}",
            "",
            f"| form | {' | '.join(heads)} |",
            "|---" * (1 + len(heads)) + "|",
        ]
        for form in dict.fromkeys(
            row["form"] for row in found["rows"] if row["network"] == network
        ):
            cells = [told(rows.get((network, form, consumer)), reasons) for consumer in consumers]
            lines.append(f"| {form} | {' | '.join(cells)} |")
    return [*lines, "", *(f"{number}. {reason}" for number, reason in enumerate(reasons, 1))]


def told(row: Mapping[str, Any] | None, reasons: list[str]) -> str:
    """What a cell says; a reason for a failure is put into `reasons` once."""
    if row is None:
        return "reads none"
    if "error" not in row:
        return f"{row['max_rel']:.1e}, {row['same_top1']:.0%}"
    reason = f"{row['consumer']}: {row['error']}"
    if reason not in reasons:
        reasons.append(reason)
    return f"fails ({reasons.index(reason) + 1})"


def machine(found: Mapping[str, Any]) -> str:
    """The hardware and the versions that the files were written with."""
    return ", ".join(
        f"{name} {found['environment'][name]}" for name in ("cpu", "torch", "onnx", "onnxruntime")
    )


if __name__ == "__main__":
    main()
