"""The equation of an einsum, read."""

import re
import string
from collections import Counter
from collections.abc import Sequence


def letters_of(equation: str, ranks: Sequence[int]) -> tuple[list[str], str]:
    """The letters of every operand's axes and of the result's; those behind an ellipsis get letters
    that are free.

    `ranks` are the operands' numbers of axes.

    >>> letters_of("ij, jk", [2, 2]), letters_of("...c,oc->...o", [3, 2])
    ((['ij', 'jk'], 'ik'), (['01c', 'oc'], '01o'))
    """
    left, arrow, right = equation.replace(" ", "").partition("->")
    free = [
        letter for letter in string.printable if letter not in equation and not letter.isspace()
    ]
    written = left.split(",")
    hidden = [
        rank - len(term.replace("...", "")) for term, rank in zip(written, ranks, strict=True)
    ]
    longest = max(
        (count for term, count in zip(written, hidden, strict=True) if "..." in term), default=0
    )
    extra = "".join(free[:longest])
    terms = [
        term.replace("...", extra[longest - count :])
        for term, count in zip(written, hidden, strict=True)
    ]
    once = sorted(
        letter for letter, times in Counter(re.sub(r"[,.]", "", left)).items() if times == 1
    )
    result = right.replace("...", extra) if arrow else extra + "".join(once)
    return terms, result
