"""The pruning plan: which channels are kept, its canonical JSON, and its hash."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from slimmer.atomic_files import parse_json, read_text
from slimmer.errors import RunError, first_line
from slimmer.graph import Axis, ChannelGraph, ChannelGroup, ChannelSlice
from slimmer.runs.schemas import PlanFile, PlanGroup, check

FORMAT = 1
LONGEST = 100  # characters that a message quotes from a file
MOST_POSITIONS = 10_000_000


@dataclass(frozen=True)
class Plan:
    """Channel groups, and for each the units that are kept (ascending). A plan is self-contained:
    applying it traces nothing.

    A group that keeps no unit is removed whole, see `slimmer.pruning.branches`. `attributes` are
    integer attributes of the user's modules, as `module#name`, and their new values.
    """

    groups: tuple[ChannelGroup, ...]
    keep: tuple[tuple[int, ...], ...]
    attributes: tuple[tuple[str, int], ...] = ()

    @property
    def widths(self) -> list[int]:
        """The number of kept units of each group."""
        return list(map(len, self.keep))

    @property
    def gone(self) -> dict[str, int]:
        """The number of removed units of each group, by its name."""
        gone = {}
        for group, width in zip(self.groups, self.widths, strict=True):
            gone[group.name] = group.size - width
        return gone

    def removed(self) -> dict[Axis, list[int]]:
        """The removed positions, ascending, of every axis that loses any."""
        gone: dict[Axis, list[int]] = {}
        for group, kept in zip(self.groups, self.keep, strict=True):
            out = sorted(set(range(group.size)).difference(kept))
            if not out:
                continue
            for part in group.slices:
                gone.setdefault(part.axis, []).extend(part.positions(out))
        return dict(zip(gone, map(sorted, gone.values()), strict=True))

    def to_json(self) -> str:
        """Canonical JSON: equal plans have equal bytes. Index lists are written as ranges,
        `0:8,12`.
        """
        groups = list(map(_entry, self.groups, self.keep))
        data: dict[str, object] = {"format": FORMAT, "groups": groups}
        if self.attributes:
            data["attributes"] = dict(self.attributes)
        return json.dumps(data, indent=1, sort_keys=True) + "\n"

    @property
    def hash(self) -> str:
        """The first 16 hex digits of the SHA-256 of the canonical JSON."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:16]

    @staticmethod
    def from_json(text: str, where: str = "plan") -> "Plan":
        """The plan that `to_json` wrote. Raises RunError if the text is not a plan."""
        right = "give the plan.json of a slimmer run"
        try:
            data = parse_json(text)
        except ValueError as error:
            raise RunError(where, f"is not a plan ({error})", right) from error
        if isinstance(data, dict) and data.get("format", FORMAT) != FORMAT:
            raise RunError(
                where,
                f"has plan format {str(data['format'])[:40]}",
                f"this slimmer reads format {FORMAT}",
            )
        filed = check(PlanFile, data, where, right)
        positions = 0
        for group in filed.groups:
            positions += group.size * sum(part[2] for part in group.slices)
        if positions > MOST_POSITIONS:
            raise RunError(
                where, f"is not a plan (of more than {MOST_POSITIONS:,} positions)", right
            )
        try:
            groups = tuple(map(_group, filed.groups))
            keep = tuple(map(_kept, filed.groups))
        except ValueError as error:
            raise RunError(
                where, f"is not a plan ({first_line(error)[:LONGEST]})", right
            ) from error
        _check_disjoint(groups, where, right)
        for entry, whole, kept in zip(filed.groups, groups, keep, strict=True):
            if kept or not entry.removed:
                _check(whole, kept, where)
        return Plan(groups, keep, tuple(sorted(filed.attributes.items())))


