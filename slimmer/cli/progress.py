"""Progress of a command: a live bar on a terminal, a line every few seconds elsewhere."""

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from math import isfinite
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Column

from slimmer.cli.printing import say
from slimmer.recipe.costs import CostKind, costs_in
from slimmer.reports.metric_text import metric_of
from slimmer.runs.events import Event, Observe

# Set by Jupyter's kernels: a notebook gives its `!` commands a terminal that can't overwrite lines.
NOTEBOOK = "JPY_PARENT_PID"
# The bar is in the terminal's own colour on a grey that white and black backgrounds both show.
TRACK, PULSE = "color(244)", "color(31)"
EVERY_SECONDS = 10.0  # between two lines, if stderr is not a terminal


@contextmanager
def watching(
    *,
    console: Console | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Observe]:
    """An observer that shows a command's events on stderr, until the block ends."""
    console = console or Console(stderr=True, highlight=False, soft_wrap=True)
    if not console.is_terminal or NOTEBOOK in os.environ:
        yield Watch(lambda text: say(console, text), lambda *_: None, clock, every=EVERY_SECONDS)
        return
    bar = BarColumn(20, TRACK, "default", "default", PULSE, table_column=Column(min_width=20))
    # The text wraps: it is often too long for 80 columns.
    text = TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=False))
    with Progress(bar, text, console=console, transient=True) as progress:
        task = progress.add_task("", total=None)

        def move(done: int, steps: int, text: str) -> None:
            progress.update(task, completed=done, total=steps or None, description=text)

        yield Watch(lambda text: say(console, text), move, clock, every=float("inf"))


