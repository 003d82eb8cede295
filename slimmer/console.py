"""What people read in a terminal: progress while a command works, and its result as a table."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import PurePath
from typing import Any

from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Column, Table

from slimmer.profile_text import headline, parts
from slimmer.report import EXPORT_HEADS, export_rows
from slimmer.tabulate import columns, fitting, legend, title
from slimmer.units import short

Event = dict[str, Any]
Observe = Callable[[Event], None]
HALF = 0.5  # of the FLOPs: where not even that can be reached, it is said what holds them
EVERY_SECONDS = 10.0  # between two lines where there is no terminal
LABELS = {"flops": "FLOPs", "params": "parameters"}


@contextmanager
def watching(
    *,
    console: Console | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Observe]:
    """What shows a command's events on stderr: a live bar on a terminal, a line now and then elsewhere."""
    console = Console(stderr=True, highlight=False, soft_wrap=True) if console is None else console
    if not console.is_terminal:
        yield Watch(lambda text: _print(console, text), lambda *_: None, clock, every=EVERY_SECONDS)
        return
    columns = (
        BarColumn(bar_width=20, table_column=Column(min_width=20)),
        TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=False)),  # 80 columns are too few
    )
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("", total=None)

        def move(done: int, steps: int, text: str) -> None:
            progress.update(task, completed=done, total=steps, description=text)

        yield Watch(lambda text: _print(console, text), move, clock, every=float("inf"))


class Watch:
    """Events into lines and a bar; a class because a line also says what earlier events told."""

    def __init__(
        self,
        say: Callable[[str], None],
        move: Callable[[int, int, str], None],
        clock: Callable[[], float],
        *,
        every: float,
    ) -> None:
        self._say, self._move, self._clock, self._every = say, move, clock, every
        self._limits: dict[str, float] = {}
        self._remains: dict[str, float] = {}
        self._accuracy: float | None = None
        self._first: tuple[int, float] | None = None
        self._said = clock()

    def __call__(self, event: Event) -> None:
        """Show an event; one of a kind that is not known is passed over."""
        show = getattr(self, f"_on_{event['event']}", None)
        if show is not None:
            show(event)

    def _on_note(self, event: Event) -> None:
        self._say(event["text"])

    def _on_begun(self, event: Event) -> None:
        self._say(f"run {event['run']}")

    def _on_dense(self, event: Event) -> None:
        self._limits, self._remains = event["limits"], dict.fromkeys(LABELS, 1.0)
        counts = ", ".join(f"{short(event[name])} {label}" for name, label in LABELS.items())
        self._say(f"dense: {counts}{_top1(event['accuracy'])}")

    def _on_resumed(self, event: Event) -> None:
        self._limits = event["limits"]
        self._say("going on from the last state that was saved")

    def _on_removed(self, event: Event) -> None:
        self._remains = {name: event[name] for name in LABELS}
        self._accuracy = event["accuracy"]
        self._say(f"channels removed: {self._costs()}{_top1(event['accuracy'])}")

    def _on_step(self, event: Event) -> None:
        now = self._clock()
        self._remains |= {name: event[name] for name in LABELS if name in event}
        self._first = self._first or (event["step"] - 1, now)
        text = ", ".join(
            part
            for part in (
                f"epoch {event['epoch']:.2f} of {event['epoch'] * event['steps'] / event['step']:.3g}",
                f"loss {event['loss']:.3f}",
                f"top-1 {self._accuracy:.1%}" if self._accuracy is not None else "",
                self._costs(),
                f"{event['images_per_s']:.0f} images/s",
                f"{_duration(self._left(event, now))} left",
            )
            if part
        )
        self._show(event["step"], event["steps"], text, now)

    def _on_epoch(self, event: Event) -> None:
        self._accuracy = event["accuracy"]
        self._said = self._clock()
        self._say(f"epoch {event['epoch']:.3g}{_top1(event['accuracy'])}, {self._costs()}")

    def _on_export(self, event: Event) -> None:
        self._say(f"{event['file']}: writing it and comparing it with PyTorch")

    def _on_profile(self, event: Event) -> None:
        self._show(event["done"], event["steps"], event["next"], self._clock())

    def _on_sweep(self, event: Event) -> None:
        beside = f", {event['jobs']} side by side" if event["jobs"] > 1 else ""
        known = f"{event['finished']} finished already, {event['begun'] - event['finished']} begun"
        self._say(f"{event['rows']} rows in {event['out']}: {known}{beside}")

    def _on_row(self, event: Event) -> None:
        place = f"[{event['number']}/{event['rows']}] {event['name']}"
        if "said" in event:
            self._show(event["done"], event["rows"], f"{place}: {event['said']}", self._clock())
            return
        text = event["state"]
        if report := event.get("report"):
            top1 = "" if report["accuracy"] is None else _top1(report["accuracy"]["slim"])
            text += f" after {_duration(report['seconds'])}, FLOPs {report['flops']['ratio']:.1%}{top1}"
        self._say(f"{place}: {text}{': ' + event['error'] if 'error' in event else ''}")
        self._move(event["done"], event["rows"], place)

    def _show(self, done: int, steps: int, text: str, now: float) -> None:
        self._move(done, steps, text)
        if now - self._said >= self._every:
            self._said = now
            self._say(text)

    def _left(self, event: Event, now: float) -> float:
        """Seconds to the last step at the pace since the first one seen."""
        first, began = self._first or (event["step"], now)
        pace = (now - began) / max(1, event["step"] - first)
        return float(pace * (event["steps"] - event["step"]))

    def _costs(self) -> str:
        """What remains of each cost, against its budget."""
        return ", ".join(
            f"{label} {self._remains[name]:.1%}"
            + (f" (budget {self._limits[name]:.1%})" if name in self._limits else "")
            for name, label in LABELS.items()
            if name in self._remains
        )


