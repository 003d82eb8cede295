"""The user's names and texts, escaped for Markdown."""

import re
from collections.abc import Iterable, Sequence

_MARKUP = re.compile(r"([\\`*<\[\]|]|(?<!\w)_|_(?!\w))")


def plain(text: str) -> str:
    r"""`text` escaped on one line, so that Markdown shows it unchanged: no tag, link, image or
    table cell.

    >>> plain("layer1.0_a <b>|[x](y)\n# z")
    'layer1.0_a \\<b>\\|\\[x\\](y) # z'
    """
    return _MARKUP.sub(r"\\\1", " ".join(text.split()))


def bullets(texts: Iterable[str]) -> list[str]:
    """The lines of a list with one item for each text.

    >>> bullets(["a", "b"])
    ['- a', '- b']
    """
    return [f"- {text}" for text in texts]


def table_row(cells: Iterable[str]) -> str:
    """The line of a table's row.

    >>> table_row(["a", "b"])
    '| a | b |'
    """
    return f"| {' | '.join(cells)} |"


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a table, and an empty line.

    >>> table(["a", "b"], [["1", "2"]])
    ['| a | b |', '|---|---|', '| 1 | 2 |', '']
    """
    rule = f"|{'|'.join(['---'] * len(heads))}|"
    return [table_row(heads), rule, *map(table_row, rows), ""]
