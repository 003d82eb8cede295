"""Progress while a command works: a line that changes in a terminal, lines now and then elsewhere."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from math import isfinite
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Column

from slimmer.recipe.costs import CostKind, costs_in
from slimmer.runs.events import Event, Observe

EVERY_SECONDS = 10.0  # between two lines where there is no terminal


@contextmanager
def watching(
    *,
    console: Console | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Observe]:
    """What shows a command's events on stderr: a live bar on a terminal, a line now and then
    elsewhere.
    """
    console = Console(stderr=True, highlight=False, soft_wrap=True) if console is None else console
    if not console.is_terminal:
        yield Watch(lambda text: say(console, text), lambda *_: None, clock, every=EVERY_SECONDS)
        return
    columns = (
        BarColumn(bar_width=20, table_column=Column(min_width=20)),
        TextColumn(
            "{task.description}", markup=False, table_column=Column(no_wrap=False)
        ),  # 80 columns are too few
    )
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("", total=None)

        def move(done: int, steps: int, text: str) -> None:
            progress.update(task, completed=done, total=steps or None, description=text)

        yield Watch(lambda text: say(console, text), move, clock, every=float("inf"))


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

    def _on_stage(self, event: Event) -> None:
        self._move(0, 0, event["text"])
        if isfinite(self._every):  # no bar shows it
            self._say(event["text"])

    def _on_begun(self, event: Event) -> None:
        self._say(f"run {event['run']}")

    def _on_dense(self, event: Event) -> None:
        kinds = costs_in(event)
        self._limits, self._remains = event["limits"], {kind.name: 1.0 for kind in kinds}
        counts = ", ".join(kind.said(event[kind.name]) for kind in kinds)
        self._say(f"dense: {counts}{_top1(event['accuracy'])}")

    def _on_resumed(self, event: Event) -> None:
        self._limits = event["limits"]
        self._say("going on from the last state that was saved")

    def _on_scores(self, event: Event) -> None:
        text = f"what each channel group costs when it is cut: {event['done']} of {event['groups']} measured"
        self._show(event["done"], event["groups"], text, self._clock())

    def _on_removed(self, event: Event) -> None:
        self._remains = {kind.name: event[kind.name] for kind in costs_in(event)}
        self._accuracy = event["accuracy"]
        self._say(f"channels removed: {self._costs()}{_top1(event['accuracy'])}")

    def _on_step(self, event: Event) -> None:
        now = self._clock()
        self._remains |= {kind.name: event[kind.name] for kind in costs_in(event)}
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
            left = ", ".join(
                f"{kind.label} {report[kind.name]['ratio']:.1%}" for kind in _told(report)
            )
            text += f" after {_duration(report['seconds'])}, {left}{top1}"
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
            f"{kind.label} {self._remains[kind.name]:.1%}"
            + (f" (budget {self._limits[kind.name]:.1%})" if kind.name in self._limits else "")
            for kind in costs_in(self._remains)
        )


def _told(report: Mapping[str, Any]) -> list[CostKind]:
    """The costs that a report has a budget on, or the first of all."""
    kinds = costs_in(report)
    limited = [kind for kind in kinds if report[kind.name].get("limit") is not None]
    return limited or kinds[:1]


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


def say(console: Console, text: str) -> None:
    """A line as it is: no markup, not folded."""
    console.print(text, markup=False, soft_wrap=True)
