"""Lines and tables that fit the width of the terminal, and stay whole in files and pipes."""

import os
from collections.abc import Iterator, Sequence

from rich import box
from rich.console import Console
from rich.table import Table

from slimmer.cli.wrapping import wrapped

GAP = 3  # characters between two columns
WIDEST = 24  # characters of a cell that stay on one line, if there is room at all
Cells = Sequence[str]  # of a column, its head first
PIPE = 160  # columns where there is no terminal; COLUMNS overrides it


def stdout_console(console: Console | None = None) -> Console:
    """The console given, or stdout; if stdout is a file or a pipe, 160 columns wide or COLUMNS."""
    if console is not None:
        return console
    terminal = Console(highlight=False, soft_wrap=True, markup=False)
    if terminal.is_terminal or "COLUMNS" in os.environ:
        return terminal
    return Console(highlight=False, soft_wrap=True, markup=False, width=PIPE)


def say(console: Console, text: str, *, hang: str = "") -> None:
    """Print a text without markup. On a terminal, lines break between words, and all but the first
    start with `hang`; elsewhere lines stay whole.
    """
    if console.is_terminal:
        text = wrapped(text, console.width, hang)
    print_whole(console, text)


def print_whole(console: Console, text: str) -> None:
    """Print a text that must not be broken, such as a command to copy."""
    console.print(text, markup=False, soft_wrap=True)


def print_table(
    console: Console,
    title: str,
    heads: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    spaced: bool = True,
) -> None:
    """Print a table whose first column names the rows, by default after an empty line.

    If not all columns fit next to each other, the table goes on below, with the first column
    repeated. A first column, a figure or a word is never cut.
    """
    columns = list(zip(heads, *rows, strict=True))
    first = min(_longest_line(columns[0]), console.width // 2)
    for number, chosen in enumerate(_parts(columns[1:], console.width - first)):
        table = _empty_table(title if number == 0 else None)
        table.add_column(heads[0], min_width=first, overflow="fold")
        for cells in chosen:
            word = min(_longest_word(cells), console.width - first - GAP)
            table.add_column(cells[0], min_width=word, overflow="fold")
        for cells in list(zip(columns[0], *chosen, strict=True))[1:]:
            table.add_row(*cells)
        if number > 0 or spaced:
            console.print()
        console.print(table)


def _parts(columns: Sequence[Cells], room: int) -> Iterator[list[Cells]]:
    """The columns of each part of a table: all of them, or as many as fit into `room`."""
    chosen: list[Cells] = []
    used = 0
    for cells in columns:
        needed = GAP + _comfortable(cells)
        if chosen and used + needed > room:
            yield chosen
            chosen, used = [], 0
        chosen.append(cells)
        used += needed
    yield chosen


def _comfortable(cells: Cells) -> int:
    """The width of a column in which no word is cut and cells have few lines."""
    return max(_longest_word(cells), min(WIDEST, _longest_line(cells)))


def _longest_word(cells: Cells) -> int:
    return max(map(len, " ".join(cells).split()), default=0)


def _longest_line(cells: Cells) -> int:
    lines = "\n".join(cells).splitlines()
    return max(map(len, lines), default=0)


def _empty_table(title: str | None) -> Table:
    return Table(
        title=title, title_justify="left", box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False
    )
