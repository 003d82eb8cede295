"""The saved training state: the tensors and the step from which a killed run resumes."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from lightning_fabric import Fabric
from torch import Tensor

from slimmer.errors import CheckpointError, RunError, first_line
from slimmer.models.checkpoint import read_metadata, read_weights, save_weights
from slimmer.runs.directory import Run
from slimmer.runs.schemas import StateNotes, check
from slimmer.training.devices import precision_state, restore_precision_
from slimmer.training.learner import Learner, below

DELETE = (
    "delete it and resume; "
    "training since the run started, or since its channels were removed, is repeated"
)

SCALING = "scaling."  # before the names of the tensors that scale gradients in fp16


@dataclass(frozen=True)
class Stand:
    """The state of a run: the stage, the step, the tensors at that step, and the hash of the plan
    that they belong to.
    """

    stage: str = "masks"
    step: int = 0
    tensors: dict[str, Tensor] = field(default_factory=dict)
    plan_hash: str = ""


@contextmanager
def fitting(run: Run) -> Iterator[None]:
    """A block that restores a state; raises RunError if the state does not fit the run's
    network.
    """
    try:
        yield
    except (KeyError, RuntimeError, TypeError, ValueError) as error:
        found = f"does not fit the run's network ({first_line(error)})"
        raise RunError(str(run.state), found, DELETE) from error


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
        with fitting(self._run):
            restore_precision_(self._fabric, below(SCALING, tensors))
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
            tensors = learner.state()
            tensors |= {f"method.{name}": tensor for name, tensor in method.items()}
            scaling = precision_state(self._fabric)
            tensors |= {f"{SCALING}{name}": tensor for name, tensor in scaling.items()}
            notes = {
                "stage": stage,
                "step": str(learner.step),
                "run_hash": self._run_hash,
                "plan_hash": plan_hash,
            }
            save_weights(self._path, tensors, notes)
        self._last = time.monotonic()
