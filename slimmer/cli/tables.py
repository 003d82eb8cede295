"""Results as tables on stdout."""

from collections.abc import Mapping
from pathlib import Path, PurePath
from shlex import quote
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from slimmer.cli.progress import say
from slimmer.recipe.costs import costs_in
from slimmer.reports.comparison_table import columns, fitting, legend, title
from slimmer.reports.latency_tables import headline, parts
from slimmer.reports.run_report import (
    EXPORT_HEADS,
    attribute_notes,
    convention_hint,
    export_rows,
    traced_hint,
    uncounted_hint,
    width_hint,
)

HALF = 0.5  # of the FLOPs: where not even that can be reached, it is said what holds them


def show_report(report: Mapping[str, Any], console: Console | None = None) -> None:
    """The result of `prune` on stdout, the report's place last."""
    console = _stdout(console)
    table = _table(
        f"{report['arch'] or 'module'}, slimmed", "", "dense", "slim", "remains", "budget"
    )
    for kind in costs_in(report):
        cost = report[kind.name]
        budget = "none" if cost["limit"] is None else f"at most {cost['limit_ratio']:.2%}"
        table.add_row(
            kind.head, f"{cost['dense']:,}", f"{cost['slim']:,}", f"{cost['ratio']:.2%}", budget
        )
    if report["accuracy"] is not None:
        table.add_row(
            "top-1",
            f"{report['accuracy']['dense']:.2%}",
            f"{report['accuracy']['slim']:.2%}",
            "",
            "",
        )
    console.print(table)
    for hint in [*convention_hint(report), *traced_hint(report), *uncounted_hint(report)]:
        say(console, hint)
    if report["accuracy"] is None:
        say(
            console,
            "No data was given: accuracy is not known, and nothing was trained or recalibrated.",
        )
    untrue = {**report.get("attributes", {}), "followed": ()}
    for hint in (*width_hint(report), *attribute_notes(untrue)):
        say(console, hint)
    say(console, f"report: {report['run']}/report.md")
    say(console, f"next: slimmer export {_typed(report['run'])}")


def show_export(found: Mapping[str, Any], console: Console | None = None) -> None:
    """The result of `export` on stdout."""
    console = _stdout(console)
    table = _table("files against PyTorch", "", *EXPORT_HEADS)
    for entry in found["networks"].values():
        for row in export_rows(entry):
            table.add_row(PurePath(entry["file"]).name, *row)
    console.print(table)
    for entry in found["networks"].values():
        say(
            console,
            "; ".join(
                [f"{entry['file']}{' (unchanged)' if entry['reused'] else ''}", *entry["notes"]]
            ),
        )
    say(console, f"next: slimmer profile {_typed(found['run'])}")


def show_profile(found: Mapping[str, Any], console: Console | None = None) -> None:
    """The result of `profile` on stdout: the headline, then what is behind it."""
    console = _stdout(console)
    for text in headline(found):
        say(console, text)
    for part in parts(found, every_layer=False):
        say(console, "")
        if part.rows:
            table = _table(part.title, *part.heads)
            for row in part.rows:
                table.add_row(*row)
            console.print(table)
        else:
            say(console, part.title)
        for text in part.says:
            say(console, f"- {text}")


def show_inspection(found: Mapping[str, Any], console: Console | None = None) -> None:
    """The result of `inspect` on stdout."""
    console = _stdout(console)
    classes = "" if found["classes"] is None else f"{found['classes']} classes, "
    say(console, f"{found['arch']}, {classes}{found['inputs']}")
    for note in found["notes"]:
        say(console, note)
    costs = _table("budgets", "", "dense", "reachable", "out of reach")
    for kind in costs_in(found):
        cost = found[kind.name]
        reach = f"{cost['least']:,} to {cost['dense']:,} ({cost['least_ratio']:.2%} to 100 %)"
        away = f"{cost['out_of_reach']:,} ({cost['out_of_reach_ratio']:.2%})"
        costs.add_row(kind.head, f"{cost['dense']:,}", reach, away)
    console.print(costs)
    for text in [*convention_hint(found), *uncounted_hint(found)]:
        say(console, text)
    groups = _table(f"{len(found['groups'])} channel groups", "", "channels", "made by", "read by")
    for group in found["groups"]:
        groups.add_row(
            group["name"],
            str(group["size"]),
            "\n".join(group["made_by"]),
            "\n".join(group["read_by"]),
        )
    console.print(groups)
    layers = _table("layers", "", "channels", "FLOPs", "group, or why they stay")
    for row in found["layers"]:
        stays = [f"{each['channels']} stay: {each['reason']}" for each in row["stays"]]
        share = f"{row['flops'] / max(1, found['flops']['dense']):.1%}"
        layers.add_row(
            row["name"], str(row["channels"]), share, "\n".join([*row["groups"], *stays])
        )
    console.print(layers)
    if found["flops"]["least_ratio"] > HALF:
        say(
            console,
            f"At least {found['flops']['least_ratio']:.1%} of the FLOPs stay. Most of them are in:",
        )
        for holder in found["held"]:
            why = "; ".join(holder["reasons"]) or "what it reads or writes stays elsewhere"
            say(
                console,
                f"  {holder['module'] or 'the top module'}: {holder['ratio']:.1%} of dense ({why})",
            )


def show_comparison(comparison: Mapping[str, Any], console: Console | None = None) -> None:
    """The result of `compare` on stdout, with the columns that there is room for."""
    console = _stdout(console)
    found = columns(comparison)
    needed = [each for each in found if each.constant is None]
    shown = fitting(needed, console.width)
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for each in shown:
        table.add_column(
            "\n".join(each.head), justify="right" if each.right else "left", no_wrap=not each.folds
        )
    for cells in zip(*(each.cells for each in shown), strict=True):
        table.add_row(*cells)
    alike = ", ".join(each.constant for each in found if each.constant is not None)
    say(console, title(comparison) + (f"; all rows: {alike}" if alike else ""))
    console.print(table)
    for text in legend(comparison):
        say(console, text)
    left = [" ".join(each.head) for each in needed if each not in shown]
    if left:
        say(
            console,
            f"No room for: {', '.join(left)}. A wider terminal, --json and --out have them.",
        )


def show_sweep(found: Mapping[str, Any], console: Console | None = None) -> None:
    """The result of `sweep` on stdout: a table for each network and data, then what failed."""
    console = _stdout(console)
    for comparison in found["comparisons"]:
        show_comparison(comparison, console)
    for name, error in found["failed"].items():
        say(console, f"failed: {name}: {error}")
    say(console, f"comparison: {found['out']}/compare.md")


def _stdout(console: Console | None) -> Console:
    """A file or a pipe has no width to fold lines at."""
    if console is not None:
        return console
    console = Console(highlight=False, soft_wrap=True, markup=False)
    return (
        console
        if console.is_terminal
        else Console(highlight=False, soft_wrap=True, markup=False, width=160)
    )


def _table(title: str, first: str, *heads: str) -> Table:
    table = Table(
        title=title, title_justify="left", box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False
    )
    table.add_column(first)
    for head in heads:
        table.add_column(head)
    return table


def _typed(run: str) -> str:
    """A run's directory as one types it here."""
    path, here = Path(run), Path.cwd()
    return quote(str(path.relative_to(here) if path.is_relative_to(here) else path))
