"""Multiply-adds of products of several tensors, from their shapes: einsum and chains of
matrices.
"""

from collections.abc import Iterator, Sequence
from math import prod

from slimmer.graph import letters_of

Sizes = dict[str, int]  # letter -> length of its axis


def einsum_of_shapes(
    equation: str, shapes: Sequence[Sequence[int]], path: Sequence[int] | None = None
) -> int:
    """The multiply-adds of an einsum that is contracted two operands at a time, as PyTorch does.

    `path` lists the pairs in order, as opt_einsum does; without it they are contracted from left to
    right. Axes that only one of a pair has and nothing later needs are summed beforehand. A pair
    that sums over nothing is an element-wise product and has no multiply-adds. A sum over one entry
    counts like any other, although PyTorch multiplies there: so the count stays a product of
    widths.

    >>> einsum_of_shapes("bij,jk->bik", [(1, 3, 8), (8, 2)])
    48
    >>> einsum_of_shapes("bij,jk->bk", [(1, 3, 8), (8, 2)])
    16
    >>> einsum_of_shapes("i,j->ij", [(3,), (4,)])
    0
    """
    return sum(count for count, _ in _pairs(equation, shapes, path))


def sums_over_one(equation: str, shapes: Sequence[Sequence[int]]) -> int:
    """The multiply-adds of an einsum, from left to right, in which PyTorch sums over a single entry
    and only multiplies.

    >>> sums_over_one("bj,jk->bk", [(1, 1), (1, 2)]), sums_over_one("bj,jk->bk", [(1, 3), (3, 2)])
    (2, 0)
    """
    return sum(count for count, longest in _pairs(equation, shapes, None) if longest == 1)


def _pairs(
    equation: str, shapes: Sequence[Sequence[int]], path: Sequence[int] | None
) -> Iterator[tuple[int, int]]:
    """The multiply-adds of each pair, and the longest axis that it sums over (0 if none)."""
    terms, result = letters_of(equation, [len(shape) for shape in shapes])
    operands = [_sizes(term, shape) for term, shape in zip(terms, shapes, strict=True)]
    steps = list(path) if path else [0, 1] * (len(operands) - 1)
    for first, second in zip(steps[::2], steps[1::2], strict=True):
        right = operands.pop(max(first, second))
        left = operands.pop(min(first, second))
        needed = set(result).union(*operands)
        summed, product = [], {}
        for letter in {**left, **right}:
            if letter in needed:
                product[letter] = max(left.get(letter, 1), right.get(letter, 1))
            elif letter in left and left[letter] == right.get(letter):
                summed.append(left[letter])
        operands.insert(len(operands) if path else 0, product)
        if summed:
            yield prod(product.values()) * prod(summed), max(summed)
        else:
            yield 0, 0


def _sizes(term: str, shape: Sequence[int]) -> Sizes:
    return dict(zip(term, shape, strict=True))


def chain_of_products(shapes: Sequence[Sequence[int]]) -> int:
    """The multiply-adds of a product of matrices, in the order that needs the fewest; the first and
    last may be vectors.

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
