"""A finished run's networks written to ONNX and held against PyTorch."""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from dataclasses import asdict
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from slimmer.checkpoint import read_metadata as read_notes
from slimmer.data import Data, evaluation_batches
from slimmer.errors import DataError, ExportError
from slimmer.export.onnx import check_parity, export_onnx, read_metadata
from slimmer.files import read_json, write_json, write_text
from slimmer.prepare import load_data
from slimmer.recipe import Recipe
from slimmer.report import to_markdown
from slimmer.run import Run
from slimmer.runtimes.onnxruntime import accuracy
from slimmer.slim import Identity, load_network
from slimmer.units import short

Observe = Callable[[dict[str, Any]], None]
NETWORKS = ("dense", "slim")


def export_run(
    run: Run,
    *,
    opset: int | None = None,
    model: nn.Module | None = None,
    observe: Observe = lambda _: None,
) -> dict[str, Any]:
    """What the export of a finished run measured; dense.onnx, slim.onnx and export.json are then in the run.

    Each file is compared with PyTorch on random images, and where the run has data on test images too, on all of
    which ONNX Runtime's top-1 is taken. A file that is current is not written again. `model` is the dense module
    of a run that was started from Python without an architecture's name.
    Raises ExportError where a network can't be exported or computes something else as ONNX.
    """
    recipe, report = run.recipe(), run.read_report()
    data = _data(recipe, observe)
    opset = recipe.export.opset if opset is None else opset
    networks = {}
    for name in NETWORKS:
        observe({"event": "export", "network": name})
        networks[name] = _export(run, name, _metadata(run, name, report, opset), recipe, data, model)
    found = {
        "format": 1,
        "slimmer": version("slimmer"),
        "run": str(run.path),
        "recipe_hash": report["recipe_hash"],
        "plan_hash": report["plan_hash"],
        "networks": networks,
    }
    write_json(run.exported, found)
    tell_report(run)
    return found


def tell_report(run: Run) -> None:
    """Write report.md anew, with all that is known of the run by now."""
    exported, timed = (read_json(file) if file.is_file() else None for file in (run.exported, run.profile))
    write_text(run.text, to_markdown(run.read_report(), exported, timed))


def _export(
    run: Run,
    name: str,
    metadata: Mapping[str, str],
    recipe: Recipe,
    data: Data | None,
    model: nn.Module | None,
) -> dict[str, Any]:
    """One network of the run as ONNX, and how it stands to PyTorch; a file that computes something else goes."""
    weights, path = _weights(run, name), run.onnx(name)
    network = load_network(weights, None if model is None else deepcopy(model))
    size = Identity.from_metadata(read_notes(weights), str(weights)).input_size
    current = _is_current(path, metadata)
    if not current:
        asked = metadata["opset"]
        export_onnx(network, path, size, metadata=metadata, opset=int(asked) if asked.isdigit() else None)
    number = recipe.export.images
    images = {"random": torch.randn((number, *size), generator=torch.Generator().manual_seed(recipe.seed))}
    if data is not None:
        images["test"] = torch.cat(list(islice(_test_images(data, 1), number)))
    try:
        parity = {kind: asdict(check_parity(network, path, some)) for kind, some in images.items()}
    except ExportError:
        path.unlink(missing_ok=True)
        raise
    threads = torch.get_num_threads()
    return {
        "file": str(path),
        "bytes": path.stat().st_size,
        "reused": current,
        "flops": int(metadata["flops"]),
        "params": int(metadata["params"]),
        "parity": parity,
        "accuracy": None if data is None else accuracy(path, evaluation_batches(data.test, data, 100), threads=threads),
    }


def _test_images(data: Data, batch: int) -> Iterator[Tensor]:
    return (images for images, _ in evaluation_batches(data.test, data, batch))


def _weights(run: Run, name: str) -> Path:
    return run.dense if name == "dense" else run.slim


def _metadata(run: Run, name: str, report: Mapping[str, Any], opset: int | None) -> dict[str, str]:
    """What the ONNX file says about itself; a file that says the same is the same."""
    flops, params = report["flops"], report["params"]
    budgets = {
        f"budget_{key}": f"at most {short(cost['limit'])} ({cost['limit_ratio']:.2%} of dense)"
        for key, cost in (("flops", flops), ("params", params))
        if cost["limit"] is not None
    }
    return {
        "slimmer": version("slimmer"),
        "torch": torch.__version__,
        "network": name,
        "arch": report["arch"],
        "recipe_hash": report["recipe_hash"],
        **({"plan_hash": report["plan_hash"], **budgets} if name == "slim" else {}),
        "flops": str(flops[name]),
        "flops_convention": flops["convention"],
        "params": str(params[name]),
        "weights_sha256": hashlib.sha256(_weights(run, name).read_bytes()).hexdigest(),
        "opset": "default" if opset is None else str(opset),
    }


def _is_current(path: Path, metadata: Mapping[str, str]) -> bool:
    """Whether `path` is the ONNX file that would be written again."""
    try:
        return read_metadata(path) == dict(metadata)
    except ExportError:
        return False


def _data(recipe: Recipe, observe: Observe) -> Data | None:
    """The run's data, or None where it has none or they are no longer there; that is said."""
    try:
        return load_data(recipe.data)
    except DataError as error:
        observe({"event": "note", "text": f"no accuracy is measured, since the run's data can't be read: {error}"})
        return None
