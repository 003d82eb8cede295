"""Tables that explain a latency: where time is spent, where nodes run, which widths are slow."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import starmap
from typing import Any

from slimmer.profiling.notes import threads_told
from slimmer.recipe.runtimes import BUILT_IN, DEFAULT
from slimmer.reports.rows import by_key, column

CPU = "CPUExecutionProvider"
ON_CPU = (CPU, "cpu")  # the names that ONNX Runtime and PyTorch use
MULTIPLES = (8, 16, 32)
_LEAST_SHARE = 0.01  # operations that take less of the time everywhere are added up as "others"

Profile = Mapping[str, Any]
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Part:
    """A table with its title, and sentences below it; either may be empty."""

    title: str
    heads: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    says: tuple[str, ...] = ()


def several(found: Profile, condition: str) -> bool:
    """Whether a profile covers more than one of its batches, threads or runtimes."""
    return len(found["conditions"][condition]) > 1


def names_runtimes(found: Profile) -> bool:
    """Whether tables name the runtime: always, except if ONNX Runtime alone ran the networks."""
    return several(found, "runtimes") or set(column(found["timings"], "runtime")) != {DEFAULT}


def versions(found: Profile) -> Iterator[str]:
    """The runtimes with their versions; a runtime from another package by its label."""
    machine = found["environment"]
    for name in ("onnxruntime", "torch"):
        if machine.get(name):
            yield f"{name} {machine[name]}"
    for name, used in found.get("runtimes", {}).items():
        if name not in BUILT_IN:
            yield f"{used['label']} {used['version'] or '(version unknown)'}"


def key(row: Row) -> tuple[Any, ...]:
    """What identifies a timing, a comparison or a trace."""
    return row["model"], row["runtime"], row["threads"], row["batch"]


def where(found: Profile) -> Part:
    """Each operation's share of the time, in percent and milliseconds, at the largest batch."""
    largest = max(column(found["traces"], "batch"))
    traced = [one for one in found["traces"] if one["batch"] == largest]
    medians = {key(row): row["median_ms"] for row in found["timings"]}
    shares, totals = {}, {}
    for one in traced:
        shares[one["model"]] = one["trace"]["shares"]
        totals[one["model"]] = medians[key(one)]
    rows = []
    for name, each in _by_operation(shares).items():
        rows.append((name, *_operation_cells(each, totals)))
    threads = f", {threads_told(traced[0]['threads'])}" if several(found, "threads") else ""
    note = (
        "Shares come from a profiled session of each network. Milliseconds are that share of the "
        "median above, because the profiler slows down what it times. In parentheses: the speedup "
        "over the first network."
    )
    title = f"Where time goes, batch {largest}{threads}"
    return Part(title, ("operation", *shares), tuple(rows), (note,))


def _by_operation(shares: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """The shares by operation, then by network: largest first, the small ones added up last."""
    largest: dict[str, float] = {}
    for each in shares.values():
        for name, share in each.items():
            largest[name] = max(share, largest.get(name, 0))
    large = {name: share for name, share in largest.items() if share >= _LEAST_SHARE}
    found = {}
    for name in sorted(large, key=lambda name: -large[name]):
        found[name] = {model: each.get(name, 0.0) for model, each in shares.items()}
    found["others"] = {}
    for model, each in shares.items():
        found["others"][model] = sum(share for name, share in each.items() if name not in large)
    return found


def _operation_cells(shares: Mapping[str, float], totals: Mapping[str, float]) -> Iterator[str]:
    """An operation's share and milliseconds in each network, and the speedup over the first one."""
    times = {model: share * totals[model] for model, share in shares.items()}
    first, *_ = times.values()
    for number, (model, share) in enumerate(shares.items()):
        gain = ""
        if number and first and times[model]:
            gain = f" ({first / times[model]:.2f}x)"
        yield f"{share:.1%}, {times[model]:.3f} ms{gain}"


def nodes(found: Profile) -> Part:
    """On which provider each network's nodes run, and which nodes fell back to the CPU or copy."""
    rows = []
    for name, trace in by_key(found["traces"], "model", "trace").items():
        counts = ", ".join(f"{provider} {number}" for provider, number in trace["nodes"].items())
        fallen = "; ".join(trace["on_cpu"]) or "none"
        copying = "; ".join(trace["memcpy"]) or "none"
        rows.append((name, counts, fallen, copying))
    heads = ("network", "nodes", "fell back to the CPU", "copies between devices")
    return Part("Where nodes run", heads, tuple(rows))


def widths(found: Profile, *, every_layer: bool) -> Iterator[Part]:
    """How many layer widths are not multiples of 8, 16 and 32, and which layers these are.

    The layer that produces the output is left out.
    """
    inner = {}
    for name, layers in found["layers"].items():
        hidden = [one for one in layers if not one["output"]]
        if hidden:
            inner[name] = hidden
    if not inner:
        return
    heads = ("network", "layers", "not a multiple of 8", "of 16", "of 32")
    yield Part("Widths", heads, tuple(starmap(_width_counts, inner.items())))
    by_name = dict(zip(inner, map(_by_name, inner.values()), strict=True))
    odd = _odd_layers(by_name)
    if every_layer and odd:
        title = "Layers whose width is not a multiple of 32 in at least one network"
        table = [_layer_row(layer, by_name) for layer in odd]
        yield Part(title, ("layer", *by_name), tuple(table))


def _width_counts(name: str, layers: Sequence[Row]) -> tuple[str, ...]:
    """A network, its number of layers, and how many widths miss each multiple."""
    multiples = column(layers, "multiple")
    missed = []
    for least in MULTIPLES:
        missed.append(sum(multiple < least for multiple in multiples))
    return (name, str(len(layers)), *map(str, missed))


def _by_name(layers: Sequence[Row]) -> dict[str, Row]:
    return {one["name"]: one for one in layers}


def _odd_layers(by_name: Mapping[str, Mapping[str, Row]]) -> list[str]:
    """The layers whose width is not a multiple of 32 in at least one network, in file order."""
    every: dict[str, bool] = {}
    for layers in by_name.values():
        for name, layer in layers.items():
            every[name] = every.get(name, False) or layer["multiple"] < max(MULTIPLES)
    return list(filter(every.get, every))


def _layer_row(layer: str, by_name: Mapping[str, Mapping[str, Row]]) -> tuple[str, ...]:
    return (layer, *(_width(layers.get(layer)) for layers in by_name.values()))


def _width(layer: Row | None) -> str:
    if layer is None:
        return ""
    multiple = "not a multiple of 8" if layer["multiple"] == 1 else layer["multiple"]
    return f"{layer['width']} ({multiple})"
