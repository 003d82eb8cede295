"""The networks of one run as ONNX files in a setting, and their measurement on this machine."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from slimmer.exporting.fp16 import write_fp16
from slimmer.exporting.int8 import write_int8
from slimmer.latency.means import Means
from slimmer.latency.measure import (
    TELLABLE,
    Enough,
    Taken,
    careful_effort,
    dense_ms,
    images_of,
    never,
    patient_effort,
    time_files,
)
from slimmer.latency.measured_networks import Early, Tell, measured_networks
from slimmer.latency.sliced_file import DenseFile
from slimmer.latency.table import Described, NetworkRow
from slimmer.profiling.runtimes import Array
from slimmer.recipe.latency_section import TimingSection

CALIBRATED = 2  # images on which int8 ranges are set, which do not change a latency


Write = Callable[[Sequence[int], Path], None]
"""Writes the ONNX file of the network at some widths to a path."""


@dataclass(frozen=True, eq=False)
class Bench:
    """A network that can be measured at any widths in a setting."""

    dense: DenseFile
    shape: tuple[int, ...]  # of one image
    setting: TimingSection
    means: Means
    export: Write | None = None  # the writer of other widths, for a file that can't be sliced

    @property
    def images(self) -> Array:
        """The images of a run of the network."""
        return images_of(self.shape, self.setting.batch)

    @property
    def described(self) -> Described:
        """The network's channel groups, weights and image, as a table keeps them."""
        groups = [(group.name, group.size) for group in self.dense.graph.groups]
        return Described(groups=groups, layers=self.dense.layers, image=list(self.shape))

    def write(self, widths: Sequence[int], path: Path) -> None:
        """Write the ONNX file of the network at `widths`, in the setting's precision."""
        if self.setting.precision == "fp32":
            self._write_single(widths, path)
            return
        with TemporaryDirectory(prefix="slimmer-latency-") as folder:
            single = Path(folder) / path.name
            self._write_single(widths, single)
            if self.setting.precision == "fp16":
                write_fp16(single, path, metadata={}, half_io=False)
            else:
                few = images_of(self.shape, CALIBRATED)
                write_int8(single, path, [few], metadata={})

    def _write_single(self, widths: Sequence[int], path: Path) -> None:
        if self.export is None or list(widths) == self.dense.graph.widths:
            self.dense.write(widths, path)
        else:
            self.export(widths, path)

    def rows(
        self,
        widths: Sequence[Sequence[int]],
        tell: Tell = lambda _: None,
        early: Early = lambda _: None,
    ) -> list[NetworkRow]:
        """The quickly measured latencies of networks, the first of which is dense.

        `early` is called with the first two before the others are measured.
        """
        with TemporaryDirectory(prefix="slimmer-latency-") as folder:

            def source(number: int) -> Path:
                path = Path(folder) / f"network-{number}.onnx"
                if not path.exists():
                    self.write(widths[number], path)
                return path

            return measured_networks(
                *(widths, source, self.images, self.setting, self.means, tell),
                early=early,
                done=_remove,
            )

    def measure(self, widths: Sequence[int], enough: Enough = never) -> tuple[Taken, Taken]:
        """The latency of the dense network and of the one at `widths`, measured for a promise: once
        more and longer if other work disturbs it, unless `enough` is known of it.
        """
        with TemporaryDirectory(prefix="slimmer-latency-") as folder:
            files = [Path(folder) / "dense.onnx", Path(folder) / "slim.onnx"]
            self.write([group.size for group in self.dense.graph.groups], files[0])
            self.write(widths, files[1])
            usual = dense_ms(files[0], self.images, self.means)
            for effort in (careful_effort(usual), patient_effort(usual)):
                told = self.images, self.setting, self.means, effort, enough
                dense, slim = time_files(files, *told)
                if slim.reach <= TELLABLE or enough(slim):
                    break
        return dense, slim

    def machine(self) -> dict[str, Any]:
        """The description of this machine."""
        return dict(self.means.machine())


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)


Opened = Callable[[], Bench]
