"""Comparisons as text: columns for a table of any width, Markdown and CSV, and the files of them."""

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from types import MappingProxyType
from typing import Any

from slimmer.atomic_files import read_json, write_json, write_text
from slimmer.errors import RunError
from slimmer.recipe.costs import CostKind, costs_in
from slimmer.recipe.keys import flat, label
from slimmer.reports.compare_runs import STAGES
from slimmer.reports.figures import draw_runs
from slimmer.reports.figures.tradeoff import draw_tradeoff
from slimmer.reports.markdown import plain
from slimmer.runs.directory import Run

Row = Mapping[str, Any]

WORDS = {("method",), ("settings",)}
BRIEF = {("runs",), ("epochs",), ("top-1", "dense %")}
WRITTEN = ("compare.md", "compare.csv", "compare.json", "compare*.png", "masks*")
COMPARED = {"format", "slimmer", "dense", "rows"}
GAP = 3  # characters between two columns


@dataclass(frozen=True)
class Column:
    """One column: its head, in lines; a cell a row; how early it goes where there is no room (0
    first).

    `folds` is whether its cells may take several lines; `brief`, whether it may be said in one
    place above the table where all its cells are the same.
    """

    head: tuple[str, ...]
    cells: tuple[str, ...]
    rank: int
    folds: bool = False
    brief: bool = False

    @property
    def right(self) -> bool:
        """Whether it stands at the right: figures do."""
        return self.head not in WORDS

    @property
    def width(self) -> int:
        """The characters that it needs."""
        cells = [word for cell in self.cells for word in cell.split()] if self.folds else self.cells
        return max(map(len, (*self.head, *cells)))

    @property
    def constant(self) -> str | None:
        """What is said in place of the whole column, or None where it is needed."""
        if not self.brief or len(set(self.cells)) > 1:
            return None
        head, percent, _ = " ".join(self.head).partition(" %")
        return f"{head} {self.cells[0]}{percent}"


def columns(comparison: Mapping[str, Any]) -> list[Column]:
    """All columns that have something to say, with their units in their heads."""
    rows = comparison["rows"]
    places = dict.fromkeys(place for row in rows for place in row["latency"])
    found = [
        _column(rows, 99, lambda row: row["method"], "method"),
        _column(rows, 98, lambda row: label(row["settings"]).replace(",", ", "), "settings"),
        _column(rows, 60, lambda row: str(len(row["runs"])), "runs"),
        *_all_cost_columns(rows),
        *(
            _accuracy_column(rows, rank, stage)
            for rank, stage in zip((30, 70, 97), STAGES, strict=True)
        ),
        _column(rows, 45, lambda row: f"{row['epochs']:g}", "epochs"),
        _column(rows, 55, lambda row: _spread(row["seconds"], 0), "seconds"),
        *(
            _latency_column(rows, max(20, 38 - number), place)
            for number, place in enumerate(places)
        ),
    ]
    return [each for each in found if any(each.cells)]


def fitting(found: Sequence[Column], width: int) -> list[Column]:
    """The columns that a table of `width` characters has room for; what matters less goes first.

    >>> wide, narrow = Column(("a",), ("x" * 30,), 1), Column(("b",), ("y",), 2)
    >>> [column.head for column in fitting([wide, narrow], 20)]
    [('b',)]
    """
    left = list(found)
    while len(left) > 1 and sum(each.width + GAP for each in left) - GAP > width:
        left.remove(min(left, key=lambda each: each.rank))
    return left


def title(comparison: Mapping[str, Any]) -> str:
    """What was compared: network, data, costs of the dense network."""
    dense = comparison["dense"]
    costs = ", ".join(kind.said(dense[kind.name]) for kind in costs_in(dense))
    return f"{comparison['arch'] or 'module'}, {PurePath(comparison['data']).name}; dense: {costs}"


