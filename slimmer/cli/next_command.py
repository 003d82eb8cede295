"""The command to type after another one, with what was typed before."""

from collections.abc import Mapping, Sequence
from math import ceil, inf
from pathlib import Path
from shlex import join, quote
from typing import Any

from slimmer.reports.metric_text import metric_of

HALF = 0.5  # of the FLOPs: the budget that is proposed if it can be met
ROOM = 0.02  # of the dense FLOPs, above the lowest budget that can be met


def typed(run: str) -> str:
    """The path of a run directory, quoted for the shell, relative to the working directory."""
    path, here = Path(run), Path.cwd()
    if path.is_relative_to(here):
        path = path.relative_to(here)
    return quote(str(path))


def after_inspect(checkpoint: str, found: Mapping[str, Any], given: Mapping[str, Any]) -> str:
    """`slimmer prune` for an inspected checkpoint, with the options of `inspect` that were given;
    empty if nothing can be removed.

    >>> after_inspect("net.pth", {"flops": {"least_ratio": 0.31}}, {"arch": "timm/vgg11"})
    'slimmer prune net.pth --arch timm/vgg11 --flops 0.5 --data DATA'
    >>> after_inspect("net.pth", {"flops": {"least_ratio": 0.723}}, {"keep": ("layer4",)})
    'slimmer prune net.pth --keep layer4 --flops 0.75 --data DATA'
    """
    budget = HALF
    if found["flops"]["least_ratio"] > HALF:
        budget = ceil(100 * (found["flops"]["least_ratio"] + ROOM)) / 100
    if budget >= 1:
        return ""
    options = [*_network_options(given), "--flops", f"{budget:g}", "--data", "DATA"]
    return join(["slimmer", "prune", checkpoint, *options])


def _network_options(given: Mapping[str, Any]) -> list[str]:
    words: list[str] = []
    if given.get("arch"):
        words += ["--arch", given["arch"]]
    if given.get("entry"):
        words += ["--set", f"model.entry={given['entry']}"]
    if given.get("input_size"):
        words += ["--set", f"model.input_size={list(given['input_size'])}"]
    for option in ("keep", "only"):
        for pattern in given.get(option, ()):
            words += [f"--{option}", pattern]
    if given.get("trace"):
        words += ["--trace", ",".join(given["trace"])]
    for option in ("equal_splits", "rewrite"):
        if given.get(option):
            words.append(f"--{option.replace('_', '-')}")
    return words


def after_comparison(comparisons: Sequence[Mapping[str, Any]]) -> str:
    """`slimmer profile` for the run with the best metric in the first comparison; empty without
    runs.
    """
    if not comparisons:
        return ""
    best = max(comparisons[0]["rows"], key=_merit)
    return f"slimmer profile {typed(best['runs'][0])}"


def _merit(row: Mapping[str, Any]) -> float:
    """A row's metric, larger for better; the least of all if nothing was measured."""
    if row["accuracy"] is None or row["accuracy"]["slim"] is None:
        return -inf
    value = float(row["accuracy"]["slim"]["mean"])
    return value if metric_of(row).higher_is_better else -value
