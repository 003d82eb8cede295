"""All that was measured, as data; then as Markdown."""

from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from slimmer.costs import Budget, Cost
from slimmer.graph import ChannelGraph, slim_width
from slimmer.profiling.results import SCHEMA as PROFILE_SCHEMA
from slimmer.pruning.limits import ROUNDED
from slimmer.pruning.plan import Plan
from slimmer.recipe.costs import COSTS, CostKind, cost_kinds, costs_in
from slimmer.reports.latency_tables import headline, parts
from slimmer.reports.markdown import plain

FIGURES = {
    "masks": "Values of the masks",
    "sparsity": "Sparsity over time",
    "training": "Accuracy and loss over time",
    "widths": "Channels of every group, dense and slim",
}
EXPORT_HEADS = ("format", "MB", "images", "max abs", "max rel", "same top-1", "top-1 of the file")


def cost_report(cost: Cost, plan: Plan, budgets: Sequence[Budget]) -> dict[str, Any]:
    """One cost of dense and slim, what remains, what is gone, and how it stands to its budget."""
    slim = cost.exact(plan.widths)
    limit = next((budget.limit for budget in budgets if budget.cost.name == cost.name), None)
    return {
        "convention": COSTS[cost.name].convention,
        "dense": cost.dense,
        "slim": slim,
        "ratio": cost.share(slim),
        "sparsity": 1 - cost.share(slim),
        "limit": limit,
        "limit_ratio": None if limit is None else cost.share(limit),
    }


def attribute_report(graph: ChannelGraph, plan: Plan) -> dict[str, Any]:
    """What became of numbers in the user's modules that name a width, and of parts that were equal.

    Those that `followed` the plan; those that `stayed`, since what they may name has now several
    widths (None: one that can't be told); and splits whose equal parts came out `unequal`.
    """
    numbers, gone = dict(plan.attributes), plan.gone
    followed, stayed = [], []
    for each in graph.attributes:
        slim, widths = numbers.get(f"{each.module}#{each.name}"), each.becomes(gone)
        if slim is not None:
            followed.append({"attribute": str(each), "dense": each.value, "slim": slim})
        elif widths != [each.value]:
            stayed.append({"attribute": str(each), "dense": each.value, "widths": widths})
    unequal = []
    for split in graph.splits:
        slim_sizes = [
            slim_width(size, way, gone)
            for size, way in zip(split.sizes, split.parts, strict=True)
            if way is not None
        ]
        if len(set(split.sizes)) == 1 and len(set(slim_sizes)) > 1:
            unequal.append(
                {"operation": split.operation, "dense": split.sizes[0], "slim": slim_sizes}
            )
    return {"followed": followed, "stayed": stayed, "unequal_splits": unequal}


def to_markdown(
    report: Mapping[str, Any],
    exported: Mapping[str, Any] | None = None,
    profile: Mapping[str, Any] | None = None,
) -> str:
    """The report for people: costs, accuracy, latency and export where they are known, widths, what
    stayed whole.

    The report's `figures` are paths from the folder that this text lies in, as `draw_run` named the
    files.
    """
    lines = [f"# {plain(report['arch'] or 'module')}, pruned", ""]
    lines += [
        (
            f"slimmer {report['slimmer']}, {report['date']}, method {report['method']}, seed {report['seed']}, "
            f"{report['epochs']:g} epochs, recipe {report['recipe_hash']}, plan {report['plan_hash']}"
        ),
        "",
    ]
    lines += ["| | dense | slim | remaining | sparsity | budget |", "|---|---|---|---|---|---|"]
    lines += [_cost_row(kind, report[kind.name]) for kind in costs_in(report)]
    said = [*convention_hint(report), f"Counted for {report['inputs']}", _recounted(report)]
    lines += ["", *(f"- {plain(text)}" for text in said), ""]
    lines += [line for text in uncounted_hint(report) for line in (text, "")]
    lines += [line for text in traced_hint(report) for line in (plain(text), "")]
    lines += _before_projection(report.get("before_projection"))
    lines += _accuracy(report["accuracy"])
    lines += _latency(profile) if profile else []
    lines += _exported(exported) if exported else []
    lines += _figures(report.get("figures", ()))
    lines += ["## Widths", "", *(f"{hint}\n" for hint in width_hint(report))]
    lines += ["| channel group | dense | slim |", "|---|---|---|"]
    lines += [
        f"| {plain(row['name'])} | {row['dense']} | {row['slim']} |" for row in report["groups"]
    ]
    lines += ["", *_attributes(report.get("attributes")), "## Not pruned", ""]
    lines += [
        f"- {plain(row['layer'])}: {row['channels']} of {row['of']} channels: {plain(row['reason'])}"
        for row in report["fixed"]
    ]
    return "\n".join([*lines, ""])


