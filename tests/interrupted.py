"""Runs that are stopped in the middle of training."""

from contextlib import suppress

from slimmer.pipeline.stages import start
from slimmer.runs.directory import Run


class Stopped(BaseException):
    """What ends a run in the middle of training."""


def stopped_at(recipe, folder, step):
    """A run that was stopped after a training step."""

    def stop(event):
        if event["event"] == "step" and event["step"] == step:
            raise Stopped

    with suppress(Stopped):
        start(recipe, folder, stop, latest=False)
    return Run(folder)
