"""The method section of a recipe: every method with the options that it has, and no others."""

from dataclasses import dataclass
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from slimmer.recipe.sections import Section

Share = Annotated[float, Field(ge=0, le=1)]
Weight = Annotated[float, Field(ge=0)]
Priced = Annotated[bool, Field(description="weigh scores by what a channel costs")]
Compensate = Annotated[
    bool, Field(description="hand what removed channels said to those that stay (least squares)")
]
Even = Annotated[
    Share, Field(description="no group keeps less than this share of what an even cut leaves it")
]
Stream = Annotated[
    Share,
    Field(
        description="share of their width that residual streams keep, less where budgets need it"
    ),
]


def _learnt(share: float) -> float:
    """The share itself. Raises ValueError where nothing would be learnt."""
    if share == 0:
        raise ValueError(
            "nothing would be learnt; give a share above 0, or take another method.name"
        )
    return share


@dataclass(frozen=True)
class Allocation:
    """How scores become widths: see the options of these names."""

    priced: bool = False
    even: float = 0.0
    stream: float = 0.0


class MethodOptions(Section):
    """What every method section has, and what a run asks of it whatever its kind."""

    name: str
    compensate: Compensate = False

    def allocation(self) -> Allocation:
        """How scores become widths."""
        return Allocation()

    def share_under_masks(self) -> float:
        """The share of the epochs that the network is trained under masks."""
        return 0.0

    def sensitivity_batches(self) -> int:
        """Batches to measure each group's sensitivity on; 0: it is not measured."""
        return 0

    def own_cut(self) -> str | None:
        """The option that says what goes, in place of a budget; None where a budget does."""
        return None

    def check(self, epochs: float, budgets: int) -> None:
        """Raise ValueError where an option does not go with the number of epochs or budgets."""


class OneShot(MethodOptions):
    """Scores, taken once, and how they become widths."""

    priced: Priced = True
    even: Even = 0.0
    stream: Stream = 0.0
    compensate: Compensate = True

    def allocation(self) -> Allocation:
        """As the options say."""
        return Allocation(self.priced, self.even, self.stream)


class Measured(OneShot):
    """Scores that can be compared between channel groups by a measured loss."""

    sensitivity: int = Field(
        0,
        ge=0,
        description="batches on which it is measured what cutting each group alone does to the answers, to compare "
        "groups; not under masks, whose scores run on",
    )

    def sensitivity_batches(self) -> int:
        """As the option says."""
        return self.sensitivity


class Taylor(Measured):
    """slimmer's own: scores by squared gradients, cut at once, or held on a falling budget while it
    trains.
    """

    name: Literal["auto", "taylor"] = Field(
        "auto", description="auto: taylor where data is given, else magnitude"
    )
    even: Even = 0.5
    stream: Stream = 1.0
    sparsify: Share = Field(0.0, description="share of the epochs under masks before channels go")
    batches: int = Field(64, ge=1, description="batches that the first scores are taken from")
    order: Literal["taylor", "magnitude"] = Field(
        "magnitude",
        description="what says which channels of a group go first, while scores say how many: the scores too, or the "
        "norm of all weights that touch a channel; not under masks, whose scores run on",
    )

    def share_under_masks(self) -> float:
        """As `sparsify` says."""
        return self.sparsify


class Magnitude(MethodOptions):
    """Ranks of weights within each group, so that every group is cut alike; needs no data."""

    name: Literal["magnitude"]
    compensate: bool = Field(
        True, description="hand what removed channels said to those that stay, where data is given"
    )


class L1(Measured):
    """L1 filter pruning (Li et al. 2016): filters' sums of magnitudes, compared within a layer or
    over all.
    """

    name: Literal["l1"]
    priced: bool = Field(
        False,
        description="weigh scores by what a channel costs; helps with sensitivity, harms without",
    )
    compensate: Compensate = False
    ratios: dict[str, Share] | None = Field(
        None,
        description="share removed by layer pattern, in place of a budget, as published: {'layer1.*': 0.1}",
    )

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if self.sensitivity and self.ratios is not None:
            raise ValueError(
                "method.ratios says what every layer loses, method.sensitivity finds it; give one of them"
            )
        return self

    def own_cut(self) -> str | None:
        """`ratios` where they are given."""
        return None if self.ratios is None else "ratios"


