"""The user's names and texts, escaped for Markdown."""

import re

_MARKUP = re.compile(r"([\\`*<\[\]|]|(?<!\w)_|_(?!\w))")


def plain(text: str) -> str:
    r"""`text` escaped on one line, so that Markdown shows it unchanged: no tag, link, image or
    table cell.

    >>> plain("layer1.0_a <b>|[x](y)\n# z")
    'layer1.0_a \\<b>\\|\\[x\\](y) # z'
    """
    return _MARKUP.sub(r"\\\1", " ".join(text.split()))
