"""Masks in a network that somebody else trains: what slimmer.attach returns."""

from collections.abc import Mapping
from pathlib import Path
from tempfile import mkdtemp
from typing import Any
from weakref import finalize

import torch
from torch import Tensor, nn

from slimmer.api.arguments import path_or_none
from slimmer.api.make_runs import Result, removed
from slimmer.errors import TrainingError
from slimmer.methods import Taylor
from slimmer.pipeline.attached_run import AttachedJob, attached_run, trained_network
from slimmer.pipeline.run_context import remaining
from slimmer.pipeline.surroundings import undisturbed
from slimmer.pruning.live_masks import Hooks, LiveMasks
from slimmer.pruning.masks import hard_mask
from slimmer.pruning.plan import Plan  # noqa: TC001 - an attribute's type
from slimmer.training.optimizer_state import sliced_state_dict
from slimmer.training.processes import averaged, is_first


class Attached:
    """Masks in a network that you train yourself; `slimmer.attach` returns it.

    Attributes:
        steps: the number of calls of `step` over which the budget falls.
        done: the number of calls so far.
        plan: the channels that are kept; None before the last step.
    """

    def __init__(
        self, model: nn.Module, attached: AttachedJob, steps: int, interval: int, memory: float
    ) -> None:
        job = attached.job
        device = next(model.parameters()).device
        start = torch.zeros(job.graph.units, dtype=torch.float64)
        self.steps, self.done = steps, 0
        self.plan: Plan | None = None
        self._model, self._attached, self._ended = model, attached, False
        self._of = {
            **attached.described(),
            "number of steps": str(steps),
            "interval or memory": f"{interval} {memory}",
        }
        self._method = Taylor(start, attached.project, steps, interval=interval, memory=memory)
        self._masks = LiveMasks(job.graph, device)
        self._hooks = Hooks(model, self._masks)
        self._parameters = dict(model.named_parameters())

    def __repr__(self) -> str:
        shares = [f"{name} {share:.3f} of dense" for name, share in self.remaining.items()]
        return f"Attached(step {self.done} of {self.steps}, {', '.join(shares)})"

    @property
    def left(self) -> int:
        """The number of steps that are left."""
        return self.steps - self.done

    @property
    def remaining(self) -> dict[str, float]:
        """The share of each cost that the masks leave, relative to dense."""
        return remaining(self._attached.job, self._masks.mask > 0)

    @property
    def _scores(self) -> Tensor:
        """The running scores (units,)."""
        return self._method.state["scores"]

    def step(self) -> None:
        """Learn from the gradients since the last call, and move the masks toward the budgets.

        Call it after each step of the optimizer. The last call sets the exact mask of `plan`.
        Raises TrainingError after the last step, after `finish`, if no loss was computed under the
        masks, or if parameters of the network were replaced.
        """
        self._check_running("step()")
        if not self.left:
            found = f"was called more often than the {self.steps} steps of slimmer.attach"
            right = "call it only while `pruned.left` is above 0, or attach with more steps"
            raise TrainingError("step()", found, right)
        self._check_parameters()
        gradient = self._masks.take_gradient()
        if gradient is None:
            found = "no gradient has reached the masks since the last step"
            right = (
                "call loss.backward() first, on a loss of outputs of the attached network itself; "
                "compile or copy the network after attaching"
            )
            raise TrainingError(f"step {self.done + 1}", found, right)
        gradient = averaged(gradient, next(self._model.parameters()).device)
        if bool(gradient.isfinite().all()):  # GradScaler skips such a step too
            self._method.add_(gradient)
        mask = self._method.mask_at(self.done)
        self.done += 1
        if not self.left:
            self.plan = self._attached.plan(self._scores)
            mask = hard_mask(self.plan)
        if mask is not None:
            self._masks.set_(mask)

    def finish(
        self, trained: nn.Module | None = None, *, out: str | Path | None = None, now: bool = False
    ) -> Result:
        """Remove the masked channels and return the slim network with its plan, as `slimmer.prune`.

        The attached network is left without masks, dense as it was trained. To train the slim
        network further, see `optimizer_state` and `slimmer.finish`.

        Args:
            trained: where to take the weights from, such as a moving average of the network.
                Default: the network itself.
            out: the run directory, new or empty. Without it, files are deleted with the result.
            now: remove at once what is above the budgets, before the last step.

        Raises:
            SlimmerError: steps are left, the weights are not those of the network, or they are not
                finite. The masks then stay.
        """
        self._check_running("finish()")
        self._check_parameters()
        if self.left and not now:
            gap = self._attached.gap(self.remaining)
            found = f"{self.left} of {self.steps} steps are left, and {gap}"
            right = "take the steps, or finish(now=True) to remove the other channels at once"
            raise TrainingError("finish()", found, right)
        with undisturbed():
            job = self._attached.job
            plan = self.plan or self._attached.plan(self._scores)
            network = trained_network(job.given, self._model if trained is None else trained)
            told = {
                "method": "taylor",
                "fine_tuned_outside": f"a training loop under masks, {self.done} steps",
            }
            place = path_or_none(out) if is_first() else None
            scratch = Path(mkdtemp(prefix="slimmer-")) if place is None else None
            try:
                made = place or Path(str(scratch), "run")
                slim, report = attached_run(self._attached, plan, network, made, told)
            except BaseException:
                removed(scratch)
                raise
        report = {**report, "run": place and str(place)}
        result = Result(slim, plan, report, place, made, job.given)
        finalize(result, removed, scratch)
        self._hooks.remove()
        self.plan, self._ended = plan, True
        return result

    def optimizer_state(self, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
        """The state of the attached network's optimizer for the channels that are kept, for
        `load_state_dict` of an optimizer of the slim network with the same parameter groups.

        Raises TrainingError before the plan is known.
        """
        if self.plan is None:
            found = f"the channels are not chosen yet, {self.left} of {self.steps} steps are left"
            raise TrainingError("optimizer_state()", found, "call it after the last step")
        return sliced_state_dict(optimizer, self._parameters, self.plan)

    def state_dict(self) -> dict[str, Any]:
        """The state for your own checkpoint, beside the network's and the optimizer's state."""
        gradient = self._masks.take_gradient()
        self._masks.give_gradient(gradient)
        return {
            "format": 1,
            "done": self.done,
            "scores": self._scores.clone(),
            "mask": self._masks.mask,
            "gradient": None if gradient is None else gradient.clone(),
            "of": self._of,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state that `state_dict` returned.

        Attach to the network with the weights that it had when it was attached first, then load
        its trained weights and this state. Raises TrainingError if the state is of another network
        or of other settings.
        """
        self._check_running("load_state_dict()")
        known = state.get("of") if isinstance(state, Mapping) else None
        if not isinstance(known, Mapping) or state.get("format") != 1:
            right = "give what state_dict() of an attached network returned"
            raise TrainingError("load_state_dict()", "is not a state of slimmer.attach", right)
        other = [name for name, value in self._of.items() if known.get(name) != value]
        if other:
            found = f"the state is of another {', another '.join(other)}"
            right = (
                "attach to the network as it was before training, with the same settings, and load "
                "the trained weights afterwards"
            )
            raise TrainingError("load_state_dict()", found, right)
        self.done = int(state["done"])
        self._scores.copy_(state["scores"])
        self._masks.set_(state["mask"])
        self._masks.give_gradient(state["gradient"])
        self.plan = None
        if not self.left:
            self.plan = self._attached.plan(self._scores)

    def _check_running(self, call: str) -> None:
        if self._ended:
            right = "attach to a network again to prune it further"
            raise TrainingError(call, "was called after finish(), which removed the masks", right)

    def _check_parameters(self) -> None:
        """Raise TrainingError if the network's parameters are not those that were attached."""
        now = dict(self._model.named_parameters())
        changed = [name for name, each in self._parameters.items() if now.get(name) is not each]
        changed += [name for name in now if name not in self._parameters]
        if changed:
            found = f"was replaced or removed, or is new, after slimmer.attach: {changed[0]}"
            right = (
                "attach when the network is complete; load weights into it with load_state_dict, "
                "without assign=True"
            )
            raise TrainingError("a parameter", found, right)
