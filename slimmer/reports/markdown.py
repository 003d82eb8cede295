"""Names and other texts of the user's in Markdown."""

import re

_MARKUP = re.compile(r"([\\`*<\[\]|]|(?<!\w)_|_(?!\w))")


def plain(text: str) -> str:
    r"""A text in Markdown that stands there as it is: no tag, link, picture, cell or line of its
    own.

    >>> plain("layer1.0_a <b>|[x](y)\n# z")
    'layer1.0_a \\<b>\\|\\[x\\](y) # z'
    """
    return _MARKUP.sub(r"\\\1", " ".join(text.split()))
