"""The columns of a comparison's table, and which of them a table of limited width shows."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from slimmer.recipe.costs import CostKind, costs_in
from slimmer.recipe.keys import label
from slimmer.reports.comparison_rows import STAGES
from slimmer.reports.metric_text import metric_of

Row = Mapping[str, Any]

WORDS = {("method",), ("settings",)}
BRIEF = {("runs",), ("epochs",)}
ACCURACY_RANKS = (30, 70, 97)  # of STAGES
GAP = 3  # characters between two columns


@dataclass(frozen=True)
class Column:
    """One column: the lines of its head, one cell per row, and its rank.

    Where there is no room, columns with a lower rank are dropped first. `folds` is True if cells
    may wrap over several lines. `brief` is True if the column may be replaced by one statement
    above the table when all its cells are equal.
    """

    head: tuple[str, ...]
    cells: tuple[str, ...]
    rank: int
    folds: bool = False
    brief: bool = False

    @property
    def right(self) -> bool:
        """Whether the column is right-aligned, as figures are."""
        return self.head not in WORDS

    @property
    def width(self) -> int:
        """The smallest width in characters."""
        cells = list(self.cells)
        if self.folds:
            cells = " ".join(cells).split()
        return max(map(len, (*self.head, *cells)))

    @property
    def constant(self) -> str | None:
        """The statement that replaces the column, or None if the column is needed."""
        if not self.brief or len(set(self.cells)) > 1:
            return None
        head, percent, _ = " ".join(self.head).partition(" %")
        return f"{head} {self.cells[0]}{percent}"


def columns(comparison: Mapping[str, Any]) -> list[Column]:
    """All columns that have at least one filled cell; their heads name the units."""
    rows = comparison["rows"]
    found = [
        _column(rows, 99, lambda row: row["method"], "method"),
        _column(rows, 98, lambda row: label(row["settings"]).replace(",", ", "), "settings"),
        _column(rows, 60, lambda row: str(len(row["runs"])), "runs"),
        *_all_cost_columns(rows),
    ]
    for rank, stage in zip(ACCURACY_RANKS, STAGES, strict=True):
        found.append(_accuracy_column(rows, rank, stage))
    found.append(_column(rows, 45, lambda row: f"{row['epochs']:g}", "epochs"))
    found.append(_column(rows, 55, lambda row: _spread(row["seconds"], 0), "seconds"))
    for number, place in enumerate(_places(rows)):
        found.append(_latency_column(rows, max(20, 38 - number), place))
    return [each for each in found if any(each.cells)]


def fitting(found: Sequence[Column], width: int) -> list[Column]:
    """The columns that fit into a table of `width` characters; those of low rank are dropped first.

    >>> wide, narrow = Column(("a",), ("x" * 30,), 1), Column(("b",), ("y",), 2)
    >>> [column.head for column in fitting([wide, narrow], 20)]
    [('b',)]
    """
    left = list(found)
    while len(left) > 1 and sum(each.width + GAP for each in left) - GAP > width:
        left.remove(min(left, key=lambda each: each.rank))
    return left


def _places(rows: Sequence[Row]) -> list[str]:
    """Where latencies were measured, each place once."""
    places: dict[str, None] = {}
    for row in rows:
        places |= dict.fromkeys(row["profiled"])
    return list(places)


def _column(rows: Sequence[Row], rank: int, cell: Callable[[Row], str], *head: str) -> Column:
    return Column(
        head, tuple(map(cell, rows)), rank, folds=head == ("settings",), brief=head in BRIEF
    )


def _all_cost_columns(rows: Sequence[Row]) -> list[Column]:
    """The columns of every cost; where there is no room, those of the first cost stay longest."""
    first, *others = costs_in(*rows)
    found = _cost_columns(rows, 10, first)
    for kind in others:
        found += _cost_columns(rows, 0, kind)
    return found


def _cost_columns(rows: Sequence[Row], rank: int, kind: CostKind) -> list[Column]:
    cost, name = kind.name, kind.short_head

    def of(row: Row, key: str) -> Any:
        return row.get(cost, {}).get(key)

    def masks(row: Row) -> str:
        return _percent((row["masks_left"] or {}).get(cost))

    return [
        _column(rows, 80 + rank, lambda row: _percent(of(row, "ratio")), name, "left %"),
        _column(rows, 5 + rank, lambda row: _percent(of(row, "sparsity")), name, "removed %"),
        _column(rows, 75 + rank, lambda row: _limit(of(row, "limit_ratio")), name, "limit %"),
        _column(rows, 40 + rank, lambda row: _percent(of(row, "miss")), name, "miss %"),
        _column(rows, 15 + rank, masks, name, "masks %"),
    ]


def _accuracy_column(rows: Sequence[Row], rank: int, stage: str) -> Column:
    """The main metric at a stage, which is the same metric in all rows."""
    metric = metric_of(next((row for row in rows if row.get("metric")), None))

    def cell(row: Row) -> str:
        stat = (row["accuracy"] or {}).get(stage)
        return _percent(stat) if metric.percent else _plain(stat)

    made = _column(rows, rank, cell, metric.name, f"{stage}{metric.unit}")
    return replace(made, brief=stage == STAGES[0])


def _latency_column(rows: Sequence[Row], rank: int, place: str) -> Column:
    def cell(row: Row) -> str:
        return _speed(row["profiled"].get(place))

    return _column(rows, rank, cell, "ms dense > slim", place)


def _percent(stat: Mapping[str, Any] | None) -> str:
    if stat is None:
        return ""
    return _spread({"mean": 100 * stat["mean"], "std": 100 * (stat["std"] or 0)}, 2)


def _plain(stat: Mapping[str, Any] | None) -> str:
    """A mean with its standard deviation, with four digits."""
    if stat is None:
        return ""
    mean, std = f"{stat['mean']:.4g}", f"{stat['std'] or 0:.2g}"
    return f"{mean} ± {std}" if float(std) else mean


def _spread(stat: Mapping[str, Any], digits: int) -> str:
    """A mean, with its standard deviation unless that rounds to 0."""
    mean, std = f"{stat['mean']:.{digits}f}", f"{stat['std'] or 0:.{digits}f}"
    return f"{mean} ± {std}" if float(std) else mean


def _limit(ratio: float | None) -> str:
    return "" if ratio is None else f"{100 * ratio:.2f}"


def _speed(figures: Mapping[str, Any] | None) -> str:
    if figures is None:
        return ""
    before, after = figures["dense_ms"]["mean"], figures["slim_ms"]["mean"]
    return f"{before:.3g} > {after:.3g} ({_spread(figures['speedup'], 2)}x)"
