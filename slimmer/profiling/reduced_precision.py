"""Which fp16 and int8 files of a profile are not faster than the float32 file of their network."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from slimmer.profiling.notes import threads_told
from slimmer.recipe.runtimes import DEFAULT

FULL, REDUCED = "fp32", ("fp16", "int8")
# Metadata that two files of one network share.
SAME_NETWORK = ("arch", "network", "plan_hash", "weights_sha256")
SAME_MACHINE = ("cpu", "usable_cores", "gpu")

Row = Mapping[str, Any]


@dataclass(frozen=True)
class NotFaster:
    """A reduced-precision file that is not faster than the float32 file, at one batch size and
    number of threads.

    `speedup` is below 1 if the file is slower. `low` and `high` are its 95 % interval, or None.
    `network`, `precision` and `plan_hash` are from the file's metadata, None if it has none.
    """

    model: str
    against: str
    network: str | None
    precision: str
    plan_hash: str | None
    provider: str
    batch: int
    threads: int | None
    speedup: float
    low: float | None
    high: float | None

    def __str__(self) -> str:
        """One sentence.

        >>> speedup = (0.5, 0.49, 0.51)
        >>> names = ("slim.int8", "slim", "slim", "int8", None)
        >>> one = NotFaster(*names, "CPUExecutionProvider", 8, 1, *speedup)
        >>> str(one)  # doctest: +NORMALIZE_WHITESPACE
        'slim.int8 is slower than float32: it runs at 0.50 times the speed of slim
        (95 % interval 0.49 to 0.51), CPUExecutionProvider, batch 8, 1 thread.'
        """
        verdict = "is not measurably faster than float32"
        if self.high is not None and self.high < 1:
            verdict = "is slower than float32"
        interval = "no interval"
        if self.low is not None:
            interval = f"95 % interval {self.low:.2f} to {self.high:.2f}"
        place = f"{self.provider}, batch {self.batch}, {threads_told(self.threads)}"
        return (
            f"{self.model} {verdict}: it runs at {self.speedup:.2f} times the speed of "
            f"{self.against} ({interval}), {place}."
        )


def not_faster(found: Mapping[str, Any]) -> list[NotFaster]:
    """The reduced-precision files of a profile (as in profile.json) that are not clearly faster
    than float32.

    A file is clearly faster if the whole interval of its speedup is above 1 or, without an
    interval, if the speedup is. Only files that ONNX Runtime ran, and whose metadata name the same
    network, are compared.
    """
    subjects = {each["name"]: each for each in found["subjects"] if each["runtime"] == DEFAULT}
    slow = {}
    for one in (*found["comparisons"], *found["among"]):
        if one["runtime"] != DEFAULT or one["against_runtime"] != DEFAULT:
            continue
        for model, against, ratio in _both_ways(one):
            reduced, full = subjects[model], subjects[against]
            if not _are_forms(reduced, full) or _is_faster(*ratio):
                continue
            place = model, against, one["batch"], one["threads"]
            slow[place] = _of(reduced, full, one, ratio)
    return list(slow.values())


def elsewhere(found: Mapping[str, Any], here: Mapping[str, Any]) -> str | None:
    """A description of the machine of a profile, or None if it is the one that `here` describes."""
    there = found["environment"]
    if all(there.get(key) == here.get(key) for key in SAME_MACHINE):
        return None
    return f"{there['cpu']}, {there['usable_cores']} cores"


def kind(precision: str | None) -> str:
    """The kind of a file's precision: fp32, fp16 or int8.

    >>> kind("int8, QDQ, static, weights per channel")
    'int8'
    """
    return (precision or "").partition(",")[0]


def _both_ways(one: Row) -> Iterator[tuple[str, str, tuple[float, float | None, float | None]]]:
    """A comparison in both directions, because either file may come first."""
    yield one["model"], one["against"], (one["speedup"], one["low"], one["high"])
    if one["speedup"] > 0:
        low, high = _inverse(one["high"]), _inverse(one["low"])
        yield one["against"], one["model"], (1 / one["speedup"], low, high)


def _inverse(bound: float | None) -> float | None:
    return 1 / bound if bound else None


def _are_forms(reduced: Row, full: Row) -> bool:
    """Whether `reduced` is the network of `full` in fp16 or int8, and `full` is in float32."""
    if kind(reduced["precision"]) not in REDUCED or kind(full["precision"]) != FULL:
        return False
    return bool(full["origin"]) and all(
        reduced["origin"].get(key) == full["origin"].get(key) for key in SAME_NETWORK
    )


def _is_faster(speedup: float, low: float | None, high: float | None) -> bool:
    if low is None or high is None:
        return speedup > 1
    return low > 1


def _of(
    reduced: Row, full: Row, one: Row, ratio: tuple[float, float | None, float | None]
) -> NotFaster:
    speedup, low, high = ratio
    return NotFaster(
        model=reduced["name"],
        against=full["name"],
        network=reduced["origin"].get("network"),
        precision=reduced["precision"],
        plan_hash=reduced["origin"].get("plan_hash"),
        provider=reduced["provider"],
        batch=one["batch"],
        threads=one["threads"],
        speedup=speedup,
        low=low,
        high=high,
    )
