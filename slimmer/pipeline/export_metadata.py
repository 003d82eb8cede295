"""The metadata of an exported file: its origin, its costs and the input that it expects."""

import json
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from slimmer.atomic_files import digest
from slimmer.data import Data
from slimmer.exporting.input_shape import ANY_SIZE
from slimmer.exporting.variants import Variant
from slimmer.graph import Inputs, is_image, tensors_in
from slimmer.recipe import Recipe
from slimmer.recipe.costs import COSTS, costs_in
from slimmer.runs.directory import Run
from slimmer.tasks import Task
from slimmer.tasks.fingerprint import fingerprint_of

PIXELS = "pixels of 0..255 divided by 255, then (x - mean) / std per channel"
FLOATS = "images as they are (floats), then (x - mean) / std per channel"


def provenance(
    run: Run,
    variant: Variant,
    report: Mapping[str, Any],
    recipe: Recipe,
    task: Task | None,
    inputs: Inputs,
) -> dict[str, str]:
    """A variant's metadata, as strings; files with equal metadata are equal.

    `inputs` are the inputs of the network. With a ready-made `task` the metadata also hold how
    images are normalised and the names of the classes.
    """
    section, name = recipe.export, variant.network
    found = {
        "slimmer": version("slimmer"),
        "torch": torch.__version__,
        "network": name,
        "arch": report["arch"],
        "recipe_hash": report["recipe_hash"],
    }
    costs = {kind.name: report[kind.name] for kind in costs_in(report)}
    if name == "slim":
        found |= {"plan_hash": report["plan_hash"], **_budgets(costs)}
    found |= _costs(costs, name)
    found["weights_sha256"] = digest(weights_of(run, name))
    found["opset"] = "default" if section.opset is None else str(section.opset)
    found["precision"] = variant.form.precision(section)
    found["precision_io"] = variant.form.precision_io(section)
    found["batch"] = _batch(variant, inputs)
    found["image_size"] = ANY_SIZE if variant.shape.dynamic_size else _sizes(inputs)
    if variant.form.calibrated:
        found |= {"int8_images": str(section.int8_images), "seed": str(recipe.seed)}
    if task is not None and task.data is None:
        found["task"] = task.name
    if task is not None:
        found |= {} if task.data is None else _wanted(task.data)
        # The data matter to an int8 file, which is calibrated on them, and to a PyTorch program,
        # which is compared with them only when it has just been written.
        if variant.form.depends_on_data:
            found["data_sha256"] = fingerprint_of(task)
    return found


def _budgets(costs: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """The budgets of the run, in words."""
    found = {}
    for key, cost in costs.items():
        if cost["limit"] is not None:
            limit = COSTS[key].short(cost["limit"])
            found[f"budget_{key}"] = f"at most {limit} ({cost['limit_ratio']:.2%} of dense)"
    return found


def _costs(costs: Mapping[str, Mapping[str, Any]], name: str) -> dict[str, str]:
    """Each cost of the network called `name`, with the convention by which it is counted."""
    found: dict[str, str] = {}
    for key, cost in costs.items():
        found |= {key: str(cost[name]), f"{key}_convention": str(cost["convention"])}
    return found


def _batch(variant: Variant, inputs: Inputs) -> str:
    """The batch size of a variant; a network with its own example inputs has the example's."""
    if variant.shape.batch is not None:
        return str(variant.shape.batch)
    return "any" if is_image(inputs) else "as the example's"


def _sizes(inputs: Inputs) -> str:
    """The size of one image, or the size and type of each tensor that a call takes.

    The types are part of it because a file for another example is another file.
    """
    if is_image(inputs):
        return "x".join(map(str, inputs))
    found = []
    for tensor in tensors_in(inputs):
        kind = str(tensor.dtype).removeprefix("torch.")
        found.append(f"{'x'.join(map(str, tensor.shape))} {kind}")
    return " and ".join(found)


def weights_of(run: Run, name: str) -> Path:
    """The checkpoint of the run's "dense" or "slim" network."""
    return run.dense if name == "dense" else run.slim


def _wanted(data: Data) -> dict[str, str]:
    """How images are prepared for the network, and the names of its classes."""
    first = data.test.load(torch.zeros(1, dtype=torch.int64))
    return {
        "input_layout": "NCHW",
        "input_range": PIXELS if first.dtype == torch.uint8 else FLOATS,
        "input_mean": json.dumps(data.mean),
        "input_std": json.dumps(data.std),
        "classes": json.dumps(data.classes, ensure_ascii=False),
    }