def show_report(report: Mapping[str, Any], console: Console | None = None) -> None:
    """The result of `prune` on stdout, the report's place last."""
    console = _stdout(console)
    table = _table(f"{report['arch'] or 'module'}, slimmed", "", "dense", "slim", "remains", "budget")
    for name, label in LABELS.items():
        cost = report[name]
        budget = "none" if cost["limit"] is None else f"at most {cost['limit_ratio']:.2%}"
        table.add_row(label, f"{cost['dense']:,}", f"{cost['slim']:,}", f"{cost['ratio']:.2%}", budget)
    if report["accuracy"] is not None:
        table.add_row("top-1", f"{report['accuracy']['dense']:.2%}", f"{report['accuracy']['slim']:.2%}", "", "")
    console.print(table)
    _print(console, f"FLOPs: {report['flops']['convention']}")
    if report["accuracy"] is None:
        _print(console, "No data was given: accuracy is not known, and nothing was trained or recalibrated.")
    _print(console, f"report: {report['run']}/report.md")


def show_export(found: Mapping[str, Any], console: Console | None = None) -> None:
    """The result of `export` on stdout."""
    console = _stdout(console)
    table = _table("files against PyTorch", "", *EXPORT_HEADS)
    for entry in found["networks"].values():
        for row in export_rows(entry):
            table.add_row(PurePath(entry["file"]).name, *row)
    console.print(table)
    for entry in found["networks"].values():
        _print(console, "; ".join([f"{entry['file']}{' (unchanged)' if entry['reused'] else ''}", *entry["notes"]]))


def show_profile(found: Mapping[str, Any], console: Console | None = None) -> None:
    """The result of `profile` on stdout: the headline, then what is behind it."""
    console = _stdout(console)
    for text in headline(found):
        _print(console, text)
    for part in parts(found, every_layer=False):
        _print(console, "")
        if part.rows:
            table = _table(part.title, *part.heads)
            for row in part.rows:
                table.add_row(*row)
            console.print(table)
        else:
            _print(console, part.title)
        for text in part.says:
            _print(console, f"- {text}")