def legend(comparison: Mapping[str, Any]) -> list[str]:
    """What a reader must know of the figures, and the notes."""
    told = comparison["conventions"]
    merged = any(len(row["runs"]) > 1 for row in comparison["rows"])
    masked = any(row["masks_left"] for row in comparison["rows"])
    return [
        *(f"{kind.label}: {told[kind.name]}." for kind in costs_in(told)),
        "Left: remaining share of the dense network. Miss: the limit minus what is left.",
        *(["Masks: what the trained masks left, before the exact projection."] if masked else []),
        *(
            ["Runs that differ only in their seed share a row: mean ± standard deviation."]
            if merged
            else []
        ),
        *comparison["notes"],
    ]


def to_markdown(
    comparison: Mapping[str, Any], figures: Mapping[str, str] = MappingProxyType({})
) -> str:
    """A comparison as a section in Markdown: its table with all columns, the legend, the figures,
    the runs.

    `figures` are the files' paths from where the text will lie, by what they show.
    """
    found = columns(comparison)
    lines = [f"## {plain(title(comparison))}", ""]
    lines += [
        _line(" ".join(each.head) for each in found),
        _line("---:" if each.right else "---" for each in found),
    ]
    lines += [
        _line(map(plain, cells)) for cells in zip(*(each.cells for each in found), strict=True)
    ]
    lines += ["", *(f"- {text}" for text in legend(comparison)), ""]
    for text, figure in figures.items():
        lines += [f"![{text}]({figure})", ""]
    lines += [
        f"- {plain(_name(row))}: {plain(', '.join(row['runs']))}" for row in comparison["rows"]
    ]
    return "\n".join([*lines, ""])


def to_csv(comparisons: Sequence[Mapping[str, Any]]) -> str:
    """All rows in one CSV, a column a figure, named as in the JSON; lists with spaces between their
    entries.
    """
    rows = [
        {
            **{key: comparison[key] for key in ("arch", "data")},
            **flat({"dense": comparison["dense"]}),
            **flat({**row, "settings": label(row["settings"])}),
        }
        for comparison in comparisons
        for row in comparison["rows"]
    ]
    names = list(dict.fromkeys(name for row in rows for name in row if row[name] != {}))
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(names)
    for row in rows:
        values = [row.get(name) for name in names]
        writer.writerow(
            [" ".join(map(str, value)) if isinstance(value, list) else value for value in values]
        )
    return file.getvalue()


def write_comparison(
    folder: Path, comparisons: Sequence[Mapping[str, Any]], head: Sequence[str] = ()
) -> list[Path]:
    """The files written: compare.md (led by the lines of `head`), compare.csv, compare.json, and a
    figure for each.

    There is no figure where no accuracy is known. Rows that were trained under masks, two of them
    or more, get their sparsity over time and by channel group side by side. An earlier comparison
    of slimmer's is replaced. Raises RunError where `folder` is a file, or holds files of these
    names that are not slimmer's.
    """
    _check_place(folder)
    texts: list[str] = []
    figures: list[Path] = []
    for number, comparison in enumerate(comparisons, start=1):
        end = f"-{number}" if len(comparisons) > 1 else ""
        drawn = {}
        if any(row["accuracy"] for row in comparison["rows"]):
            drawn["top-1 against FLOPs"] = draw_tradeoff(comparison, folder / f"compare{end}.png")
        masked = _masked(comparison)
        if len(masked) > 1:
            pictures = draw_runs(masked, folder / f"masks{end}")
            drawn |= {path.stem.replace("_", " "): path for path in pictures}
        figures += drawn.values()
        texts.append(
            to_markdown(
                comparison, {text: str(path.relative_to(folder)) for text, path in drawn.items()}
            )
        )
    stem = folder / "compare"
    write_text(stem.with_suffix(".md"), "\n".join([*head, *texts]))
    write_text(stem.with_suffix(".csv"), to_csv(comparisons))
    write_json(stem.with_suffix(".json"), json.loads(json.dumps(comparisons)))
    return [*(stem.with_suffix(suffix) for suffix in (".md", ".csv", ".json")), *figures]


def _check_place(folder: Path) -> None:
    """Raise RunError where a comparison would replace files that are of no comparison."""
    if folder.exists() and not folder.is_dir():
        raise RunError(str(folder), "is a file", "a directory")
    files = [file for pattern in WRITTEN for file in folder.glob(pattern)]
    if files and not _is_comparison(folder / "compare.json"):
        found = "exists, and slimmer's comparison did not write it"
        raise RunError(str(min(files)), found, "choose another directory with --out")