class Masks(MethodOptions):
    """Masks or scales that are trained for a while, then cut to the budget."""

    sparsify: Annotated[Share, AfterValidator(_learnt)] = Field(
        0.5, description="share of the epochs under masks before channels go"
    )
    priced: Priced = False
    compensate: Compensate = False

    def allocation(self) -> Allocation:
        """As the options say."""
        return Allocation(self.priced)

    def share_under_masks(self) -> float:
        """As `sparsify` says."""
        return self.sparsify


class MaskConvNet(Masks):
    """Trainable masks pulled toward the budgets by multipliers that follow the gap."""

    name: Literal["maskconvnet"]
    lambda_m: tuple[Weight, ...] = Field(
        (3.0,), description="weight of the masks' mean: one value, or one a budget, FLOPs first"
    )
    lambda_v: tuple[Weight, ...] = Field((4.0,), description="weight of their variance, likewise")
    warmup: float = Field(0.0, ge=0, description="epochs without the mask term")
    mask_decay: float = Field(5e-4, ge=0, description="pulls variables to 0, masks to one half")
    mask_lr: float = Field(0.1, gt=0, description="learning rate of the mask variables")
    mask_start: float = Field(
        0.49, ge=0, le=0.5, description="first variable; 0 is a mask of one half"
    )
    controller: Literal["proportional", "dual"] = Field(
        "proportional",
        description="multipliers are the gap, or its sum since the target was last met (dual ascent)",
    )
    forward: Literal["soft", "hard"] = Field(
        "soft", description="masks as they are, or rounded with a soft gradient"
    )
    pull: Literal["even", "cost"] = Field(
        "even", description="the mean weighs masks alike, or by what they cost"
    )

    def check(self, epochs: float, budgets: int) -> None:
        """Raise ValueError where multipliers don't go with the budgets, or the warm-up with the
        epochs.
        """
        for key, values in (("lambda_m", self.lambda_m), ("lambda_v", self.lambda_v)):
            if budgets and len(values) not in (1, budgets):
                found = f"method.{key} of {list(values)} for {budgets} budget{'s' * (budgets > 1)}"
                raise ValueError(f"{found}; give one value, or one for each budget")
        under_masks = self.sparsify * epochs
        if self.warmup >= under_masks > 0:
            found = f"method.warmup of {self.warmup:g} epochs, of {under_masks:g} under masks"
            raise ValueError(
                f"{found}: the masks never move; warm up for less, or raise finetune.epochs"
            )


class NetworkSlimming(Masks):
    """Batch-norm scales under an L1 penalty (Liu et al. 2017)."""

    name: Literal["network_slimming"]
    strength: float = Field(
        1e-4, ge=0, description="the paper's lambda: weight of the scales' magnitudes"
    )
    scale_start: float | None = Field(
        None, gt=0, description="first batch-norm scale; the checkpoint's where left out"
    )
    ratio: Share | None = Field(
        None, description="share of channels removed, in place of a budget, as published"
    )

    def own_cut(self) -> str | None:
        """`ratio` where it is given."""
        return None if self.ratio is None else "ratio"


class Bar(Masks):
    """Hard-concrete gates under a budget barrier (Lemaire et al. 2019)."""

    name: Literal["bar"]
    strength: float = Field(1e-5, ge=0, description="the paper's lambda: weight of the barrier")
    steepness: float = Field(10.0, gt=0, description="of the sigmoid along which the budget falls")
    gate_start: float = Field(
        0.0, description="first ln alpha; 0 is a gate of one half, 2.4 one that is open"
    )
    mask_lr: float = Field(0.5, gt=0, description="learning rate of the gates' log alpha")
