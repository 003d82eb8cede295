"""The tables of network_coverage.py, in Markdown."""

import re
import statistics
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from coverage_names import LISTS
from coverage_verdicts import (
    RIGHT,
    STAGES,
    Row,
    kind,
    later_failures,
    peer_verdict,
    verdict,
)


def markdown(rows: Sequence[Row]) -> Iterator[str]:
    """The table: counts, families, what failed and why, what holds the rest, seconds and memory."""
    if not rows:
        return
    machine = rows[-1]["environment"]
    yield "# Coverage: which networks prune right\n"
    yield (
        f"{len(rows)} networks, random weights, half the FLOPs (fvcore's), one thread. "
        f"{machine['cpu']}, torch "
    )
    yield (
        f"{machine['torch']}, onnxruntime {machine['onnxruntime']}. "
        "*half*: pruned to half its FLOPs, equal to the "
    )
    yield (
        "masked network in float64 (1e-10), every count as planned; "
        "*rewritten*: the same with `--rewrite`, and not "
    )
    yield "without; *part*: the same, as far as it can be pruned. "
    yield (
        "Torch-Pruning *ok*: its network runs in eval mode with outputs of the same shapes "
        "and is as small as asked; "
    )
    yield "there is no masked network to hold it against.\n"
    yield from _counts("list", kind, rows)
    yield from _counts(
        "family", lambda row: f"{row['net'].partition('/')[0]}/{row['family']}", rows
    )
    yield from _each([row for row in rows if row["net"].partition("/")[0] not in LISTS[:2]])
    judged = [(row, *verdict(row)) for row in rows]
    for title, words in (
        ("Wrong", ["wrong"]),
        ("Failed", ["failed"]),
        ("Pruned in part", ["part"]),
    ):
        yield from _list(title, [(row["net"], why) for row, word, why in judged if word in words])
    pruned = [row for row, word, _ in judged if word in RIGHT]
    yield from _list(
        "Pruned right, but", [(row["net"], why) for row in pruned for why in later_failures(row)]
    )
    reasons = Counter(_alike(why) for _, word, why in judged if word == "failed")
    yield from _list(
        "Failures by reason", [(str(number), why) for why, number in reasons.most_common()]
    )
    peers = [(row["net"], *peer_verdict(row)) for row in rows]
    told = [(net, f"{word}: {why}") for net, word, why in peers if why]
    yield from _list("Torch-Pruning", told)
    yield "\n## Seconds and memory\n\n| stage | median s | most s | network | most MB | network |"
    yield f"|{'---|' * 6}"
    for name in STAGES:
        yield from _slowest(
            name, [(row["net"], row["stages"][name]) for row in rows if name in row["stages"]]
        )
    graphs = [
        (row["net"], row["stages"]["graph"])
        for row in rows
        if "walk_s" in row["stages"].get("graph", {})
    ]
    yield from _slowest(
        "label walk alone", [(net, {**found, "s": found["walk_s"]}) for net, found in graphs]
    )


def _counts(title: str, key: Any, rows: Sequence[Row]) -> Iterator[str]:
    """One row a value of `key`: how many networks came to what end, with slimmer and with
    Torch-Pruning.
    """
    heads = (*RIGHT, "wrong", "failed", "of these: also train, true, ONNX equal")
    peers = ("ok", "wrong", "error", "timeout")
    yield f"\n| {title} | networks | {' | '.join(heads)} | Torch-Pruning {' | '.join(peers)} |"
    yield f"|{'---|' * (len(heads) + len(peers) + 2)}"
    values: dict[str, list[Row]] = {}
    for row in rows:
        values.setdefault(key(row), []).append(row)
    for value, group in sorted(values.items()):
        words = Counter(verdict(row)[0] for row in group)
        whole = sum(verdict(row)[0] in RIGHT and not list(later_failures(row)) for row in group)
        theirs = Counter(peer_verdict(row)[0] for row in group)
        cells = [
            value,
            len(group),
            *(words[head] for head in heads[:-1]),
            whole,
            *(theirs[peer] for peer in peers),
        ]
        yield f"| {' | '.join(map(str, cells))} |"


def _each(rows: Sequence[Row]) -> Iterator[str]:
    """One line a network of other packages and of the rebuilt ones: how right, FLOPs that are left,
    why, seconds.
    """
    if rows:
        yield "\n## One by one\n"
        yield "| network | result | FLOPs left | s | why |\n|---|---|---|---|---|"
    for row in sorted(rows, key=lambda row: str(row["net"])):
        word, why = verdict(row)
        tries = [row, *([row["rewritten"]] if "rewritten" in row else [])]
        plan = tries[-1]["stages"].get("plan", {})
        left = f"{plan['flops'] / plan['dense']:.1%}" if "flops" in plan else ""
        seconds = sum(stage["s"] for each in tries for stage in each["stages"].values())
        yield f"| {row['net']} | {word} | {left} | {seconds:.1f} | {_plain(why)} |"


def _list(title: str, pairs: Sequence[tuple[str, str]]) -> Iterator[str]:
    if pairs:
        yield f"\n## {title}\n"
        yield from (f"- {name}: {_plain(why)}" for name, why in pairs)


def _plain(text: str) -> str:
    """Text that Markdown leaves alone, in at most 300 characters."""
    return re.sub(r"([|*_<>\[\]`])", r"\\\1", text[:300])


def _alike(reason: str) -> str:
    """A reason without numbers and names of places, so that the same fault counts as one."""
    return re.sub(r"\d+", "N", re.sub(r" in [\w.]+ \(", " (", reason))[:110]


def _slowest(name: str, found: Iterable[tuple[str, Row]]) -> Iterator[str]:
    rows = list(found)
    if rows:
        slow, large = (
            max(rows, key=lambda row: row[1]["s"]),
            max(rows, key=lambda row: row[1]["mb"]),
        )
        median = statistics.median(row["s"] for _, row in rows)
        times = f"{median:.2f} | {slow[1]['s']:.2f} | {slow[0]}"
        yield f"| {name} | {times} | {large[1]['mb']} | {large[0]} |"
