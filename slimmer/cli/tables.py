"""Results of the commands as tables on stdout."""

from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from slimmer.cli.next_command import after_comparison, typed
from slimmer.cli.printing import print_table, print_whole, say, stdout_console
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
    console = stdout_console(console)
    rows: list[list[str]] = []
    for kind in costs_in(report):
        cost = report[kind.name]
        budget = "none"
        if cost["limit"] is not None:
            budget = f"at most {cost['limit_ratio']:.2%}"
        counts = kind.in_full(cost["dense"]), kind.in_full(cost["slim"])
        rows.append([kind.head, *counts, f"{cost['ratio']:.2%}", budget])
    if report["accuracy"] is not None:
        metric, found = metric_of(report), report["accuracy"]
        shown = metric.shown(found["dense"]), metric.shown(found["slim"])
        rows.append([metric.name, *shown, "", ""])
    heads = ["", "dense", "slim", "remaining", "budget"]
    name = f"{report['arch'] or 'module'}, pruned"
    print_table(console, name, heads, rows, spaced=False)
    for hint in [*convention_hint(report), *traced_hint(report), *uncounted_hint(report)]:
        say(console, hint)
    for hint in latency_hint(report):
        say(console, hint)
    if report["accuracy"] is None:
        say(console, unmeasured(report))
    untrue = {**report.get("attributes", {}), "followed": ()}
    for hint in (*width_hint(report), *attribute_notes(untrue)):
        say(console, hint)
    print_whole(console, f"report: {report['run']}/report.html")
    show_next(f"slimmer export {typed(report['run'])}", console)


def show_export(found: Mapping[str, Any], console: Console | None = None) -> None:
    """Print the result of `export`."""
    console = stdout_console(console)
    rows: list[list[str]] = []
    for entry in found["networks"].values():
        for row in export_rows(entry):
            rows.append([PurePath(entry["file"]).name, *row])
    name = "exported files, compared with PyTorch"
    print_table(console, name, ["", *EXPORT_HEADS], rows, spaced=False)
    for entry in found["networks"].values():
        file = entry["file"]
        if entry["reused"]:
            file += " (unchanged)"
        say(console, "; ".join([file, *entry["notes"]]), hang="  ")
    show_next(f"slimmer profile {typed(found['run'])}", console)


def show_profile(found: Mapping[str, Any], console: Console | None = None) -> None:
    """Print the result of `profile`: the headline, then the tables."""
    console = stdout_console(console)
    for text in headline(found):
        say(console, text)
    for part in parts(found, every_layer=False):
        if part.rows:
            print_table(console, part.title, part.heads, part.rows)
        else:
            say(console, f"\n{part.title}")
        for text in part.says:
            say(console, f"- {text}", hang="  ")


def show_inspection(found: Mapping[str, Any], console: Console | None = None) -> None:
    """Print the result of `inspect`."""
    console = stdout_console(console)
    classes = ""
    if found["classes"] is not None:
        classes = f"{found['classes']} classes, "
    say(console, f"{found['arch']}, {classes}{found['inputs']}")
    for note in found["notes"]:
        say(console, note)
    rows: list[list[str]] = []
    for kind in costs_in(found):
        cost = found[kind.name]
        least, dense = kind.in_full(cost["least"]), kind.in_full(cost["dense"])
        reach = f"{least} to {dense} ({cost['least_ratio']:.2%} to 100%)"
        away = f"{kind.in_full(cost['out_of_reach'])} ({cost['out_of_reach_ratio']:.2%})"
        rows.append([kind.head, dense, reach, away])
    print_table(console, "budgets", ["", "dense", "reachable", "can't be removed"], rows)
    for text in [*convention_hint(found), *uncounted_hint(found)]:
        say(console, text)
    _show_times(found, console)
    _show_groups(found, console)
    _show_layers(found, console)
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
            say(console, f"  {module}: {holder['ratio']:.1%} of dense ({why})", hang="    ")


def _show_groups(found: Mapping[str, Any], console: Console) -> None:
    rows: list[list[str]] = []
    for group in found["groups"]:
        made, read = "\n".join(group["made_by"]), "\n".join(group["read_by"])
        rows.append([group["name"], str(group["size"]), made, read])
    title = f"{len(rows)} channel groups"
    print_table(console, title, ["", "channels", "produced by", "consumed by"], rows)


def _show_layers(found: Mapping[str, Any], console: Console) -> None:
    rows: list[list[str]] = []
    for layer in found["layers"]:
        kept = [f"{each['channels']} kept: {each['reason']}" for each in layer["stays"]]
        share = f"{layer['flops'] / max(1, found['flops']['dense']):.1%}"
        rows.append(
            [layer["name"], str(layer["channels"]), share, "\n".join([*layer["groups"], *kept])]
        )
    heads = ["", "channels", "FLOPs", "group, or why channels are kept"]
    print_table(console, "layers", heads, rows)


def show_next(what: str, console: Console | None = None) -> None:
    """Print what to type next, on a line that can be copied; nothing if it is empty."""
    if what:
        print_whole(stdout_console(console), f"next: {what}")


def _show_times(found: Mapping[str, Any], console: Console) -> None:
    """Print the slowest nodes, if the latency was measured."""
    if "latency_nodes" not in found:
        return
    title = f"slowest of {len(found['latency_nodes'])} operations, us"
    print_table(console, title, ["", "dense", "narrowest"], time_rows(found["latency_nodes"]))
    say(console, f"Latency in {setting_text(found['latency_setting'])}.")
    say(console, least_hint(found["latency"]))


def show_comparison(comparison: Mapping[str, Any], console: Console | None = None) -> None:
    """Print the result of `compare`, with the columns that fit the width of the console."""
    console = stdout_console(console)
    _show_rows(comparison, console)
    show_next(after_comparison([comparison]), console)


def _show_rows(comparison: Mapping[str, Any], console: Console) -> None:
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
    console = stdout_console(console)
    for comparison in found["comparisons"]:
        _show_rows(comparison, console)
    for name, error in found["failed"].items():
        say(console, f"failed: {name}: {error}")
    print_whole(console, f"comparison: {found['out']}/compare.md")
    show_next(after_comparison(found["comparisons"]), console)


def show_paths(paths: Sequence[str], console: Console | None = None) -> None:
    """Print the paths of files, one per line."""
    for path in paths:
        say(console or Console(), path)
