"""Runtimes that execute a network, behind one small protocol."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]


class Session(Protocol):
    """A network, loaded and ready to run on one provider."""

    @property
    def name(self) -> str:
        """The runtime's name."""

    @property
    def provider(self) -> str:
        """The active provider, by the runtime's own name."""

    @property
    def settings(self) -> Mapping[str, str]:
        """Every setting that can change a timing, whether set or at its default."""

    def run(self, x: Array) -> Array:
        """The logits (N, classes) of images (N, C, H, W), float32."""

    def prepare(self, x: Array) -> Callable[[], None]:
        """A call that runs the network once on `x`, which is already on the provider's device.

        It returns once the outputs are computed; they stay on the device. Copies are not part of
        it.
        """

    def copies(self, x: Array) -> Mapping[str, Callable[[], None]]:
        """The copies that `prepare` leaves out, "to_device" and "to_host", as calls; none on the
        CPU.
        """

    def close(self) -> None:
        """Release the network and its memory; the session can't be used afterwards."""
