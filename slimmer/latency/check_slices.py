"""Whether the files of networks at other widths can be sliced from the dense network's file."""

import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from slimmer.costs import Subject
from slimmer.errors import ExportError
from slimmer.exporting.error_text import one_line
from slimmer.exporting.onnx import export_onnx
from slimmer.exporting.parity import call_file, hold_call
from slimmer.latency.bench import Bench
from slimmer.latency.measure import images_of
from slimmer.latency.networks import NETWORKS

LONGEST = 90  # characters of a reason
TOLERANCE = 1e-3  # relative to an output's largest magnitude


def exporting_if_needed(bench: Bench, subject: Subject, widths: Sequence[int]) -> Bench:
    """The bench, which exports every network with torch.onnx if the file that is sliced to `widths`
    does not compute what the network at these widths does.

    A note says about how many seconds that takes. Raises ExportError.
    """
    why = why_not_sliced(bench, subject, widths)
    if why is None:
        return bench
    export = partial(_exported, subject, bench.shape)
    began = time.monotonic()
    with TemporaryDirectory(prefix="slimmer-latency-") as folder:
        export(widths, Path(folder) / "exported.onnx")
    seconds = time.monotonic() - began
    text = (
        f"the dense ONNX file can't be sliced to other widths ({why}), so torch.onnx exports every "
        f"network that is measured: about {NETWORKS * seconds:.0f} s for {NETWORKS}"
    )
    subject.observe({"event": "note", "text": text})
    return replace(bench, export=export)


def why_not_sliced(bench: Bench, subject: Subject, widths: Sequence[int]) -> str | None:
    """Why the file sliced to `widths` does not compute what the network does; None if it does.

    Slicing follows the parameters. But a file may have shapes with numbers of channels in them (a
    channel shuffle), and parameters that the exporter has transposed and renamed.
    """
    with TemporaryDirectory(prefix="slimmer-latency-") as folder:
        path = Path(folder) / "sliced.onnx"
        images = torch.from_numpy(images_of(bench.shape, 2))
        try:
            bench.dense.write(widths, path)
            hold_call(
                subject.with_widths(widths), path, (images,), call_file(path), tolerance=TOLERANCE
            )
        except ExportError as error:
            return shortened(error.found)
        except (IndexError, ValueError) as error:  # of slicing
            return shortened(one_line(error))
    return None


def shortened(reason: str) -> str:
    """The beginning of a reason.

    >>> shortened("a short reason"), len(shortened("x" * 400))
    ('a short reason', 90)
    """
    if len(reason) <= LONGEST:
        return reason
    return f"{reason[: LONGEST - 1]}…"


def _exported(subject: Subject, shape: Sequence[int], widths: Sequence[int], path: Path) -> None:
    """Write the file of the network at `widths`, exported by torch.onnx."""
    export_onnx(subject.with_widths(widths), path, tuple(shape), metadata={})
