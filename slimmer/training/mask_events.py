"""The events that record mask values during training."""

from collections.abc import Sequence

import torch
from torch import Tensor

BINS = 20


def mask_event(mask: Tensor, sizes: Sequence[int]) -> dict[str, list[int]]:
    """The distribution of the mask values and the remaining widths, for an event.

    `mask` (units,) are values in 0..1 and `sizes` the groups' widths, in the order of the graph's
    groups. `histogram` counts the values in 20 equal bins over 0..1; 1 counts in the last bin, and
    values outside count in the nearest bin, so that the counts always add up. `widths` counts the
    values above 0 in each group.

    >>> event = mask_event(torch.tensor([0.0, 0.02, 1.0, 0.0]), [3, 1])
    >>> event["histogram"][0], event["histogram"][-1], event["widths"]
    (3, 1, [2, 0])
    """
    values = mask.detach().float().cpu()
    bins = (values * BINS).long().clamp(0, BINS - 1)
    counts = torch.bincount(bins, minlength=BINS)
    widths = [int((part > 0).sum()) for part in values.split(list(sizes))]
    return {"histogram": counts.tolist(), "widths": widths}