def read_plan(path: Path, right: str = "give the plan.json of a slimmer run") -> Plan:
    """The plan in a file. Raises RunError, with the remedy `right`, if the file is missing, damaged
    or not a plan.
    """
    try:
        return Plan.from_json(read_text(path), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise RunError(str(path), f"can't be read ({first_line(error)})", right) from error
    except RunError as error:
        raise RunError(error.where, error.found, right) from error


def make_plan(graph: ChannelGraph, keep: Mapping[str, Iterable[int]]) -> Plan:
    """The plan that keeps the units `keep[group]` of each group; other groups are kept whole.

    Raises RunError if a group is unknown, or empty and in no branch, or a unit is out of range.
    """
    kept, unknown = [], set(keep)
    for group in graph.groups:
        unknown.discard(group.name)
        units = keep.get(group.name, range(group.size))
        kept.append(tuple(sorted(set(units))))
    if unknown:
        raise RunError(
            "plan", f"no channel group is called {min(unknown)!r}", "see `slimmer inspect`"
        )
    removable = graph.removable
    for group, units in zip(graph.groups, kept, strict=True):
        if units or group.name not in removable:
            _check(group, units, "plan")
    return Plan(graph.groups, tuple(kept), _followed(graph, kept))


def full_plan(graph: ChannelGraph) -> Plan:
    """The plan that keeps everything: the identity."""
    return make_plan(graph, {})


def _followed(graph: ChannelGraph, kept: Sequence[tuple[int, ...]]) -> tuple[tuple[str, int], ...]:
    """The attributes whose possible widths all become one other width, and that width; none of what
    is removed whole.
    """
    gone = Plan(graph.groups, tuple(kept)).gone
    found = []
    for each in graph.attributes:
        widths = each.becomes(gone)
        if len(widths) == 1 and widths[0] not in {None, 0, each.value}:
            found.append((f"{each.module}#{each.name}", widths[0]))
    return tuple(sorted(found))


def _entry(group: ChannelGroup, kept: Sequence[int]) -> dict[str, object]:
    """A group in JSON."""
    slices = []
    for part in group.slices:
        index = _ranges(chain.from_iterable(part.index))
        slices.append([part.axis.tensor, part.axis.dim, part.multiplicity, index])
    entry = {"name": group.name, "size": group.size, "keep": _ranges(kept), "slices": slices}
    return entry if kept else {**entry, "removed": True}


def _check(group: ChannelGroup, kept: Sequence[int], where: str) -> None:
    if not kept or kept[0] < 0 or kept[-1] >= group.size or list(kept) != sorted(set(kept)):
        found = f"group {group.name!r} keeps units {_ranges(kept)!r}"
        raise RunError(where, found, f"at least one unit of 0 to {group.size - 1}, ascending")


def _group(entry: PlanGroup) -> ChannelGroup:
    slices = []
    for tensor, dim, multiplicity, ranges in entry.slices:
        number = entry.size * multiplicity
        flat = _positions(ranges, number)
        complete = len(flat) == len(set(flat)) == number
        if not complete or min(flat, default=0) < 0:
            needed = f"{entry.size} units of {multiplicity}"
            raise ValueError(f"{tensor}[{dim}] holds {len(flat)} positions for {needed}")
        index = []
        for start in range(0, number, multiplicity):
            index.append(tuple(flat[start : start + multiplicity]))
        slices.append(ChannelSlice(Axis(tensor, dim), tuple(index)))
    return ChannelGroup(entry.name, entry.size, tuple(slices))


def _kept(entry: PlanGroup) -> tuple[int, ...]:
    return tuple(_positions(entry.keep, entry.size))


def _check_disjoint(groups: Sequence[ChannelGroup], where: str, right: str) -> None:
    """Raise RunError if a group is there twice, or if two groups contain the same channel."""
    names = Counter(group.name for group in groups)
    twice = [name for name, number in names.items() if number > 1]
    taken: dict[Axis, set[int]] = {}
    for group in groups:
        for part in group.slices:
            if part.axis.tensor.startswith("@"):
                continue
            positions = set(chain.from_iterable(part.index))
            known = taken.setdefault(part.axis, set())
            if positions & known:
                twice.append(group.name)
            known |= positions
    if twice:
        raise RunError(
            where, f"is not a plan (group {twice[0][:LONGEST]!r} has duplicate channels)", right
        )


def _ranges(numbers: Iterable[int]) -> str:
    """Integers as runs, in their own order: 0,1,2,5 is `0:3,5`."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and runs[-1][1] == number:
            runs[-1][1] += 1
        else:
            runs.append([number, number + 1])
    texts = []
    for start, stop in runs:
        single = stop == start + 1
        texts.append(str(start) if single else f"{start}:{stop}")
    return ",".join(texts)


def _positions(ranges: str, most: int) -> list[int]:
    """The integers that `_ranges` wrote. Raises ValueError if they are not integers, or more than
    `most`.
    """
    numbers: list[int] = []
    for run in ranges.split(",") if ranges else ():
        start, _, stop = run.partition(":")
        run_of = range(int(start), int(stop) if stop else int(start) + 1)
        if run_of.stop > MOST_POSITIONS or len(numbers) + len(run_of) > most:
            raise ValueError(
                f"more than {most} positions, or one beyond {MOST_POSITIONS:,}, in {ranges[:40]!r}"
            )
        numbers.extend(run_of)
    return numbers
