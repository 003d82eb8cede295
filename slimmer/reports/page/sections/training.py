"""Training: accuracy and loss over time."""

from collections.abc import Mapping
from typing import Any

from slimmer.reports.figures.series import over_epochs, removal, running_mean
from slimmer.reports.page.charts.chart import Chart
from slimmer.reports.page.charts.lines import Axis, Line, Rule, line_chart
from slimmer.reports.page.metric import axis, shown
from slimmer.reports.page.run_files import RunFiles
from slimmer.reports.page.section import Section

EPOCHS = "epoch"


def view(files: RunFiles) -> Mapping[str, Any] | None:
    """The charts; None for a run without training."""
    charts = [chart for chart in (accuracy(files), loss(files)) if chart is not None]
    return {"charts": charts} if charts else None


def epochs_axis(files: RunFiles) -> Axis:
    """The axis of time: from 0 to the end of the run."""
    return Axis(EPOCHS, _three_digits, "{:g}".format, (0.0, files.report["epochs"]))


def _three_digits(value: float) -> str:
    return f"{value:.3g}"


def removal_rule(files: RunFiles) -> list[Rule]:
    """A line where the channels were removed, unless that was before the first step."""
    epoch = removal(files.events)
    return [Rule("channels removed", epoch, "event", vertical=True)] if epoch else []


def accuracy(files: RunFiles) -> Chart | None:
    """The test accuracy from channel removal to the end, next to that of the dense network."""
    found = over_epochs(files.events, ("removed", "epoch"), "accuracy")
    values, metric = files.report["accuracy"], files.metric
    if values is None or len(found.epochs) < 2:
        return None
    dense = values["dense"]
    says = (
        f"{metric.name} is {shown(metric, found.values[0])} after the channels are removed and "
        f"{shown(metric, values['slim'])} at the end; the dense network has {shown(metric, dense)}."
    )
    return line_chart(
        f"{metric.name} on the test data",
        says,
        (epochs_axis(files), axis(metric)),
        [Line("slim", found.epochs, found.values)],
        [Rule(f"dense {shown(metric, dense)}", dense, "dense"), *removal_rule(files)],
    )


def loss(files: RunFiles) -> Chart | None:
    """The training loss, smoothed if there are many values."""
    found = over_epochs(files.events, ("step",), "loss")
    if len(found.epochs) < 2:
        return None
    reach = len(found.values) // 60
    values = running_mean(found.values, reach) if reach else found.values
    label = "loss, running mean" if reach else "loss"
    says = f"The training loss goes from {values[0]:.3g} to {values[-1]:.3g}."
    return line_chart(
        "Training loss",
        says,
        (epochs_axis(files), Axis("loss", _three_digits, "{:g}".format, (0.0,))),
        [Line(label, found.epochs, values)],
        removal_rule(files),
    )


SECTION = Section("training", "Training", view)
