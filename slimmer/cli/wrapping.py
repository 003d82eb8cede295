"""Texts broken between words, without the import of rich."""

from textwrap import wrap


def wrapped(text: str, width: int, hang: str = "") -> str:
    """The text with every line broken between words; what follows a break starts with `hang`.

    Words are never cut, so paths and commands can be copied.

    >>> print(wrapped("the path a/long/path.pth is not a file", 20, "  "))
    the path
      a/long/path.pth is
      not a file
    """
    lines = []
    for line in text.splitlines():
        parts = wrap(
            line, width, subsequent_indent=hang, break_long_words=False, break_on_hyphens=False
        )
        lines += parts or [""]
    return "\n".join(lines)
