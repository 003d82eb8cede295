"""The latencies of several runs, grouped by provider, threads and batch size."""

from collections.abc import Iterable, Mapping
from typing import Any

from slimmer.profiling.notes import threads_told
from slimmer.recipe.runtimes import DEFAULT

Profile = Mapping[str, Any]


def latencies(profiles: Iterable[Profile]) -> dict[str, dict[str, list[float]]]:
    """Median milliseconds of dense and slim, and the speedup, by place; one value per profile.

    A place is a provider, a number of threads and a batch size. Each profile contributes the
    figures of one runtime: ONNX Runtime or, if it was not used, the first runtime, which the
    place then names.
    """
    found: dict[str, dict[str, list[float]]] = {}
    for profile in profiles:
        runtime = compared_runtime(profile)
        timed = {(row["model"], *_where(row)): row["median_ms"] for row in profile["timings"]}
        for each in profile["comparisons"]:
            if _runtimes(each) != {runtime}:
                continue
            if (each["model"], each["against"]) != ("slim", "dense"):
                continue  # fp16 and int8 are in the runs' own reports
            figures = found.setdefault(_place(profile, runtime, each), {})
            for key, value in (
                ("dense_ms", timed[each["against"], *_where(each)]),
                ("slim_ms", timed[each["model"], *_where(each)]),
                ("speedup", each["speedup"]),
            ):
                figures.setdefault(key, []).append(value)
    return found


def compared_runtime(profile: Profile) -> str:
    """The runtime whose figures are compared: ONNX Runtime if used, else the first.

    >>> compared_runtime({"timings": [{"runtime": "torch"}, {"runtime": "onnxruntime"}]})
    'onnxruntime'
    >>> compared_runtime({"timings": [{"runtime": "torch"}]})
    'torch'
    """
    used = [str(row.get("runtime", DEFAULT)) for row in profile["timings"]]
    return DEFAULT if DEFAULT in used or not used else used[0]


def _place(profile: Profile, runtime: str, row: Mapping[str, Any]) -> str:
    provider = profile["provider"].removesuffix("ExecutionProvider").lower()
    words = [provider]
    if runtime != DEFAULT:
        words.insert(0, runtime)
    if row.get("threads") is not None:
        words.append(threads_told(row["threads"]))
    return ", ".join([*words, f"batch {row['batch']}"])


def _runtimes(row: Mapping[str, Any]) -> set[str]:
    return {row.get("runtime", DEFAULT), row.get("against_runtime", DEFAULT)}


def _where(row: Mapping[str, Any]) -> tuple[Any, ...]:
    """The key that a comparison shares with its timings."""
    return row.get("runtime", DEFAULT), row.get("threads"), row["batch"]
