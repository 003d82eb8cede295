"""Accuracy at its stations: dense, after channel removal, after fine-tuning, and exported files."""

from collections.abc import Iterator, Mapping
from pathlib import PurePath
from typing import Any

from slimmer.reports.page.charts.chart import Key
from slimmer.reports.page.charts.rails import Reading, rails
from slimmer.reports.page.run_files import RunFiles
from slimmer.reports.page.section import Section

STATIONS = {"dense": "dense network", "removed": "channels removed", "slim": "fine-tuned"}
KEYS = (Key("point slim", "measured"), Key("base", "dense network"))


def view(files: RunFiles) -> Mapping[str, Any] | None:
    """A point for each station, and a table of the other metrics; None without accuracies."""
    accuracy, metric = files.report["accuracy"], files.metric
    if accuracy is None:
        return None
    dense = accuracy["dense"]
    readings = []
    for label, value, style in _stations(files):
        change = "" if style == "dense" else metric.change(value, dense)
        worse = metric.worse(value, dense)
        shown = metric.shown(value)
        readings.append(Reading(label, shown, value, change=change, worse=worse, style=style))
    most = 1.0 if metric.percent else None
    lower = None if metric.higher_is_better else f"{metric.name}: lower is better."
    title = f"{metric.name} on the test data"
    return {
        "rails": rails(title, readings, dense, metric.tick, KEYS, most),
        "lower": lower,
        "outside": files.report.get("fine_tuned_outside"),
        "others": _other_metrics(files),
    }


def _stations(files: RunFiles) -> Iterator[tuple[str, float, str]]:
    """Label, value and style of each station."""
    accuracy = files.report["accuracy"]
    for key, label in STATIONS.items():
        yield label, accuracy[key], "dense" if key == "dense" else "slim"
    networks = (files.exported or {}).get("networks", {})
    for entry in networks.values():
        if entry["accuracy"] is not None:
            yield PurePath(entry["file"]).name, entry["accuracy"], "file"


def _other_metrics(files: RunFiles) -> list[tuple[str, ...]]:
    """The metrics besides the main one, at every station."""
    stations = files.report.get("metrics") or {}
    names: dict[str, None] = {}
    for values in stations.values():
        names |= dict.fromkeys(values)
    rows = []
    for name in names:
        if name == files.metric.name:
            continue
        cells = [stations.get(key, {}).get(name) for key in STATIONS]
        rows.append((name, *("" if value is None else f"{value:.4g}" for value in cells)))
    return rows


SECTION = Section("accuracy", "Accuracy", view, half=True)
