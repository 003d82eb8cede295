"""What an exported file says about itself: where it comes from, what it costs, what it wants to be
fed.
"""

import json
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from slimmer.atomic_files import digest
from slimmer.data import Data, fingerprint
from slimmer.exporting.input_shape import ANY_SIZE
from slimmer.exporting.variants import Variant
from slimmer.graph import Inputs, is_image, tensors_in
from slimmer.recipe import Recipe
from slimmer.recipe.costs import COSTS, costs_in
from slimmer.runs.directory import Run

PRECISIONS = {
    "fp32": "fp32",
    "torch": "fp32",
    "fp16": "fp16",
    "int8": "int8, QDQ, static, weights per channel",
}
SYMMETRIC = ", symmetric activations"
PIXELS = "pixels of 0..255 divided by 255, then (x - mean) / std per channel"
FLOATS = "images as they are (floats), then (x - mean) / std per channel"


def provenance(
    run: Run,
    variant: Variant,
    report: Mapping[str, Any],
    recipe: Recipe,
    data: Data | None,
    inputs: Inputs,
) -> dict[str, str]:
    """A variant's metadata, as strings; a file that says the same is the same.

    `inputs` are what the network takes. With `data` it also holds how images are normalised and
    what the classes are called.
    """
    costs = {kind.name: report[kind.name] for kind in costs_in(report)}
    section, name = recipe.export, variant.network
    budgets = {
        f"budget_{key}": f"at most {COSTS[key].short(cost['limit'])} ({cost['limit_ratio']:.2%} of dense)"
        for key, cost in costs.items()
        if cost["limit"] is not None
    }
    symmetric = variant.form == "int8" and section.int8_symmetric
    half_io = variant.form == "fp16" and section.fp16_io
    return {
        "slimmer": version("slimmer"),
        "torch": torch.__version__,
        "network": name,
        "arch": report["arch"],
        "recipe_hash": report["recipe_hash"],
        **({"plan_hash": report["plan_hash"], **budgets} if name == "slim" else {}),
        **_costs(costs, name),
        "weights_sha256": digest(weights_of(run, name)),
        "opset": "default" if section.opset is None else str(section.opset),
        "precision": PRECISIONS[variant.form] + (SYMMETRIC if symmetric else ""),
        "precision_io": "fp16" if half_io else "fp32",
        "batch": _batch(variant, inputs),
        "image_size": ANY_SIZE if variant.shape.dynamic_size else _sizes(inputs),
        **(
            {"int8_images": str(section.int8_images), "seed": str(recipe.seed)}
            if variant.form == "int8"
            else {}
        ),
        **({} if data is None else _wanted(data)),
        # int8 is calibrated on the data; a program is held against them only when it was just
        # written
        **(
            {}
            if data is None or variant.form not in ("int8", "torch")
            else {"data_sha256": fingerprint(data)}
        ),
    }


def _costs(costs: Mapping[str, Mapping[str, Any]], name: str) -> dict[str, str]:
    """Each cost of the network called `name`, and how it is counted."""
    told: dict[str, str] = {}
    for key, cost in costs.items():
        told |= {key: str(cost[name]), f"{key}_convention": str(cost["convention"])}
    return told


def _batch(variant: Variant, inputs: Inputs) -> str:
    """Of a network with inputs of its own, what its example has."""
    open_batch = "any" if is_image(inputs) else "as the example's"
    return open_batch if variant.shape.batch is None else str(variant.shape.batch)


def _sizes(inputs: Inputs) -> str:
    """One image's, or of each tensor that a call takes, with its type: a file for another example
    is another file.
    """
    if is_image(inputs):
        return "x".join(map(str, inputs))
    tensors = [
        ("x".join(map(str, tensor.shape)), str(tensor.dtype)) for tensor in tensors_in(inputs)
    ]
    return " and ".join(f"{sizes} {kind.removeprefix('torch.')}" for sizes, kind in tensors)


def weights_of(run: Run, name: str) -> Path:
    """The checkpoint of the run's "dense" or "slim" network."""
    return run.dense if name == "dense" else run.slim


def _wanted(data: Data) -> dict[str, str]:
    """How images are made ready for the network, and the names of its classes."""
    first = data.test.load(torch.zeros(1, dtype=torch.int64))
    return {
        "input_layout": "NCHW",
        "input_range": PIXELS if first.dtype == torch.uint8 else FLOATS,
        "input_mean": json.dumps(data.mean),
        "input_std": json.dumps(data.std),
        "classes": json.dumps(data.classes, ensure_ascii=False),
    }
