"""The page's first sentence and its four or five large figures."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from slimmer.reports.latency_words import place
from slimmer.reports.page.metric import change, shown
from slimmer.reports.page.run_files import RunFiles
from slimmer.reports.page.words import milliseconds, percent
from slimmer.reports.run_latencies import compared_runtime


@dataclass(frozen=True)
class Clause:
    """A part of the sentence: a figure, its unit, which stays on the same line, and the rest."""

    figure: str
    unit: str = ""
    rest: str = ""

    def __str__(self) -> str:
        return " ".join(filter(None, (self.figure, self.unit, self.rest)))


@dataclass(frozen=True)
class Figure:
    """A large figure: its label, its value, and a line below it."""

    label: str
    value: str
    note: str


def sentence(files: RunFiles) -> list[Clause]:
    """What was asked and what came out: costs with a budget, accuracy, speedup."""
    return list(_clauses(files))


def _clauses(files: RunFiles) -> Iterator[Clause]:
    report, metric = files.report, files.metric
    limited = [kind for kind in files.costs if report[kind.name]["limit"] is not None]
    for kind in limited or files.costs:
        yield Clause(percent(report[kind.name]["ratio"]), "", f"of the {kind.label}")
    accuracy = report["accuracy"]
    if accuracy is not None:
        changed = change(metric, accuracy["slim"], accuracy["dense"])
        yield Clause(shown(metric, accuracy["slim"]), metric.name, f"({changed})")
    quoted = quoted_speedup(files)
    if quoted is not None:
        where = f"on {machine(files.profile or {})}"
        if quoted["verdict"] == "no measurable difference":
            yield Clause("no measurable speedup", "", where)
        else:
            unit = "faster" if quoted["verdict"] == "faster" else "times as fast"
            factor = "x" if unit == "faster" else ""
            yield Clause(f"{quoted['speedup']:.2f}{factor}", unit, where)


def figures(files: RunFiles) -> list[Figure]:
    """The large figures: every cost, the accuracy and the speedup."""
    report, metric = files.report, files.metric
    found = []
    for kind in files.costs:
        cost = report[kind.name]
        limit = cost["limit_ratio"]
        asked = "no budget" if limit is None else f"budget {percent(limit)}"
        note = f"{kind.short(cost['slim'])} of {kind.short(cost['dense'])}, {asked}"
        found.append(Figure(f"{kind.label} left", percent(cost["ratio"]), note))
    accuracy = report["accuracy"]
    if accuracy is not None:
        slim, dense = accuracy["slim"], accuracy["dense"]
        note = f"{change(metric, slim, dense)}, dense {shown(metric, dense)}"
        found.append(Figure(metric.name, shown(metric, slim), note))
    quoted = quoted_speedup(files)
    if quoted is not None and files.profile is not None:
        where = place(files.profile, quoted)
        note = f"{_milliseconds(files.profile, quoted)}, {where}"
        found.append(Figure("speedup", f"{quoted['speedup']:.2f}x", note))
    return found


def quoted_speedup(files: RunFiles) -> Mapping[str, Any] | None:
    """The first comparison of slim with dense in the compared runtime; None without one."""
    if files.profile is None:
        return None
    runtime = compared_runtime(files.profile)
    for one in files.profile["comparisons"]:
        same = one["runtime"] == one["against_runtime"] == runtime
        if same and (one["model"], one["against"]) == ("slim", "dense"):
            found: Mapping[str, Any] = one
            return found
    return None


def machine(profile: Mapping[str, Any]) -> str:
    """The device that a profile was measured on."""
    found = profile["environment"]
    on_cpu = "cpu" in profile["provider"].lower()
    return str(found["cpu"] if on_cpu or not found.get("gpu") else found["gpu"])


def _milliseconds(profile: Mapping[str, Any], one: Mapping[str, Any]) -> str:
    """The medians of the two networks of a comparison."""
    medians = {}
    for row in profile["timings"]:
        if all(row[key] == one[key] for key in ("runtime", "threads", "batch")):
            medians[row["model"]] = row["median_ms"]
    before, now = medians[one["against"]], medians[one["model"]]
    return f"{milliseconds(before)} to {milliseconds(now)} ms"
