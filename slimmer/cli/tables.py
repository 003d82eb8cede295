"""Results of the commands as tables on stdout."""

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from shlex import quote
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from slimmer.cli.progress import say
from slimmer.recipe.costs import costs_in
from slimmer.reports.comparison_columns import columns, fitting
from slimmer.reports.comparison_table import legend, title
from slimmer.reports.hints import (
    attribute_notes,
    convention_hint,
    traced_hint,
    uncounted_hint,
    width_hint,
)
from slimmer.reports.latency_budget import latency_hint, least_hint, setting_text, time_rows
from slimmer.reports.latency_tables import headline, parts
from slimmer.reports.metric_text import metric_of
from slimmer.reports.run_report import EXPORT_HEADS, export_rows, unmeasured

HALF = 0.5  # of the FLOPs: if no budget reaches it, the modules that hold the rest are listed


def show_report(report: Mapping[str, Any], console: Console | None = None) -> None:
    """Print the result of `prune`, ending with the path of the report and the next command."""
    console = _stdout(console)
    table = _table(
        f"{report['arch'] or 'module'}, pruned", "", "dense", "slim", "remaining", "budget"
    )
    for kind in costs_in(report):
        cost = report[kind.name]
        budget = "none"
        if cost["limit"] is not None:
            budget = f"at most {cost['limit_ratio']:.2%}"
        counts = kind.in_full(cost["dense"]), kind.in_full(cost["slim"])
        table.add_row(kind.head, *counts, f"{cost['ratio']:.2%}", budget)
    if report["accuracy"] is not None:
        metric, found = metric_of(report), report["accuracy"]
        shown = metric.shown(found["dense"]), metric.shown(found["slim"])
        table.add_row(metric.name, *shown, "", "")
    console.print(table)
    for hint in [*convention_hint(report), *traced_hint(report), *uncounted_hint(report)]:
        say(console, hint)
    for hint in latency_hint(report):
        say(console, hint)
    if report["accuracy"] is None:
        say(console, unmeasured(report))
    untrue = {**report.get("attributes", {}), "followed": ()}
    for hint in (*width_hint(report), *attribute_notes(untrue)):
        say(console, hint)
    say(console, f"report: {report['run']}/report.html")
    say(console, f"next: slimmer export {_typed(report['run'])}")


def show_export(found: Mapping[str, Any], console: Console | None = None) -> None:
    """Print the result of `export`."""
    console = _stdout(console)
    table = _table("exported files, compared with PyTorch", "", *EXPORT_HEADS)
    for entry in found["networks"].values():
        for row in export_rows(entry):
            table.add_row(PurePath(entry["file"]).name, *row)
    console.print(table)
    for entry in found["networks"].values():
        file = entry["file"]
        if entry["reused"]:
            file += " (unchanged)"
        say(console, "; ".join([file, *entry["notes"]]))
    say(console, f"next: slimmer profile {_typed(found['run'])}")


def show_profile(found: Mapping[str, Any], console: Console | None = None) -> None:
    """Print the result of `profile`: the headline, then the tables."""
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
    """Print the result of `inspect`."""
    console = _stdout(console)
    classes = ""
    if found["classes"] is not None:
        classes = f"{found['classes']} classes, "
    say(console, f"{found['arch']}, {classes}{found['inputs']}")
    for note in found["notes"]:
        say(console, note)
    costs = _table("budgets", "", "dense", "reachable", "can't be removed")
    for kind in costs_in(found):
        cost = found[kind.name]
        least, dense = kind.in_full(cost["least"]), kind.in_full(cost["dense"])
        reach = f"{least} to {dense} ({cost['least_ratio']:.2%} to 100 %)"
        away = f"{kind.in_full(cost['out_of_reach'])} ({cost['out_of_reach_ratio']:.2%})"
        costs.add_row(kind.head, dense, reach, away)
    console.print(costs)
    for text in [*convention_hint(found), *uncounted_hint(found)]:
        say(console, text)
    _show_times(found, console)
    groups = _table(
        f"{len(found['groups'])} channel groups", "", "channels", "produced by", "consumed by"
    )
    for group in found["groups"]:
        groups.add_row(
            group["name"],
            str(group["size"]),
            "\n".join(group["made_by"]),
            "\n".join(group["read_by"]),
        )
    console.print(groups)
    layers = _table("layers", "", "channels", "FLOPs", "group, or why channels are kept")
    for row in found["layers"]:
        kept = [f"{each['channels']} kept: {each['reason']}" for each in row["stays"]]
        share = f"{row['flops'] / max(1, found['flops']['dense']):.1%}"
        layers.add_row(row["name"], str(row["channels"]), share, "\n".join([*row["groups"], *kept]))
    console.print(layers)
    if found["flops"]["least_ratio"] > HALF:
        say(
            console,
            f"At least {found['flops']['least_ratio']:.1%} of the FLOPs remain. Most are in:",
        )
        for holder in found["held"]:
            why = (
                "; ".join(holder["reasons"])
                or "other layers keep the channels that it reads or writes"
            )
            module = holder["module"] or "the network itself"
            say(console, f"  {module}: {holder['ratio']:.1%} of dense ({why})")


