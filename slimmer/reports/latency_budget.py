"""How a latency budget was kept, in sentences."""

from collections.abc import Mapping, Sequence
from typing import Any

from slimmer.recipe.costs import COSTS

SLOWEST = 20  # nodes in a table


def latency_hint(report: Mapping[str, Any]) -> list[str]:
    """Where and how the latency was measured, and what the rounds found; nothing without a latency
    budget.
    """
    found = report.get("latency_measured")
    if found is None:
        return []
    machine = found["machine"]
    place = f"{machine.get('cpu')}, ONNX Runtime {machine.get('onnxruntime')}"
    if found["setting"]["provider"] != "cpu" and machine.get("gpu"):
        place = f"{machine['gpu']}, ONNX Runtime {machine.get('onnxruntime')}"
    hints = [f"Latency in {setting_text(found)}, on {place}."]
    time = COSTS["latency"].short(found["ms"] * 1e6)
    interval = f"{found['low']:.1%} to {found['high']:.1%}"
    fit = f"a fit to {found['networks']} networks, mean error {found['fit_error']:.1%}"
    if not found["measured"]:
        hints.append(
            f"Predicted, not measured: {time}, {found['ratio']:.1%} of dense, from "
            f"{fit} (largest error: {interval}). Time slim.onnx on that machine."
        )
        return hints
    rounds = ", ".join(f"{ratio:.1%}" for ratio in found["rounds"])
    count = len(found["rounds"])
    noun = "network was" if count == 1 else "networks were"
    hints.append(
        f"Measured: {time}, {found['ratio']:.1%} of dense (95 % interval "
        f"{interval}). {count} {noun} measured in {found['seconds']:.0f} s: {rounds}; the "
        f"widths come from {fit}."
    )
    return hints


def setting_text(found: Mapping[str, Any]) -> str:
    """The setting of a measurement in words.

    >>> setting = {"provider": "cpu", "threads": 1, "batch": 8, "precision": "fp32"}
    >>> setting_text({"setting": setting, "image": [3, 32, 32]})
    'ONNX Runtime on cpu, 1 thread, batch 8, fp32, images of 3x32x32'
    """
    setting = found["setting"]
    threads = "one thread per core"
    if setting["threads"] is not None:
        noun = "thread" if setting["threads"] == 1 else "threads"
        threads = f"{setting['threads']} {noun}"
    image = "x".join(map(str, found["image"]))
    return (
        f"ONNX Runtime on {setting['provider']}, {threads}, batch {setting['batch']}, "
        f"{setting['precision']}, images of {image}"
    )


def time_rows(rows: Sequence[Mapping[str, Any]], most: int = SLOWEST) -> list[tuple[str, str, str]]:
    """The slowest nodes: layer, and microseconds in the dense and in the narrowest network."""
    found = []
    for row in rows[:most]:
        found.append((row["layer"], f"{row['ns'] / 1000:,.1f}", f"{row['least_ns'] / 1000:,.1f}"))
    return found


def least_hint(latency: Mapping[str, Any]) -> str:
    """How far pruning channels can lower a latency.

    >>> least_hint({"dense": 8_000_000, "least": 2_000_000, "least_ratio": 0.25})
    'The narrowest network takes 2 ms, 25.0% of dense, with all residual branches.'
    """
    time, ratio = COSTS["latency"].short(latency["least"]), latency["least_ratio"]
    return f"The narrowest network takes {time}, {ratio:.1%} of dense, with all residual branches."
