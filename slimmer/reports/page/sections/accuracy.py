"""Accuracy at its stations: dense, after channel removal, after fine-tuning, and exported files."""

from collections.abc import Iterator, Mapping
from pathlib import PurePath
from typing import Any

from slimmer.reports.page.run_files import RunFiles
from slimmer.reports.page.section import Section
from slimmer.reports.page.words import percent

STATIONS = {
    "dense": "dense network",
    "removed": "channels removed",
    "slim": "fine-tuned",
}


def view(files: RunFiles) -> Mapping[str, Any] | None:
    """A bar for each station; None without accuracies."""
    accuracy, metric = files.report["accuracy"], files.metric
    if accuracy is None:
        return None
    values = {text: accuracy[key] for key, text in STATIONS.items() if key in accuracy}
    outside = files.report.get("fine_tuned_outside")
    exported = dict(_exported(files))
    end = 1.0 if metric.percent else max(*values.values(), *exported.values(), 1e-12)
    bars = []
    for text, value in (values | exported).items():
        change = metric.change(value, accuracy["dense"])
        bars.append(
            {
                "label": text,
                "value": metric.shown(value),
                "change": "" if text == STATIONS["dense"] else change,
                "worse": metric.worse(value, accuracy["dense"]),
                "width": 100 * max(0.0, value) / end,
                "dense": text == STATIONS["dense"],
            }
        )
    direction = "higher" if metric.higher_is_better else "lower"
    return {
        "bars": bars,
        "metric": metric.name,
        "better": None if metric.percent and metric.higher_is_better else direction,
        "outside": outside,
        "agreement": list(_agreement(files)),
    }


def _exported(files: RunFiles) -> Iterator[tuple[str, float]]:
    """The accuracies that were measured on exported files, by file name."""
    networks = (files.exported or {}).get("networks", {})
    for entry in networks.values():
        if entry["accuracy"] is not None:
            yield PurePath(entry["file"]).name, entry["accuracy"]


def _agreement(files: RunFiles) -> Iterator[str]:
    """How many test images each exported slim file classifies as the network in PyTorch does."""
    networks = (files.exported or {}).get("networks", {})
    for entry in networks.values():
        for kind, parity in entry["parity"].items():
            if parity["top1_agreement"] is not None:
                name = PurePath(entry["file"]).name
                share = percent(parity["top1_agreement"], 2)
                yield f"{name}: same top-1 as PyTorch on {share} of the {kind}"


SECTION = Section("accuracy", "Accuracy", view)
