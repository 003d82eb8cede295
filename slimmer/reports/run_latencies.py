"""The latencies of several runs, side by side: the figures of each place where they were timed."""

from collections.abc import Iterable, Mapping
from typing import Any

from slimmer.recipe.runtimes import DEFAULT

Profile = Mapping[str, Any]


def latencies(profiles: Iterable[Profile]) -> dict[str, dict[str, list[float]]]:
    """Median milliseconds of dense and slim and the speedup, one figure a profile, by place.

    A place is provider, threads and batch size. Each profile tells one runtime's figures:
    ONNX Runtime's, or where it was not used those of the first runtime, which the place names.
    """
    found: dict[str, dict[str, list[float]]] = {}
    for profile in profiles:
        runtime = compared_runtime(profile)
        timed = {(row["model"], *_where(row)): row["median_ms"] for row in profile["timings"]}
        for each in profile["comparisons"]:
            if _runtimes(each) != {runtime}:
                continue
            if (each["model"], each["against"]) != ("slim", "dense"):
                continue  # the forms are in the runs' own reports
            figures = found.setdefault(_place(profile, runtime, each), {})
            for key, value in (
                ("dense_ms", timed[each["against"], *_where(each)]),
                ("slim_ms", timed[each["model"], *_where(each)]),
                ("speedup", each["speedup"]),
            ):
                figures.setdefault(key, []).append(value)
    return found


def compared_runtime(profile: Profile) -> str:
    """The runtime whose figures of a profile are compared.

    >>> compared_runtime({"timings": [{"runtime": "torch"}, {"runtime": "onnxruntime"}]})
    'onnxruntime'
    >>> compared_runtime({"timings": [{"runtime": "torch"}]})
    'torch'
    """
    used = [str(row.get("runtime", DEFAULT)) for row in profile["timings"]]
    return DEFAULT if DEFAULT in used or not used else used[0]


def _place(profile: Profile, runtime: str, row: Mapping[str, Any]) -> str:
    provider = profile["provider"].removesuffix("ExecutionProvider").lower()
    told = [provider] if runtime == DEFAULT else [runtime, provider]
    threads = row.get("threads")
    if threads is not None:
        told.append(f"{threads} thread{'s' if threads > 1 else ''}")
    return ", ".join([*told, f"batch {row['batch']}"])


def _runtimes(row: Mapping[str, Any]) -> set[str]:
    return {row.get("runtime", DEFAULT), row.get("against_runtime", DEFAULT)}


def _where(row: Mapping[str, Any]) -> tuple[Any, ...]:
    """What a timing and a comparison must share to belong together."""
    return row.get("runtime", DEFAULT), row.get("threads"), row["batch"]
