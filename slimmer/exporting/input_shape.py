"""Which sizes of its input an exported file leaves open."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Shape:
    """A fixed or any (None) batch, and images of the network's own height and width or of any.

    >>> Shape().suffix, Shape(batch=8, dynamic_size=True).suffix
    ('', '.batch8.anysize')
    """

    batch: int | None = None
    dynamic_size: bool = False

    @property
    def suffix(self) -> str:
        """What tells a file of this shape from the ordinary one, in its name."""
        batch = "" if self.batch is None else f".batch{self.batch}"
        return batch + (".anysize" if self.dynamic_size else "")


ORDINARY = Shape()
ANY_SIZE = "any size"  # what a file whose height and width are open says of its images
