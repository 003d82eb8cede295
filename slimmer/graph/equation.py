"""Parse the equation of an einsum."""

import re
import string
from collections import Counter
from collections.abc import Sequence


def letters_of(equation: str, ranks: Sequence[int]) -> tuple[list[str], str]:
    """The letters of the axes of every operand, and of the result; axes of an ellipsis get unused
    letters.

    `ranks` are the operands' numbers of axes.

    >>> letters_of("ij, jk", [2, 2]), letters_of("...c,oc->...o", [3, 2])
    ((['ij', 'jk'], 'ik'), (['01c', 'oc'], '01o'))
    """
    left, arrow, right = equation.replace(" ", "").partition("->")
    used = {*equation, *string.whitespace}
    free = [letter for letter in string.printable if letter not in used]
    written = left.split(",")
    hidden = []  # how many axes of each operand its ellipsis stands for
    longest = 0
    for term, rank in zip(written, ranks, strict=True):
        hidden.append(rank - len(term.replace("...", "")))
        if "..." in term:
            longest = max(longest, hidden[-1])
    extra = "".join(free[:longest])
    terms = []
    for term, count in zip(written, hidden, strict=True):
        terms.append(term.replace("...", extra[longest - count :]))
    if arrow:
        return terms, right.replace("...", extra)
    times = Counter(re.sub(r"[,.]", "", left))
    once = sorted(letter for letter in times if times[letter] == 1)
    return terms, extra + "".join(once)
