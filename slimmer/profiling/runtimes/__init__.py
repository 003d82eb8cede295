"""Whatever runs a network, behind one small protocol."""

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
        """The provider that is really active, as the runtime calls it."""

    @property
    def settings(self) -> Mapping[str, str]:
        """All that was set, or left at its default, and can change a timing."""

    def run(self, x: Array) -> Array:
        """The logits (N, classes) of images (N, C, H, W), float32."""

    def prepare(self, x: Array) -> Callable[[], None]:
        """A call that runs the network once on `x`, which already lies where the provider reads it.

        It returns when the outputs are computed; they stay on the device. Copies are left out.
        """

    def copies(self, x: Array) -> Mapping[str, Callable[[], None]]:
        """The copies that `prepare` leaves out, "to_device" and "to_host", each as a call; none on
        the CPU.
        """

    def close(self) -> None:
        """Let go of the network and its memory; the session can't be used any more."""