def _show_times(found: Mapping[str, Any], console: Console) -> None:
    """Print the slowest nodes, if the latency was measured."""
    if "latency_nodes" not in found:
        return
    title = f"slowest of {len(found['latency_nodes'])} operations, us"
    table = _table(title, "", "dense", "narrowest")
    for row in time_rows(found["latency_nodes"]):
        table.add_row(*row)
    console.print(table)
    say(console, f"Latency in {setting_text(found['latency_setting'])}.")
    say(console, least_hint(found["latency"]))


def show_comparison(comparison: Mapping[str, Any], console: Console | None = None) -> None:
    """Print the result of `compare`, with the columns that fit the width of the console."""
    console = _stdout(console)
    found = columns(comparison)
    needed = [each for each in found if each.constant is None]
    shown = fitting(needed, console.width)
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for each in shown:
        table.add_column("\n".join(each.head), no_wrap=not each.folds)
        if each.right:
            table.columns[-1].justify = "right"
    for cells in zip(*[each.cells for each in shown], strict=True):
        table.add_row(*cells)
    heading = title(comparison)
    constants = [each.constant for each in found if each.constant is not None]
    if constants:
        heading += f"; all rows: {', '.join(constants)}"
    say(console, heading)
    console.print(table)
    for text in legend(comparison):
        say(console, text)
    hidden = [" ".join(each.head) for each in needed if each not in shown]
    if hidden:
        names = ", ".join(hidden)
        say(console, f"Columns not shown: {names}. Widen the terminal, or use --json or --out.")


def show_sweep(found: Mapping[str, Any], console: Console | None = None) -> None:
    """Print the result of `sweep`: a table for each network and data set, then the failed runs."""
    console = _stdout(console)
    for comparison in found["comparisons"]:
        show_comparison(comparison, console)
    for name, error in found["failed"].items():
        say(console, f"failed: {name}: {error}")
    say(console, f"comparison: {found['out']}/compare.md")


def _stdout(console: Console | None) -> Console:
    """The console given, or stdout; 160 columns wide if stdout is a file or a pipe."""
    if console is not None:
        return console
    terminal = Console(highlight=False, soft_wrap=True, markup=False)
    if terminal.is_terminal:
        return terminal
    return Console(highlight=False, soft_wrap=True, markup=False, width=160)


def show_paths(paths: Sequence[str], console: Console | None = None) -> None:
    """Print the paths of files, one per line."""
    for path in paths:
        say(console or Console(), path)


def _table(title: str, first: str, *heads: str) -> Table:
    table = Table(
        title=title, title_justify="left", box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False
    )
    table.add_column(first)
    for head in heads:
        table.add_column(head)
    return table


def _typed(run: str) -> str:
    """The path of a run directory, quoted for the shell, relative to the working directory."""
    path, here = Path(run), Path.cwd()
    if path.is_relative_to(here):
        path = path.relative_to(here)
    return quote(str(path))