class Watch:
    """Turns events into lines and a bar. Its state is what lines repeat from earlier events."""

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
        self._metric = metric_of(None)
        self._first: tuple[int, float] | None = None
        self._said = clock()

    def __call__(self, event: Event) -> None:
        """Show an event. Events of an unknown kind are ignored."""
        show = getattr(self, f"_on_{event['event']}", None)
        if show is not None:
            show(event)

    def _on_note(self, event: Event) -> None:
        self._say(event["text"])

    def _on_metric(self, event: Event) -> None:
        self._metric = metric_of(event)

    def _on_stage(self, event: Event) -> None:
        self._move(0, 0, event["text"])
        if isfinite(self._every):  # there is no bar
            self._say(event["text"])

    def _on_begun(self, event: Event) -> None:
        self._say(f"run {event['run']}")

    def _on_dense(self, event: Event) -> None:
        kinds = costs_in(event)
        self._limits, self._remains = event["limits"], {kind.name: 1.0 for kind in kinds}
        counts = ", ".join(kind.said(event[kind.name]) for kind in kinds)
        self._say(f"dense: {counts}{self._measured(event['accuracy'])}")

    def _on_resumed(self, event: Event) -> None:
        self._limits = event["limits"]
        self._say("resuming from the last saved state")

    def _on_scores(self, event: Event) -> None:
        text = f"measuring the sensitivity of channel groups: {event['done']} of {event['groups']}"
        self._show(event["done"], event["groups"], text, self._clock())

    def _on_answers(self, event: Event) -> None:
        view = f"view {event['view'] + 1} of {event['views']}"
        text = f"the dense network answers {view}: {event['done']} of {event['images']} images"
        self._show(event["done"], event["images"], text, self._clock())

    def _on_removed(self, event: Event) -> None:
        self._remains = {kind.name: event[kind.name] for kind in costs_in(event)}
        self._accuracy = event["accuracy"]
        self._say(f"channels removed: {self._costs()}{self._measured(event['accuracy'])}")

    def _on_settled(self, event: Event) -> None:
        parts = [f"{kind.label} {event[kind.name]:.1%}" for kind in costs_in(event)]
        noun = "unit" if event["units"] == 1 else "units"
        left = f"{', '.join(parts)} are left to train"
        self._say(f"{event['units']} {noun} settled at zero and removed: {left}")

    def _on_latency_networks(self, event: Event) -> None:
        text = f"measuring latencies: {event['done']} of {event['networks']} networks"
        self._show(event["done"], event["networks"], text, self._clock())

    def _on_depth(self, event: Event) -> None:
        noun = "branch" if event["branches"] == 1 else "branches"
        without = f"without {event['branches']} residual {noun}"
        self._say(f"{without}: the outputs change by {event['change']:.3g}")

    def _on_search(self, event: Event) -> None:
        what = "training the best plans" if event["trained"] else "trying other plans"
        text = f"{what}: {event['done']} of {event['plans']}, least change {event['change']:.3g}"
        self._show(event["done"], event["plans"], text, self._clock())

    def _on_latency_round(self, event: Event) -> None:
        self._say(
            f"latency, round {event['round']}: measured {event['measured']:.1%} of dense "
            f"(predicted {event['predicted']:.1%}, budget {event['limit']:.1%})"
        )

    def _on_step(self, event: Event) -> None:
        now = self._clock()
        self._remains |= {kind.name: event[kind.name] for kind in costs_in(event)}
        self._first = self._first or (event["step"] - 1, now)
        epochs = event["epoch"] * event["steps"] / event["step"]
        parts = [f"epoch {event['epoch']:.2f} of {epochs:.3g}", f"loss {event['loss']:.3f}"]
        if self._accuracy is not None:
            parts.append(f"{self._metric.name} {self._metric.shown(self._accuracy, 1)}")
        parts += [self._costs()] if self._remains else []
        parts += [
            f"{event['images_per_s']:.0f} images/s",
            f"{_duration(self._left(event, now))} left",
        ]
        self._show(event["step"], event["steps"], ", ".join(parts), now)

    def _on_epoch(self, event: Event) -> None:
        self._accuracy = event["accuracy"]
        self._said = self._clock()
        self._say(f"epoch {event['epoch']:.3g}{self._measured(event['accuracy'])}, {self._costs()}")

    def _on_export(self, event: Event) -> None:
        self._say(f"{event['file']}: writing and comparing with PyTorch")

    def _on_profile(self, event: Event) -> None:
        self._show(event["done"], event["steps"], event["next"], self._clock())

    def _on_sweep(self, event: Event) -> None:
        started = event["begun"] - event["finished"]
        text = f"{event['rows']} runs in {event['out']}: {event['finished']} finished"
        text += f", {started} to resume"
        if event["jobs"] > 1:
            text += f", {event['jobs']} in parallel"
        self._say(text)

    def _on_row(self, event: Event) -> None:
        place = f"[{event['number']}/{event['rows']}] {event['name']}"
        if "said" in event:
            self._show(event["done"], event["rows"], f"{place}: {event['said']}", self._clock())
            return
        text = f"{place}: {event['state']}"
        if event.get("report"):
            text += _outcome(event["report"])
        if "error" in event:
            text += f": {event['error']}"
        self._say(text)
        self._move(event["done"], event["rows"], place)

    def _show(self, done: int, steps: int, text: str, now: float) -> None:
        self._move(done, steps, text)
        if now - self._said >= self._every:
            self._said = now
            self._say(text)

    def _left(self, event: Event, now: float) -> float:
        """Seconds until the last step, at the average pace since the first step seen."""
        first, began = self._first or (event["step"], now)
        pace = (now - began) / max(1, event["step"] - first)
        return float(pace * (event["steps"] - event["step"]))

    def _measured(self, accuracy: float | None) -> str:
        """The main metric, after a comma; empty if it is unknown."""
        if accuracy is None:
            return ""
        return f", {self._metric.name} {self._metric.shown(accuracy, 1)}"

    def _costs(self) -> str:
        """The remaining share of each cost, with its budget."""
        parts = []
        for kind in costs_in(self._remains):
            text = f"{kind.label} {self._remains[kind.name]:.1%}"
            if kind.name in self._limits:
                text += f" (budget {self._limits[kind.name]:.1%})"
            parts.append(text)
        return ", ".join(parts)


def _outcome(report: Mapping[str, Any]) -> str:
    """Time, remaining costs and accuracy of a finished run."""
    text = f" after {_duration(report['seconds'])}"
    for kind in _limited(report):
        text += f", {kind.label} {report[kind.name]['ratio']:.1%}"
    if report["accuracy"] is not None:
        metric = metric_of(report)
        text += f", {metric.name} {metric.shown(report['accuracy']['slim'], 1)}"
    return text


def _limited(report: Mapping[str, Any]) -> list[CostKind]:
    """The costs with a budget; the first cost if there is no budget."""
    kinds = costs_in(report)
    limited = [kind for kind in kinds if report[kind.name].get("limit") is not None]
    return limited or kinds[:1]


def _duration(seconds: float) -> str:
    """Seconds as minutes and seconds, and hours if there are any.

    >>> _duration(75), _duration(3725)
    ('1:15', '1:02:05')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}:{minutes:02}:{rest:02}"
    return f"{minutes}:{rest:02}"
