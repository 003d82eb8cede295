"""Sentences about a report's figures that every kind of report shows."""

from collections.abc import Mapping
from typing import Any

from slimmer.errors import number
from slimmer.pruning.limits import ROUNDED
from slimmer.recipe.costs import costs_in


def convention_hint(report: Mapping[str, Any]) -> list[str]:
    """How each cost of a report or an inspection is counted."""
    return [f"{kind.label}: {report[kind.name]['convention']}" for kind in costs_in(report)]


def traced_hint(report: Mapping[str, Any]) -> list[str]:
    """What the counts cover, if only parts of the network were traced."""
    traced = report.get("traced")
    if traced is None:
        return []
    own, names = traced["params"], traced["parts"]
    noun = "part" if len(names) == 1 else "parts"
    hint = (
        f"FLOPs cover only the traced {noun} {' and '.join(names)}, with the inputs of one call of "
        "the whole network. Everything else is neither counted nor pruned. Parameters are those "
        f"of the whole network, of which the traced parts hold {own['dense']:,} in the dense and "
        f"{own['slim']:,} in the slim network."
    )
    return [hint]


def uncounted_hint(report: Mapping[str, Any]) -> list[str]:
    """Which operations of the network are missing from its FLOPs."""
    names = report.get("uncounted")
    if not names:
        return []
    return [f"Not included in the FLOPs, because no counter knows them: {', '.join(names)}."]


def skipped_hint(report: Mapping[str, Any]) -> list[str]:
    """The image files that were left out because they can't be read, a sentence for each split.

    >>> skipped_hint({"skipped_images": [{"data": "d, test", "images": 2, "first": ["a: bad"]}]})
    ['d, test: 2 broken images were skipped: a: bad; and 1 more.']
    """
    hints = []
    for row in report.get("skipped_images", ()):
        verb = "was" if row["images"] == 1 else "were"
        names, more = "; ".join(row["first"]), row["images"] - len(row["first"])
        rest = f"; and {more} more" if more else ""
        many = number(row["images"], "broken image")
        hints.append(f"{row['data']}: {many} {verb} skipped: {names}{rest}.")
    return hints


def removed_hint(report: Mapping[str, Any]) -> list[str]:
    """The channel groups that are removed whole, in one sentence.

    >>> removed_hint({"groups": [{"name": "block1.conv1", "slim": 0}, {"name": "stem", "slim": 4}]})
    ['Removed whole, with the layers that only they feed: block1.conv1.']
    """
    gone = [row["name"] for row in report["groups"] if row["slim"] == 0]
    if not gone:
        return []
    return [f"Removed whole, with the layers that only they feed: {', '.join(gone)}."]


def width_hint(report: Mapping[str, Any]) -> list[str]:
    """A warning if pruned groups have widths that kernels are not optimised for."""
    pruned = [row for row in report["groups"] if row["slim"] < row["dense"]]
    odd = [row for row in pruned if row["slim"] * row.get("channels_each", 1) % ROUNDED]
    if not odd:
        return []
    hint = (
        f"{len(odd)} of {len(pruned)} pruned channel groups have a width that is not a multiple "
        f"of {ROUNDED}. Kernels are optimised for multiples of 8 (of 16 on CPUs with AVX-512), "
        "so a network with other widths may run slower than the dense network. "
        "`slimmer profile` measures this; `--round-to 8` or 16 makes every width a multiple."
    )
    return [hint]


def attribute_notes(found: Mapping[str, Any] | None) -> list[str]:
    """Sentences on width attributes and unequal parts; `found` is from `attribute_report`."""
    found, notes = found or {}, []
    for row in found.get("followed", ()):
        notes.append(f"`{row['attribute']}` changed from {row['dense']} to {row['slim']}.")
    for row in found.get("stayed", ()):
        widths = ", ".join(map(_known, row["widths"]))
        notes.append(
            f"`{row['attribute']}` is still {row['dense']}, but the widths it may stand for are "
            f"now {widths}. forward does not read it; methods that do may fail."
        )
    for row in found.get("unequal_splits", ()):
        now = " and ".join(map(str, row["slim"]))
        notes.append(
            f"{row['operation']}: equal parts of {row['dense']} channels are now {now}. "
            "Code that assumes equal parts may fail; `--equal-splits` keeps them equal."
        )
    return notes


def _known(width: int | None) -> str:
    return "unknown" if width is None else str(width)
