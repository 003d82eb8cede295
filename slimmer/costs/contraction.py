"""Multiply-adds of products of several tensors, from their shapes: in index notation, and chains of matrices."""

import re
import string
from collections import Counter
from collections.abc import Sequence
from math import prod

Sizes = dict[str, int]  # letter -> length of its axis


def einsum_of_shapes(equation: str, shapes: Sequence[Sequence[int]], path: Sequence[int] | None = None) -> int:
    """The multiply-adds of an einsum that is contracted two operands at a time, as PyTorch does.

    `path` names the pairs one after the other, as opt_einsum does; without it they go from left to right. What only one
    of a pair holds and nothing later needs is summed beforehand; a pair that sums over nothing is an element-wise
    product, and no multiply-add.

    >>> einsum_of_shapes("bij,jk->bik", [(1, 3, 8), (8, 2)]), einsum_of_shapes("bij,jk->bk", [(1, 3, 8), (8, 2)])
    (48, 16)
    >>> einsum_of_shapes("i,j->ij", [(3,), (4,)])
    0
    """
    terms, result = _parse(equation, [len(shape) for shape in shapes])
    operands = [_sizes(term, shape) for term, shape in zip(terms, shapes, strict=True)]
    steps = list(path) if path else [0, 1] * (len(operands) - 1)
    total = 0
    for first, second in zip(steps[::2], steps[1::2], strict=True):
        right, left = (operands.pop(index) for index in sorted((first, second), reverse=True))
        needed = {*result, *(letter for operand in operands for letter in operand)}
        count, product = _contract(left, right, needed)
        total += count
        operands.insert(len(operands) if path else 0, product)
    return total


def _contract(left: Sizes, right: Sizes, needed: set[str]) -> tuple[int, Sizes]:
    """The multiply-adds of one pair, and the sizes of what it gives."""
    sizes = {letter: max(left.get(letter, 1), right.get(letter, 1)) for letter in {**left, **right}}
    product = {letter: size for letter, size in sizes.items() if letter in needed}
    summed = {letter for letter in sizes if letter not in needed}
    paired = {letter for letter in summed if left.get(letter, 1) > 1 and right.get(letter, 1) > 1}
    if not paired:
        return 0, product
    return prod(product.values()) * prod(sizes[letter] for letter in paired), product


def _sizes(term: str, shape: Sequence[int]) -> Sizes:
    return dict(zip(term, shape, strict=True))


def _parse(equation: str, ranks: Sequence[int]) -> tuple[list[str], str]:
    """The letters of every operand's axes and of the result's; those behind an ellipsis get letters that are free."""
    left, arrow, right = equation.replace(" ", "").partition("->")
    free = [letter for letter in string.printable if letter not in equation and not letter.isspace()]
    written = left.split(",")
    hidden = [rank - len(term.replace("...", "")) for term, rank in zip(written, ranks, strict=True)]
    longest = max((count for term, count in zip(written, hidden, strict=True) if "..." in term), default=0)
    extra = "".join(free[:longest])
    terms = [term.replace("...", extra[longest - count :]) for term, count in zip(written, hidden, strict=True)]
    once = sorted(letter for letter, times in Counter(re.sub(r"[,.]", "", left)).items() if times == 1)
    result = right.replace("...", extra) if arrow else extra + "".join(once)
    return terms, result


def chain_of_products(shapes: Sequence[Sequence[int]]) -> int:
    """The multiply-adds of a product of matrices, in the order that needs the fewest; ends may be vectors.

    >>> chain_of_products([(3, 8), (8, 2), (2, 4)])
    72
    """
    first, last = shapes[0], shapes[-1]
    matrices = [(1, *first) if len(first) == 1 else tuple(first), *map(tuple, shapes[1:-1])]
    matrices.append((*last, 1) if len(last) == 1 else tuple(last))
    sizes = [rows for rows, _ in matrices] + [matrices[-1][1]]
    fewest = {(start, start + 1): 0 for start in range(len(matrices))}
    for length in range(2, len(matrices) + 1):
        for start in range(len(matrices) - length + 1):
            end = start + length
            fewest[start, end] = min(
                fewest[start, cut] + fewest[cut, end] + sizes[start] * sizes[cut] * sizes[end]
                for cut in range(start + 1, end)
            )
    return fewest[0, len(matrices)]