def _is_comparison(path: Path) -> bool:
    """Whether a file is the JSON that `write_comparison` writes."""
    try:
        found = read_json(path)
    except (OSError, ValueError):
        return False
    return isinstance(found, list) and all(
        isinstance(each, dict) and each.keys() >= COMPARED for each in found
    )


def _masked(
    comparison: Mapping[str, Any],
) -> dict[str, tuple[list[dict[str, Any]], dict[str, Any]]]:
    """Events and report of the first run of every row that was trained under masks, by the row's
    name.
    """
    firsts = {_name(row): Run(Path(row["runs"][0])) for row in comparison["rows"]}
    recorded = {name: (run.read_events(), run.read_report()) for name, run in firsts.items()}
    return {
        name: found
        for name, found in recorded.items()
        if any(each["event"] == "masks" for each in found[0])
    }


def _name(row: Row) -> str:
    """What tells a row from the others."""
    return ", ".join(filter(None, [row["method"], label(row["settings"]), _budgets(row)]))


def _column(rows: Sequence[Row], rank: int, cell: Callable[[Row], str], *head: str) -> Column:
    return Column(
        head, tuple(map(cell, rows)), rank, folds=head == ("settings",), brief=head in BRIEF
    )


def _all_cost_columns(rows: Sequence[Row]) -> list[Column]:
    """The columns of every cost; where there is no room, those of the first go last."""
    first, *others = costs_in(*rows)
    found = _cost_columns(rows, 10, first)
    for kind in others:
        found += _cost_columns(rows, 0, kind)
    return found


def _cost_columns(rows: Sequence[Row], rank: int, kind: CostKind) -> list[Column]:
    cost, name = kind.name, kind.short_head

    def of(row: Row, key: str) -> Any:
        return row.get(cost, {}).get(key)

    return [
        _column(rows, 80 + rank, lambda row: _percent(of(row, "ratio")), name, "left %"),
        _column(rows, 5 + rank, lambda row: _percent(of(row, "sparsity")), name, "removed %"),
        _column(rows, 75 + rank, lambda row: _limit(of(row, "limit_ratio")), name, "limit %"),
        _column(rows, 40 + rank, lambda row: _percent(of(row, "miss")), name, "miss %"),
        _column(
            rows,
            15 + rank,
            lambda row: _percent((row["masks_left"] or {}).get(cost)),
            name,
            "masks %",
        ),
    ]


def _accuracy_column(rows: Sequence[Row], rank: int, stage: str) -> Column:
    return _column(
        rows, rank, lambda row: _percent((row["accuracy"] or {}).get(stage)), "top-1", f"{stage} %"
    )


def _latency_column(rows: Sequence[Row], rank: int, place: str) -> Column:
    return _column(
        rows, rank, lambda row: _speed(row["latency"].get(place)), "ms dense > slim", place
    )


def _percent(stat: Mapping[str, Any] | None) -> str:
    if stat is None:
        return ""
    return _spread({"mean": 100 * stat["mean"], "std": 100 * (stat["std"] or 0)}, 2)


def _spread(stat: Mapping[str, Any], digits: int) -> str:
    """A mean, with its standard deviation where it has one to show."""
    spread = f"{stat['std'] or 0:.{digits}f}"
    return f"{stat['mean']:.{digits}f}" + (f" ± {spread}" if float(spread) else "")


def _limit(ratio: float | None) -> str:
    return "" if ratio is None else f"{100 * ratio:.2f}"


def _speed(figures: Mapping[str, Any] | None) -> str:
    if figures is None:
        return ""
    before, after = (figures[key]["mean"] for key in ("dense_ms", "slim_ms"))
    return f"{before:.3g} > {after:.3g} ({_spread(figures['speedup'], 2)}x)"


def _budgets(row: Mapping[str, Any]) -> str:
    limited = [kind for kind in costs_in(row) if row[kind.name]["budget"] is not None]
    return ", ".join(f"{kind.short_head} {row[kind.name]['budget']}" for kind in limited)


def _line(cells: Any) -> str:
    return f"| {' | '.join(cells)} |"
