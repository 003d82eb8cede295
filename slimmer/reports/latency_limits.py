"""What explains a latency, as tables: where time goes, where nodes run, which widths kernels do not
like.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from slimmer.profiling.notes import threads_told
from slimmer.recipe.runtimes import DEFAULT, OWN

CPU = "CPUExecutionProvider"
ON_CPU = (CPU, "cpu")  # as ONNX Runtime and as PyTorch call it
_LEAST_SHARE = 0.01  # an operation that takes less of the time is one of "others"

Profile = Mapping[str, Any]
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Part:
    """A table with its title, and sentences under it; either may be empty."""

    title: str
    heads: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    says: tuple[str, ...] = ()


def several(found: Profile, condition: str) -> bool:
    """Whether a profile has more than one of its batches, threads or runtimes."""
    return len(found["conditions"][condition]) > 1


def names_runtimes(found: Profile) -> bool:
    """Whether tables say the runtime: always, but where ONNX Runtime alone ran the networks."""
    return several(found, "runtimes") or {row["runtime"] for row in found["timings"]} != {DEFAULT}


def versions(found: Profile) -> Iterator[str]:
    """What ran the networks, with its version; a package's runtime by its label."""
    machine = found["environment"]
    for name in ("onnxruntime", "torch"):
        if machine.get(name):
            yield f"{name} {machine[name]}"
    for name, used in found.get("runtimes", {}).items():
        if name not in OWN:
            yield f"{used['label']} {used['version'] or '(version unknown)'}"


def key(row: Row) -> tuple[Any, ...]:
    """What tells a timing, a comparison or a trace from the others."""
    return row["model"], row["runtime"], row["threads"], row["batch"]


def where(found: Profile) -> Part:
    """Each operation's share of the time and what that comes to, network beside network, at the
    largest batch.
    """
    largest = max(one["batch"] for one in found["traces"])
    traced = [one for one in found["traces"] if one["batch"] == largest]
    medians = {key(row): row["median_ms"] for row in found["timings"]}
    shares = {one["model"]: one["trace"]["shares"] for one in traced}
    whole = {one["model"]: medians[key(one)] for one in traced}
    names = list(
        dict.fromkeys(
            name
            for each in shares.values()
            for name, share in each.items()
            if share >= _LEAST_SHARE
        )
    )
    names.sort(key=lambda name: -max(each.get(name, 0) for each in shares.values()))
    told = {name: {model: each.get(name, 0.0) for model, each in shares.items()} for name in names}
    told["others"] = {
        model: sum(share for name, share in each.items() if name not in names)
        for model, each in shares.items()
    }
    rows = [(name, *_parts_of_the_time(each, whole)) for name, each in told.items()]
    told_threads = f", {threads_told(traced[0]['threads'])}" if several(found, "threads") else ""
    said = (
        "Shares come from a profiled session of each network. Milliseconds are that share of the "
        "median above, because the profiler slows down what it times. In parentheses: the speedup "
        "over the first network."
    )
    return Part(
        f"Where time goes, batch {largest}{told_threads}",
        ("operation", *shares),
        tuple(rows),
        (said,),
    )


def _parts_of_the_time(shares: Mapping[str, float], whole: Mapping[str, float]) -> Iterator[str]:
    """An operation's share, its milliseconds, and how many times faster than in the first network,
    for each.
    """
    times = {model: share * whole[model] for model, share in shares.items()}
    first = next(iter(times.values()))
    for number, (model, share) in enumerate(shares.items()):
        gain = f" ({first / times[model]:.2f}x)" if number and first and times[model] else ""
        yield f"{share:.1%}, {times[model]:.3f} ms{gain}"


def nodes(found: Profile) -> Part:
    """Which provider each network's nodes run on, and which of them fell back or copy."""
    traces = {one["model"]: one["trace"] for one in found["traces"]}
    rows = tuple(
        (
            name,
            ", ".join(f"{provider} {number}" for provider, number in trace["nodes"].items()),
            "; ".join(trace["on_cpu"]) or "none",
            "; ".join(trace["memcpy"]) or "none",
        )
        for name, trace in traces.items()
    )
    return Part(
        "Where nodes run",
        ("network", "nodes", "fell back to the CPU", "copies between devices"),
        rows,
    )


def widths(found: Profile, *, every_layer: bool) -> Iterator[Part]:
    """How many layers' widths are no multiples of 8, 16, 32, and which; the layer that makes the
    output is left out.
    """
    inner = {
        name: [one for one in layers if not one["output"]]
        for name, layers in found["layers"].items()
    }
    inner = {name: layers for name, layers in inner.items() if layers}
    if not inner:
        return
    rows = tuple(
        (
            name,
            str(len(layers)),
            *(str(sum(one["multiple"] < least for one in layers)) for least in (8, 16, 32)),
        )
        for name, layers in inner.items()
    )
    yield Part("Widths", ("network", "layers", "not a multiple of 8", "of 16", "of 32"), rows)
    widths = {name: {one["name"]: one for one in layers} for name, layers in inner.items()}
    layers = list(dict.fromkeys(one for each in widths.values() for one in each))
    odd = [
        name
        for name in layers
        if any(name in each and each[name]["multiple"] < 32 for each in widths.values())
    ]
    if every_layer and odd:
        table = tuple((name, *(_width(each.get(name)) for each in widths.values())) for name in odd)
        yield Part(
            "Layers whose width is not a multiple of 32 in at least one network",
            ("layer", *widths),
            table,
        )


def _width(layer: Row | None) -> str:
    if layer is None:
        return ""
    return (
        f"{layer['width']} (not a multiple of 8)"
        if layer["multiple"] == 1
        else f"{layer['width']} ({layer['multiple']})"
    )
