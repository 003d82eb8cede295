"""report.md: costs, accuracy, latency, exported files and widths of a run, in Markdown."""

from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from slimmer.profiling.results import SCHEMA as PROFILE_SCHEMA
from slimmer.recipe.costs import CostKind, cost_kinds, costs_in
from slimmer.reports.hints import (
    attribute_notes,
    convention_hint,
    removed_hint,
    skipped_hint,
    traced_hint,
    uncounted_hint,
    width_hint,
)
from slimmer.reports.latency_budget import latency_hint
from slimmer.reports.latency_tables import headline, parts
from slimmer.reports.latency_words import cell_or_empty
from slimmer.reports.markdown import bullets, plain, table
from slimmer.reports.metric_text import metric_of

FIGURES = {
    "masks": "Values of the masks",
    "sparsity": "Sparsity over time",
    "training": "Accuracy and loss over time",
    "widths": "Channels of every group, dense and slim",
}
EXPORT_HEADS = ("format", "MB", "images", "max abs", "max rel", "same class", "on test data")
ACCURACY_ROWS = {
    "dense": "dense",
    "removed": "after channel removal, batch norm recalibrated",
    "slim": "slim, after fine-tuning",
}


def to_markdown(
    report: Mapping[str, Any],
    exported: Mapping[str, Any] | None = None,
    profile: Mapping[str, Any] | None = None,
) -> str:
    """The text of report.md; latency and export are included if they are given.

    The report's `figures` are paths relative to the directory of report.md, as `draw_run` named
    the files.
    """
    noun = "epoch" if report["epochs"] == 1 else "epochs"
    origin = (
        f"slimmer {report['slimmer']}, {report['date']}, method {report['method']}, "
        f"seed {report['seed']}, {report['epochs']:g} {noun}, recipe {report['recipe_hash']}, "
        f"plan {report['plan_hash']}"
    )
    lines = [f"# {plain(report['arch'] or 'module')}, pruned", "", origin, ""]
    lines += ["| | dense | slim | remaining | sparsity | budget |", "|---|---|---|---|---|---|"]
    for kind in costs_in(report):
        lines.append(_cost_row(kind, report[kind.name]))
    counted = [*convention_hint(report), f"Counted for {report['inputs']}", recounted(report)]
    if report.get("fine_tuned_outside"):
        counted.append(f"Fine-tuned outside slimmer, weights from {report['fine_tuned_outside']}")
    lines += ["", *bullets(map(plain, counted)), ""]
    for text in uncounted_hint(report):
        lines += [text, ""]
    for text in [*traced_hint(report), *latency_hint(report)]:
        lines += [plain(text), ""]
    lines += _before_projection(report.get("before_projection"))
    lines += _accuracy(report)
    lines += _list([plain(text) for text in skipped_hint(report)])
    if profile:
        lines += _latency(profile)
    if exported:
        lines += _exported(exported)
    lines += _figures(report.get("figures", ()))
    lines += _widths(report)
    lines += _attributes(report.get("attributes"))
    lines += _not_pruned(report)
    return "\n".join([*lines, ""])


def export_rows(entry: Mapping[str, Any]) -> list[list[str]]:
    """The cells under EXPORT_HEADS of one exported file, one row for each kind of images."""
    form = f"{entry['precision'].partition(',')[0]}, batch {entry['batch']}, {entry['image_size']}"
    metric, rows = metric_of(entry), []
    for kind, parity in entry["parity"].items():
        images = kind if parity["images"] is None else f"{parity['images']} {kind}"
        errors = f"{parity['max_abs']:.1e}", f"{parity['max_rel']:.1e}"
        same, tested = cell_or_empty(parity["top1_agreement"], ".2%"), ""
        if entry["accuracy"] is not None:
            tested = f"{metric.name} {metric.shown(entry['accuracy'])}"
        rows.append([form, f"{entry['bytes'] / 1e6:.2f}", images, *errors, same, tested])
    return rows


def recounted(report: Mapping[str, Any]) -> str:
    """What independent counters found for the slim network."""
    counters: dict[str, str] = {}
    for kind in cost_kinds():
        counters |= kind.counters
    counts = [f"{counters.get(name, name)}: {value:,}" for name, value in report["recount"].items()]
    return f"Independent recount of the slim network: {'; '.join(counts)}"


def _cost_row(kind: CostKind, cost: Mapping[str, Any]) -> str:
    limit = "none"
    if cost["limit"] is not None:
        limit = f"at most {kind.short(cost['limit'])} ({cost['limit_ratio']:.2%})"
    counts = f"{kind.in_full(cost['dense'])} | {kind.in_full(cost['slim'])}"
    return f"| {kind.head} | {counts} | {cost['ratio']:.2%} | {cost['sparsity']:.2%} | {limit} |"


