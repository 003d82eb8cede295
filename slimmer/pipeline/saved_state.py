"""The saved training state: the tensors and the step from which a killed run resumes."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from lightning_fabric import Fabric
from torch import Tensor

from slimmer.errors import CheckpointError, RunError
from slimmer.models.checkpoint import read_metadata, read_weights, save_weights
from slimmer.runs.directory import Run
from slimmer.runs.schemas import StateNotes, check
from slimmer.training.learner import Learner

DELETE = (
    "delete it and resume; "
    "training since the run started, or since its channels were removed, is repeated"
)


@dataclass(frozen=True)
class Stand:
    """The state of a run: the stage, the step, the tensors at that step, and the hash of the plan
    that they belong to.
    """

    stage: str = "masks"
    step: int = 0
    tensors: dict[str, Tensor] = field(default_factory=dict)
    plan_hash: str = ""


class SavedState:
    """The state file of a run; a class because it remembers when it was last written.

    The file contains a hash that identifies its run.
    """

    def __init__(self, fabric: Fabric, run: Run, every: float) -> None:
        self._fabric, self._run, self._path, self._every = fabric, run, run.state, every
        self._run_hash = ""
        self._last = time.monotonic()

    def load(self, steps: int) -> Stand:
        """The last state of a run with `steps` steps; the initial state if there is none. Must be
        called before anything is written.

        Raises RunError for a file that is damaged or belongs to another run.
        """
        self._run_hash = self._run.fingerprint()
        if not self._path.exists() and not self._path.is_symlink():
            return Stand()
        where = str(self._path)
        try:
            notes = check(StateNotes, read_metadata(self._path), where, DELETE)
            tensors = read_weights(self._path)
        except CheckpointError as error:
            raise RunError(where, error.found, DELETE) from error
        if notes.run_hash != self._run_hash:
            raise RunError(where, "is the state of another run", DELETE)
        if notes.step > steps:
            raise RunError(where, f"is at step {notes.step} of {steps}", DELETE)
        return Stand(notes.stage, notes.step, tensors, notes.plan_hash)

    def maybe(
        self, stage: str, learner: Learner, method: Mapping[str, Tensor], plan_hash: str = ""
    ) -> None:
        """Write the state if the last one is older than the recipe's `save_every`."""
        if time.monotonic() - self._last >= self._every:
            self.write(stage, learner, method, plan_hash)

    def write(
        self, stage: str, learner: Learner, method: Mapping[str, Tensor], plan_hash: str = ""
    ) -> None:
        """Write the state atomically; only the first process writes."""
        if self._fabric.global_rank == 0:
            tensors = learner.state() | {
                f"method.{name}": tensor for name, tensor in method.items()
            }
            notes = {
                "stage": stage,
                "step": str(learner.step),
                "run_hash": self._run_hash,
                "plan_hash": plan_hash,
            }
            save_weights(self._path, tensors, notes)
        self._last = time.monotonic()
