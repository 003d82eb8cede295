"""The user's names and texts, escaped for Markdown."""

import re
from collections.abc import Iterable

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