def convention_hint(report: Mapping[str, Any]) -> list[str]:
    """How each cost of a report or an inspection is counted."""
    return [f"{kind.label}: {report[kind.name]['convention']}" for kind in costs_in(report)]


def _recounted(report: Mapping[str, Any]) -> str:
    counters: dict[str, str] = {}
    for kind in cost_kinds():
        counters |= kind.counters
    counts = [f"{counters.get(name, name)}: {value:,}" for name, value in report["recount"].items()]
    return f"Independent recount of the slim network: {'; '.join(counts)}"


def traced_hint(report: Mapping[str, Any]) -> list[str]:
    """Whose the counts are, where parts of the network alone were traced."""
    traced = report.get("traced")
    if traced is None:
        return []
    own = traced["params"]
    return [
        (
            f"FLOPs cover only the traced part{'s' * (len(traced['parts']) > 1)} "
            f"{' and '.join(traced['parts'])}, with the inputs of one call of the whole network. "
            "Everything else is neither counted nor pruned. Parameters are those of the whole "
            f"network, of which the traced parts hold {own['dense']:,} in the dense and "
            f"{own['slim']:,} in the slim network."
        )
    ]


def uncounted_hint(report: Mapping[str, Any]) -> list[str]:
    """What to know where a network computes something whose FLOPs nobody counts."""
    names = report.get("uncounted")
    if not names:
        return []
    return [f"Not included in the FLOPs, because no counter knows them: {', '.join(names)}."]


def width_hint(report: Mapping[str, Any]) -> list[str]:
    """What to know where pruned groups have widths that kernels do not like, which may cost more
    than pruning saves.
    """
    pruned = [row for row in report["groups"] if row["slim"] < row["dense"]]
    odd = [row for row in pruned if row["slim"] * row.get("channels_each", 1) % ROUNDED]
    if not odd:
        return []
    return [
        (
            f"{len(odd)} of {len(pruned)} pruned channel groups have a width that is not a multiple "
            f"of {ROUNDED}. Kernels are optimised for multiples of 8 (of 16 on CPUs with AVX-512), "
            "so a network with other widths may run slower than the dense network. "
            "`slimmer profile` measures this; `--round-to 8` or 16 makes every width a multiple."
        )
    ]


def attribute_notes(found: Mapping[str, Any] | None) -> list[str]:
    """What to know of numbers in the user's modules and of equal parts; `found` is what
    `attribute_report` gave.
    """
    found = found or {}
    notes = [
        f"`{row['attribute']}` changed from {row['dense']} to {row['slim']}."
        for row in found.get("followed", ())
    ]
    for row in found.get("stayed", ()):
        widths = ", ".join("unknown" if width is None else str(width) for width in row["widths"])
        was = f"`{row['attribute']}` is still {row['dense']}, but the widths it may stand for are now {widths}."
        notes.append(f"{was} forward does not read it; methods that do may fail.")
    for row in found.get("unequal_splits", ()):
        now = " and ".join(map(str, row["slim"]))
        was = f"{row['operation']}: equal parts of {row['dense']} channels are now {now}."
        notes.append(
            f"{was} Code that assumes equal parts may fail; `--equal-splits` keeps them equal."
        )
    return notes


def _attributes(found: Mapping[str, Any] | None) -> list[str]:
    notes = attribute_notes(found)
    return (
        ["## Width attributes of modules", "", *(f"- {note}" for note in notes), ""]
        if notes
        else []
    )