def _before_projection(left: Mapping[str, float] | None) -> list[str]:
    """How much the trained masks left, if there were any."""
    if left is None:
        return []
    shares = " and ".join(f"{left[kind.name]:.2%} of the {kind.label}" for kind in costs_in(left))
    return [f"The masks alone left {shares}; the exact projection removed the rest.", ""]


def unmeasured(report: Mapping[str, Any]) -> str:
    """Why a report has no accuracy, in one sentence."""
    if report.get("fine_tuned_outside"):
        return "No test data given: accuracy is unknown."
    if report.get("trained_by"):
        return f"The task {report['trained_by']} has no metric: accuracy is unknown."
    return (
        "No data given: accuracy is unknown, and batch norm keeps the statistics of the dense "
        "network."
    )


def _accuracy(report: Mapping[str, Any]) -> list[str]:
    """The main metric at each station, then the others in columns of their own."""
    accuracy, metric, others = report["accuracy"], metric_of(report), other_metrics(report)
    if accuracy is None:
        return [unmeasured(report), ""]
    better = "" if metric.higher_is_better else ", lower is better"
    heads = [f"{metric.name} on the test data{better}", ""]
    if others:
        heads = ["on the test data", f"{metric.name}{better}", *others]
    lines = [f"| {' | '.join(heads).rstrip()} |", f"|{'---|' * len(heads)}"]
    for key, label in ACCURACY_ROWS.items():
        cells = [label, metric.shown(accuracy[key])]
        cells += [f"{report['metrics'][key][name]:.4g}" for name in others]
        lines.append(f"| {' | '.join(cells)} |")
    return [*lines, ""]


def other_metrics(report: Mapping[str, Any]) -> list[str]:
    """The names of the metrics besides the main one."""
    stations = report.get("metrics") or {}
    return [name for name in stations.get("slim", ()) if name != metric_of(report).name]


def _latency(profile: Mapping[str, Any]) -> list[str]:
    """The headline, then the tables, of dense against slim."""
    if profile.get("schema") != PROFILE_SCHEMA:
        text = (
            "profile.json was written by another version of slimmer; run `slimmer profile` again."
        )
        return ["## Latency", "", text, ""]
    first, *rest = parts(profile, every_layer=True)
    lines = [f"## {first.title}", "", *_list(headline(profile)), *table(first.heads, first.rows)]
    for part in rest:
        lines += [f"### {part.title}", ""]
        if part.rows:
            lines += table(part.heads, part.rows)
        lines += _list(part.says)
    return lines


def _list(texts: Sequence[str]) -> list[str]:
    return [*bullets(texts), ""] if texts else []


def _exported(exported: Mapping[str, Any]) -> list[str]:
    """Table and notes of the exported files."""
    rows, notes = [], []
    for entry in exported["networks"].values():
        file = plain(entry["file"])
        for cells in export_rows(entry):
            rows.append((file, *cells))
        for note in entry["notes"]:
            notes.append(f"{file}: {note}")
    title = "## Exported files, compared with PyTorch"
    return [title, "", *table(("file", *EXPORT_HEADS), rows), *_list(notes)]


def _figures(files: Sequence[str]) -> list[str]:
    """The figures of the run, by their paths relative to the report."""
    if not files:
        return []
    lines = ["## Figures", ""]
    for file in files:
        lines += [f"![{FIGURES.get(PurePosixPath(file).stem, file)}]({file})", ""]
    return lines


def _widths(report: Mapping[str, Any]) -> list[str]:
    rows = []
    for row in report["groups"]:
        rows.append((plain(row["name"]), str(row["dense"]), str(row["slim"])))
    lines = ["## Widths", ""]
    for hint in (*map(plain, removed_hint(report)), *width_hint(report)):
        lines += [hint, ""]
    return [*lines, *table(("channel group", "dense", "slim"), rows)]


def _attributes(found: Mapping[str, Any] | None) -> list[str]:
    notes = attribute_notes(found)
    return ["## Width attributes of modules", "", *_list(notes)] if notes else []


def _not_pruned(report: Mapping[str, Any]) -> list[str]:
    lines = ["## Not pruned", ""]
    for row in report["fixed"]:
        counts = f"{row['channels']} of {row['of']} channels"
        lines.append(f"- {plain(row['layer'])}: {counts}: {plain(row['reason'])}")
    return lines
