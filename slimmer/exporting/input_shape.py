"""Which input sizes of an exported file are fixed, and which are open."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Shape:
    """The batch size, fixed or any (None), and whether images may have any height and width.

    >>> Shape().suffix, Shape(batch=8, dynamic_size=True).suffix
    ('', '.batch8.anysize')
    """

    batch: int | None = None
    dynamic_size: bool = False

    @property
    def suffix(self) -> str:
        """The part of the file name that marks this shape; empty for the default one."""
        batch = "" if self.batch is None else f".batch{self.batch}"
        size = ".anysize" if self.dynamic_size else ""
        return batch + size


ORDINARY = Shape()
ANY_SIZE = "any size"  # metadata of a file with open height and width