def show_inspection(found: Mapping[str, Any], console: Console | None = None) -> None:
    """The result of `inspect` on stdout."""
    console = _stdout(console)
    classes = "" if found["classes"] is None else f"{found['classes']} classes, "
    _print(console, f"{found['arch']}, {classes}{found['inputs']}")
    costs = _table("budgets", "", "dense", "reachable", "out of reach")
    for name, label in LABELS.items():
        cost = found[name]
        reach = f"{cost['least']:,} to {cost['dense']:,} ({cost['least_ratio']:.2%} to 100 %)"
        away = f"{cost['out_of_reach']:,} ({cost['out_of_reach_ratio']:.2%})"
        costs.add_row(label, f"{cost['dense']:,}", reach, away)
    console.print(costs)
    _print(console, f"FLOPs: {found['flops']['convention']}")
    groups = _table(f"{len(found['groups'])} channel groups", "", "channels", "made by", "read by")
    for group in found["groups"]:
        groups.add_row(group["name"], str(group["size"]), "\n".join(group["made_by"]), "\n".join(group["read_by"]))
    console.print(groups)
    layers = _table("layers", "", "channels", "FLOPs", "group, or why they stay")
    for row in found["layers"]:
        stays = [f"{each['channels']} stay: {each['reason']}" for each in row["stays"]]
        share = f"{row['flops'] / max(1, found['flops']['dense']):.1%}"
        layers.add_row(row["name"], str(row["channels"]), share, "\n".join([*row["groups"], *stays]))
    console.print(layers)
    if found["flops"]["least_ratio"] > HALF:
        _print(console, f"At least {found['flops']['least_ratio']:.1%} of the FLOPs stay. Most of them are in:")
        for holder in found["held"]:
            why = "; ".join(holder["reasons"]) or "what it reads or writes stays elsewhere"
            _print(console, f"  {holder['module'] or 'the top module'}: {holder['ratio']:.1%} of dense ({why})")


def show_comparison(comparison: Mapping[str, Any], console: Console | None = None) -> None:
    """The result of `compare` on stdout, with the columns that there is room for."""
    console = _stdout(console)
    found = columns(comparison)
    needed = [each for each in found if each.constant is None]
    shown = fitting(needed, console.width)
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for each in shown:
        table.add_column("\n".join(each.head), justify="right" if each.right else "left", no_wrap=not each.folds)
    for cells in zip(*(each.cells for each in shown), strict=True):
        table.add_row(*cells)
    alike = ", ".join(each.constant for each in found if each.constant is not None)
    _print(console, title(comparison) + (f"; all rows: {alike}" if alike else ""))
    console.print(table)
    for text in legend(comparison):
        _print(console, text)
    left = [" ".join(each.head) for each in needed if each not in shown]
    if left:
        _print(console, f"No room for: {', '.join(left)}. A wider terminal, --json and --out have them.")


def show_sweep(found: Mapping[str, Any], console: Console | None = None) -> None:
    """The result of `sweep` on stdout: a table for each network and data, then what failed."""
    console = _stdout(console)
    for comparison in found["comparisons"]:
        show_comparison(comparison, console)
    for name, error in found["failed"].items():
        _print(console, f"failed: {name}: {error}")
    _print(console, f"comparison: {found['out']}/compare.md")


def _stdout(console: Console | None) -> Console:
    """A file or a pipe has no width to fold lines at."""
    if console is not None:
        return console
    console = Console(highlight=False, soft_wrap=True, markup=False)
    return console if console.is_terminal else Console(highlight=False, soft_wrap=True, markup=False, width=160)


def _table(title: str, first: str, *heads: str) -> Table:
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    table.add_column(first)
    for head in heads:
        table.add_column(head)
    return table


def _print(console: Console, text: str) -> None:
    console.print(text, markup=False, soft_wrap=True)


def _top1(accuracy: float | None) -> str:
    return "" if accuracy is None else f", top-1 {accuracy:.1%}"


def _duration(seconds: float) -> str:
    """Seconds as people read them.

    >>> _duration(75), _duration(3725)
    ('1:15', '1:02:05')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
