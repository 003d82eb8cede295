"""Where training stands: the tensors and the step that a killed run goes on from."""

import time
from collections.abc import Mapping
from pathlib import Path

from lightning_fabric import Fabric
from torch import Tensor

from slimmer.checkpoint import read_metadata, read_weights, save_weights
from slimmer.errors import CheckpointError
from slimmer.finetune import Learner


class SavedState:
    """The state file of a run; a class because it remembers when it last wrote."""

    def __init__(self, fabric: Fabric, path: Path, every: float) -> None:
        self._fabric, self._path, self._every = fabric, path, every
        self._last = time.monotonic()

    def load(self) -> tuple[str, int, dict[str, Tensor]]:
        """The stage, step and tensors of the last state; "masks", 0 and nothing where there is none."""
        if not self._path.is_file():
            return "masks", 0, {}
        metadata = read_metadata(self._path)
        if not {"stage", "step"} <= set(metadata):
            raise CheckpointError(str(self._path), "is no state of a run", "delete it to start the run anew")
        return metadata["stage"], int(metadata["step"]), read_weights(self._path)

    def maybe(self, stage: str, learner: Learner, method: Mapping[str, Tensor]) -> None:
        """Write the state where the last one is older than the recipe allows."""
        if time.monotonic() - self._last >= self._every:
            self.write(stage, learner, method)

    def write(self, stage: str, learner: Learner, method: Mapping[str, Tensor]) -> None:
        """Write the state, whole or not at all, from the first process."""
        if self._fabric.global_rank == 0:
            tensors = learner.state() | {f"method.{name}": tensor for name, tensor in method.items()}
            save_weights(self._path, tensors, {"stage": stage, "step": str(learner.step)})
        self._last = time.monotonic()
