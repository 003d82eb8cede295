"""Methods that train masks or scales: the options of each in the method section of a recipe, and
its entry.
"""

from dataclasses import dataclass
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field

from slimmer.recipe.method_options import (
    Allocation,
    Compensate,
    MethodOptions,
    Priced,
    Share,
    Weight,
)
from slimmer.registry import Function


def _trained(share: float) -> float:
    """The share itself. Raises ValueError if it is 0: the masks would not be trained."""
    if share == 0:
        raise ValueError(
            "the masks would not be trained; set a share above 0, or choose another method.name"
        )
    return share


class Masks(MethodOptions):
    """Masks or scales that are trained for part of the epochs; then channels are removed."""

    sparsify: Annotated[Share, AfterValidator(_trained)] = Field(
        0.5, description="fraction of the epochs under masks, before channels are removed"
    )
    priced: Priced = False
    compensate: Compensate = False

    def allocation(self) -> Allocation:
        """The options of these names."""
        return Allocation(self.priced)

    def share_under_masks(self) -> float:
        """The option `sparsify`."""
        return self.sparsify


class Settling(Masks):
    """Masks or scales that settle at zero; the method is a `slimmer.methods.Settling`."""

    settle: float | None = Field(
        None,
        gt=0,
        description="epochs between removals of channels whose masks have settled at zero, while "
        "training under masks goes on; off by default",
    )

    def settle_epochs(self) -> float | None:
        """The option `settle`."""
        return self.settle

    def check(self, epochs: float, budgets: int) -> None:
        """Raise ValueError if training under masks ends before a mask can have settled."""
        del budgets
        under_masks = self.sparsify * epochs
        if self.settle is not None and 2 * self.settle >= under_masks > 0:
            raise ValueError(
                f"method.settle is {self.settle:g} epochs, and a mask has settled after two of "
                f"them, but only {under_masks:g} epochs are under masks; lower it, or raise "
                "finetune.epochs"
            )


class MaskConvNet(Settling):
    """Trainable masks, driven to the budgets by multipliers that follow the gap."""

    name: Literal["maskconvnet"]
    lambda_m: tuple[Weight, ...] = Field(
        (3.0,),
        description="weight of the mean of the masks: one value, or one per budget, FLOPs first",
    )
    lambda_v: tuple[Weight, ...] = Field(
        (4.0,), description="weight of the variance of the masks, likewise"
    )
    warmup: float = Field(0.0, ge=0, description="warm-up epochs without the mask loss")
    mask_decay: float = Field(
        5e-4, ge=0, description="weight decay of the mask variables; pulls masks to 0.5"
    )
    mask_lr: float = Field(0.1, gt=0, description="learning rate of the mask variables")
    mask_start: float = Field(
        0.49, ge=0, le=0.5, description="initial mask variable; 0 is a mask of 0.5"
    )
    controller: Literal["proportional", "dual"] = Field(
        "proportional",
        description="multipliers are the gap to the target (proportional), or its sum since the "
        "target was last met (dual ascent)",
    )
    forward: Literal["soft", "hard"] = Field(
        "soft",
        description="masks in the forward pass: as they are, or rounded with the gradient of soft "
        "masks",
    )
    pull: Literal["even", "cost"] = Field(
        "even", description="weights of the masks in their mean: equal, or by cost"
    )

    def check(self, epochs: float, budgets: int) -> None:
        """Raise ValueError also if multipliers don't match the budgets or the warm-up is too
        long.
        """
        super().check(epochs, budgets)
        for key, values in (("lambda_m", self.lambda_m), ("lambda_v", self.lambda_v)):
            if budgets and len(values) not in (1, budgets):
                raise ValueError(
                    f"method.{key} is {list(values)}, but the number of budgets is {budgets}; give "
                    "one value, or one per budget"
                )
        under_masks = self.sparsify * epochs
        if self.warmup >= under_masks > 0:
            raise ValueError(
                f"method.warmup is {self.warmup:g} epochs, but only {under_masks:g} are under "
                "masks, so the masks never move; shorten the warm-up, or raise finetune.epochs"
            )


class NetworkSlimming(Settling):
    """Network Slimming (Liu et al. 2017): batch-norm scales under an L1 penalty."""

    name: Literal["network_slimming"]
    strength: float = Field(
        1e-4, ge=0, description="weight of the L1 penalty (lambda in the paper)"
    )
    scale_start: float | None = Field(
        None, gt=0, description="initial batch-norm scale; the checkpoint's by default"
    )
    ratio: Share | None = Field(
        None, description="share of channels to remove, instead of a budget, as in the paper"
    )

    def check(self, epochs: float, budgets: int) -> None:
        """Raise ValueError also if `ratio` leaves no budget up to which channels can be removed."""
        super().check(epochs, budgets)
        if self.settle is not None and self.ratio is not None:
            raise ValueError(
                "method.settle removes channels as far as a budget asks for it, but method.ratio "
                "replaces the budget; leave out one of them"
            )

    def own_cut(self) -> str | None:
        """`ratio`, if given."""
        if self.ratio is None:
            return None
        return "ratio"


class Bar(Settling):
    """BAR (Lemaire et al. 2019): hard-concrete gates under a budget barrier."""

    name: Literal["bar"]
    strength: float = Field(1e-5, ge=0, description="weight of the barrier (lambda in the paper)")
    steepness: float = Field(
        10.0, gt=0, description="steepness of the sigmoid along which the budget falls"
    )
    gate_start: float = Field(
        0.0, description="initial log alpha of the gates; 0 is a gate of 0.5, 2.4 an open gate"
    )
    mask_lr: float = Field(0.5, gt=0, description="learning rate of log alpha")


@dataclass(frozen=True)
class TrainedMethod:
    """A method that trains masks or scales for some steps; their final values are the scores.

    Attributes:
        name: its name in `method.name`.
        build: takes a `slimmer.methods.MethodSetup` and returns a `slimmer.methods.Method`.
        options: the class of its method section in a recipe. If the optimizer trains the masks, the
            options `mask_lr` and `mask_decay` are their learning rate and weight decay.
        cut: as for a criterion, with the final scores.
    """

    name: str
    build: Function
    options: type[MethodOptions]
    cut: Function | None = None


BUILT_IN_METHODS: Final = (
    TrainedMethod("maskconvnet", "slimmer.methods.maskconvnet:build", MaskConvNet),
    TrainedMethod(
        "network_slimming",
        "slimmer.methods.network_slimming:build",
        NetworkSlimming,
        cut="slimmer.methods.network_slimming:cut",
    ),
    TrainedMethod("bar", "slimmer.methods.bar:build", Bar),
)
