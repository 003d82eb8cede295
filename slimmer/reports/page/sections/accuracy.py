"""Accuracy at its stations: dense, after channel removal, after fine-tuning, and exported files."""

from collections.abc import Iterator, Mapping
from pathlib import PurePath
from typing import Any

from slimmer.reports.hints import skipped_hint
from slimmer.reports.latency_words import cell_or_empty
from slimmer.reports.page.charts.chart import Key
from slimmer.reports.page.charts.rails import Reading, rails
from slimmer.reports.page.metric import axis, change, shown, worse
from slimmer.reports.page.run_files import RunFiles
from slimmer.reports.page.section import Section
from slimmer.reports.run_report import other_metrics, unmeasured

STATIONS = {"dense": "dense network", "removed": "channels removed", "slim": "fine-tuned"}
KEYS = (Key("point slim", "measured"), Key("base", "dense network"))


def view(files: RunFiles) -> Mapping[str, Any]:
    """A point for each station, and a table of the other metrics; or why there are none."""
    accuracy, metric = files.report["accuracy"], files.metric
    if accuracy is None:
        return {"unmeasured": unmeasured(files.report), "skipped": skipped_hint(files.report)}
    dense = accuracy["dense"]
    readings = []
    for label, value, style in _stations(files):
        changed = "" if style == "dense" else change(metric, value, dense)
        reading = Reading(
            label,
            shown(metric, value),
            value,
            change=changed,
            worse=worse(metric, value, dense),
            style=style,
        )
        readings.append(reading)
    most = 1.0 if metric.percent else None
    title = f"{metric.name} on the test data"
    lower = None if metric.higher_is_better else f"{metric.name}: lower is better."
    return {
        "unmeasured": None,
        "rails": rails(title, readings, dense, axis(metric).tick, KEYS, most),
        "lower": lower,
        "outside": files.report.get("fine_tuned_outside"),
        "skipped": skipped_hint(files.report),
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
    rows = []
    for name in other_metrics(files.report):
        stations = [files.report["metrics"].get(key, {}).get(name) for key in STATIONS]
        rows.append((name, *(cell_or_empty(value, ".4g") for value in stations)))
    return rows


SECTION = Section("accuracy", "Accuracy", view, half=True)
