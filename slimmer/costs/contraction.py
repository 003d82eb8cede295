"""Multiply-adds of products of several tensors, from their shapes: in index notation, and chains of
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

    `path` names the pairs one after the other, as opt_einsum does; without it they go from left to
    right. What only one of a pair holds and nothing later needs is summed beforehand; a pair that
    sums over nothing is an element-wise product, and no multiply-add. A sum over one entry counts
    as any other, though PyTorch multiplies there: so the count is a product of widths, whatever is
    left of them.

    >>> einsum_of_shapes("bij,jk->bik", [(1, 3, 8), (8, 2)]), einsum_of_shapes("bij,jk->bk", [(1, 3, 8), (8, 2)])
    (48, 16)
    >>> einsum_of_shapes("i,j->ij", [(3,), (4,)])
    0
    """
    return sum(count for count, _ in _pairs(equation, shapes, path))


def sums_over_one(equation: str, shapes: Sequence[Sequence[int]]) -> int:
    """Those of an einsum's multiply-adds, from left to right, in which PyTorch has nothing to add
    up and multiplies.

    >>> sums_over_one("bj,jk->bk", [(1, 1), (1, 2)]), sums_over_one("bj,jk->bk", [(1, 3), (3, 2)])
    (2, 0)
    """
    return sum(count for count, longest in _pairs(equation, shapes, None) if longest == 1)


def _pairs(
    equation: str, shapes: Sequence[Sequence[int]], path: Sequence[int] | None
) -> Iterator[tuple[int, int]]:
    """The multiply-adds of each pair, and the longest axis that it sums over (0 where none)."""
    terms, result = letters_of(equation, [len(shape) for shape in shapes])
    operands = [_sizes(term, shape) for term, shape in zip(terms, shapes, strict=True)]
    steps = list(path) if path else [0, 1] * (len(operands) - 1)
    for first, second in zip(steps[::2], steps[1::2], strict=True):
        right, left = (operands.pop(index) for index in sorted((first, second), reverse=True))
        needed = {*result, *(letter for operand in operands for letter in operand)}
        summed = [
            left[letter]
            for letter in left
            if letter not in needed and left[letter] == right.get(letter)
        ]
        sizes = {
            letter: max(left.get(letter, 1), right.get(letter, 1)) for letter in {**left, **right}
        }
        product = {letter: size for letter, size in sizes.items() if letter in needed}
        operands.insert(len(operands) if path else 0, product)
        yield (prod(product.values()) * prod(summed) if summed else 0), max(summed, default=0)


def _sizes(term: str, shape: Sequence[int]) -> Sizes:
    return dict(zip(term, shape, strict=True))


def chain_of_products(shapes: Sequence[Sequence[int]]) -> int:
    """The multiply-adds of a product of matrices, in the order that needs the fewest; ends may be
    vectors.

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
