"""The finetune section of a recipe."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from slimmer.recipe.optimizers import (
    OF_THE_SECTION,
    OPTIMIZERS,
    SGD,
    known_optimizer,
    with_defaults,
)
from slimmer.recipe.sections import Section


class FinetuneSection(Section):
    """How the network is trained while and after it slims."""

    epochs: float = Field(
        3.0, ge=0, description="all of them, under masks and slim; 0 prunes in one shot"
    )
    batch_size: int = Field(128, ge=1, description="images of a step, over all processes")
    optimizer: str = Field(SGD, description=f"by its name in torch.optim: {', '.join(OPTIMIZERS)}")
    optimizer_options: dict[str, Any] = Field(
        {}, description="options of its class in torch.optim, such as {betas: [0.9, 0.95]}"
    )
    lr: float = Field(
        0.02,
        gt=0,
        description="highest learning rate; it falls to 0 along a cosine, or by `drops`; "
        "torch.optim's own where left out and the optimizer is not sgd",
    )
    drops: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = Field(
        (),
        description="shares of the run at which the learning rate falls tenfold, in place of the cosine",
    )
    momentum: float = Field(
        0.9,
        ge=0,
        lt=1,
        description="of sgd, by Nesterov; others take theirs from `optimizer_options`",
    )
    weight_decay: float = Field(
        1e-4,
        ge=0,
        description="of weights; biases and norms have none; torch.optim's own where left out and "
        "the optimizer is not sgd",
    )
    warmup: float = Field(
        0.03, ge=0, le=1, description="share of the steps over which the learning rate rises"
    )
    distill: float = Field(
        0.9, ge=0, le=1, description="weight of the dense network's outputs in the loss"
    )
    temperature: float = Field(
        4.0, gt=0, description="by which outputs are softened before they are compared"
    )
    recalibrate: int = Field(
        40, ge=0, description="batches from which batch norm takes its statistics anew"
    )
    precision: Literal["auto", "32-true", "bf16-mixed", "16-mixed"] = Field(
        "auto", description="auto: bf16-mixed on a GPU that has it, else 32-true"
    )
    sync_batch_norm: bool = Field(
        False,
        description="batch norm's statistics are those of all processes' images; on GPUs only",
    )
    save_every: float = Field(30.0, gt=0, description="seconds between two states to resume from")

    @model_validator(mode="before")
    @classmethod
    def _default_rates(cls, value: Any) -> Any:
        return with_defaults(value) if isinstance(value, Mapping) else value

    @field_validator("optimizer")
    @classmethod
    def _known(cls, value: str) -> str:
        return known_optimizer(value)

    @model_validator(mode="after")
    def _options_apart(self) -> Self:
        own = OF_THE_SECTION if self.optimizer != SGD else (*OF_THE_SECTION, "momentum")
        twice = sorted(set(self.optimizer_options) & set(own))
        if twice:
            raise ValueError(
                f"optimizer_options holds {twice[0]}; write finetune.{twice[0]} for it"
            )
        if self.optimizer != SGD and self.momentum != type(self).model_fields["momentum"].default:
            raise ValueError(
                f"finetune.momentum is that of sgd, and the optimizer is {self.optimizer}; "
                "see finetune.optimizer_options"
            )
        return self
