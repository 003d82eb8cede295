"""Comparisons as text: title, legend, Markdown and CSV, and the files that hold them."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from types import MappingProxyType
from typing import Any

from slimmer.atomic_files import read_json, write_json, write_text
from slimmer.errors import RunError
from slimmer.recipe.costs import costs_in
from slimmer.recipe.keys import flat, label
from slimmer.reports.comparison_columns import Column, Row, columns
from slimmer.reports.figures import draw_runs
from slimmer.reports.figures.tradeoff import draw_tradeoff
from slimmer.reports.markdown import bullets, plain, table_row
from slimmer.reports.metric_text import metric_of
from slimmer.reports.rows import column
from slimmer.runs.directory import Run

WRITTEN = ("compare.md", "compare.csv", "compare.json", "compare*.png", "masks*")
COMPARED = {"format", "slimmer", "dense", "rows"}


def title(comparison: Mapping[str, Any]) -> str:
    """What is compared: the network, the data and the costs of the dense network."""
    dense = comparison["dense"]
    costs = ", ".join(kind.said(dense[kind.name]) for kind in costs_in(dense))
    return f"{comparison['arch'] or 'module'}, {PurePath(comparison['data']).name}; dense: {costs}"


def legend(comparison: Mapping[str, Any]) -> list[str]:
    """Sentences that explain the figures, then the notes."""
    conventions = comparison["conventions"]
    lines = [f"{kind.label}: {conventions[kind.name]}." for kind in costs_in(conventions)]
    lines.append("Left: remaining share of the dense network. Miss: the limit minus what is left.")
    metric = metric_of(comparison["rows"][0])
    if not metric.higher_is_better:
        lines.append(f"{metric.name}: lower is better.")
    if any(column(comparison["rows"], "masks_left")):
        lines.append("Masks: what the trained masks left, before the exact projection.")
    if max(map(len, column(comparison["rows"], "runs"))) > 1:
        lines.append("Runs that differ only in their seed share a row: mean ± standard deviation.")
    return [*lines, *comparison["notes"]]


def to_markdown(
    comparison: Mapping[str, Any], figures: Mapping[str, str] = MappingProxyType({})
) -> str:
    """A comparison as a Markdown section: the table with all columns, legend, figures and runs.

    `figures` are the figures' paths, relative to the Markdown file, by title.
    """
    found = columns(comparison)
    lines = [f"## {plain(title(comparison))}", ""]
    lines.append(table_row(" ".join(each.head) for each in found))
    lines.append(table_row(map(_rule, found)))
    for cells in zip(*(each.cells for each in found), strict=True):
        lines.append(table_row(map(plain, cells)))
    lines += ["", *bullets(legend(comparison)), ""]
    for text, figure in figures.items():
        lines += [f"![{text}]({figure})", ""]
    for row in comparison["rows"]:
        lines.append(f"- {plain(_name(row))}: {plain(', '.join(row['runs']))}")
    return "\n".join([*lines, ""])


def to_csv(comparisons: Sequence[Mapping[str, Any]]) -> str:
    """All rows in one CSV, one column per figure, named as in the JSON.

    The entries of a list are separated by spaces.
    """
    rows = []
    for comparison in comparisons:
        shared = {key: comparison[key] for key in ("arch", "data")}
        shared |= flat({"dense": comparison["dense"]})
        for row in comparison["rows"]:
            rows.append(shared | _flat_row(row))
    names: dict[str, None] = {}
    for row in rows:
        for name, value in row.items():
            if value != {}:
                names[name] = None
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(names)
    for row in rows:
        writer.writerow(map(_csv_cell, map(row.get, names)))
    return file.getvalue()


def _flat_row(row: Row) -> dict[str, Any]:
    return flat({**row, "settings": label(row["settings"])})


def _csv_cell(value: Any) -> Any:
    return " ".join(map(str, value)) if isinstance(value, list) else value


def write_comparison(
    folder: Path, comparisons: Sequence[Mapping[str, Any]], head: Sequence[str] = ()
) -> list[Path]:
    """The files written: compare.md (which starts with the lines of `head`), compare.csv,
    compare.json, and the figures of each comparison.

    Without accuracy there is no figure. If at least two rows were trained under masks, their
    sparsity over time and by channel group is drawn too. An earlier comparison by slimmer is
    replaced. Raise RunError if `folder` is a file, or contains files with these names that slimmer
    did not write.
    """
    _check_place(folder)
    texts: list[str] = []
    figures: list[Path] = []
    for number, comparison in enumerate(comparisons, start=1):
        drawn = _draw(folder, comparison, f"-{number}" if len(comparisons) > 1 else "")
        figures += drawn.values()
        shown = {text: str(path.relative_to(folder)) for text, path in drawn.items()}
        texts.append(to_markdown(comparison, shown))
    stem = folder / "compare"
    write_text(stem.with_suffix(".md"), "\n".join([*head, *texts]))
    write_text(stem.with_suffix(".csv"), to_csv(comparisons))
    write_json(stem.with_suffix(".json"), json.loads(json.dumps(comparisons)))
    return [*map(stem.with_suffix, (".md", ".csv", ".json")), *figures]


def _draw(folder: Path, comparison: Mapping[str, Any], end: str) -> dict[str, Path]:
    """The figures of one comparison by title; `end` distinguishes their names from the others'."""
    drawn = {}
    if any(column(comparison["rows"], "accuracy")):
        name = metric_of(comparison["rows"][0]).name
        drawn[f"{name} against FLOPs"] = draw_tradeoff(comparison, folder / f"compare{end}.png")
    masked = _masked(comparison)
    if len(masked) > 1:
        for path in draw_runs(masked, folder / f"masks{end}"):
            drawn[path.stem.replace("_", " ")] = path
    return drawn


def _check_place(folder: Path) -> None:
    """Raise RunError if a comparison would replace files that are not a comparison's."""
    if folder.exists() and not folder.is_dir():
        raise RunError(str(folder), "is a file", "a directory")
    files: list[Path] = []
    for pattern in WRITTEN:
        files += folder.glob(pattern)
    if files and not _is_comparison(folder / "compare.json"):
        found = "exists, and slimmer's comparison did not write it"
        raise RunError(str(min(files)), found, "choose another directory with --out")


def _is_comparison(path: Path) -> bool:
    """Whether a file is the JSON that `write_comparison` writes."""
    try:
        found = read_json(path)
    except (OSError, ValueError):
        return False
    if not isinstance(found, list):
        return False
    return all(isinstance(each, dict) and each.keys() >= COMPARED for each in found)


def _masked(
    comparison: Mapping[str, Any],
) -> dict[str, tuple[list[dict[str, Any]], dict[str, Any]]]:
    """Events and report of the first run of every row that was trained under masks, by row name."""
    found = {}
    for row in comparison["rows"]:
        run = Run(Path(row["runs"][0]))
        events, report = run.read_events(), run.read_report()
        if "masks" in column(events, "event"):
            found[_name(row)] = events, report
    return found


def _name(row: Row) -> str:
    """The name of a row: method, settings and budgets."""
    return ", ".join(filter(None, [row["method"], label(row["settings"]), _budgets(row)]))


def _budgets(row: Row) -> str:
    budgets = []
    for kind in costs_in(row):
        amount = row[kind.name]["budget"]
        if amount is not None:
            budgets.append(f"{kind.short_head} {amount}")
    return ", ".join(budgets)


def _rule(column: Column) -> str:
    return "---:" if column.right else "---"