def _before_projection(left: Mapping[str, float] | None) -> list[str]:
    """How near the masks came by themselves, where there were any."""
    if left is None:
        return []
    shares = " and ".join(f"{left[kind.name]:.2%} of the {kind.label}" for kind in costs_in(left))
    return [f"The masks alone left {shares}; the exact projection removed the rest.", ""]


def _figures(files: Sequence[str]) -> list[str]:
    """The pictures that the run has, by their paths from the report."""
    shown = [
        line
        for file in files
        for line in (f"![{FIGURES.get(PurePosixPath(file).stem, file)}]({file})", "")
    ]
    return ["## Figures", "", *shown] if shown else []


def _latency(profile: Mapping[str, Any]) -> list[str]:
    """Dense against slim: the headline, then the tables, then what limits the figures."""
    if profile.get("schema") != PROFILE_SCHEMA:
        return [
            "## Latency",
            "",
            "profile.json was written by another version of slimmer; run `slimmer profile` again.",
            "",
        ]
    first, *rest = parts(profile, every_layer=True)
    lines = [
        f"## {first.title}",
        "",
        *(f"- {text}" for text in headline(profile)),
        "",
        *_table(first.heads, first.rows),
    ]
    for part in rest:
        lines += [f"### {part.title}", "", *(_table(part.heads, part.rows) if part.rows else [])]
        lines += [*(f"- {text}" for text in part.says), ""] if part.says else []
    return lines


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [" | ".join(heads), "|".join(["---"] * len(heads)), *(" | ".join(row) for row in rows)]
    return [*(f"| {line} |" if index != 1 else f"|{line}|" for index, line in enumerate(lines)), ""]


def _exported(exported: Mapping[str, Any]) -> list[str]:
    """What the exported files are and how they stand to PyTorch."""
    lines = [f"| file | {' | '.join(EXPORT_HEADS)} |", "|---" * (1 + len(EXPORT_HEADS)) + "|"]
    for entry in exported["networks"].values():
        lines += [f"| {' | '.join([plain(entry['file']), *row])} |" for row in export_rows(entry)]
    notes = [
        f"- {plain(entry['file'])}: {note}"
        for entry in exported["networks"].values()
        for note in entry["notes"]
    ]
    return [
        "## Exported files, compared with PyTorch",
        "",
        *lines,
        "",
        *([*notes, ""] if notes else []),
    ]


def export_rows(entry: Mapping[str, Any]) -> list[list[str]]:
    """The cells under EXPORT_HEADS of one exported file, a row for each kind of images it was
    compared on.
    """
    takes = f"{entry['precision'].partition(',')[0]}, batch {entry['batch']}, {entry['image_size']}"
    top1 = "" if entry["accuracy"] is None else f"{entry['accuracy']:.2%}"
    return [
        [
            takes,
            f"{entry['bytes'] / 1e6:.2f}",
            kind if parity["images"] is None else f"{parity['images']} {kind}",
            f"{parity['max_abs']:.1e}",
            f"{parity['max_rel']:.1e}",
            "" if parity["top1_agreement"] is None else f"{parity['top1_agreement']:.2%}",
            top1,
        ]
        for kind, parity in entry["parity"].items()
    ]


def _cost_row(kind: CostKind, cost: Mapping[str, Any]) -> str:
    limit = (
        "none"
        if cost["limit"] is None
        else f"at most {kind.short(cost['limit'])} ({cost['limit_ratio']:.2%})"
    )
    counts = f"{cost['dense']:,} | {cost['slim']:,}"
    return f"| {kind.head} | {counts} | {cost['ratio']:.2%} | {cost['sparsity']:.2%} | {limit} |"


def _accuracy(accuracy: Mapping[str, float] | None) -> list[str]:
    if accuracy is None:
        return [
            "No data given: accuracy is unknown, and batch norm keeps the dense network's statistics.",
            "",
        ]
    rows = [
        ("dense", "dense"),
        ("removed", "after channel removal, batch norm recalibrated"),
        ("slim", "slim, after fine-tuning"),
    ]
    table = [f"| {label} | {accuracy[key]:.2%} |" for key, label in rows]
    return ["| top-1 on the test images | |", "|---|---|", *table, ""]
