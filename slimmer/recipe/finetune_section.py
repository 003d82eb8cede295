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
    """How the network is trained, under masks and after pruning."""

    epochs: float = Field(
        3.0, ge=0, description="training epochs, including those under masks; 0 prunes in one shot"
    )
    batch_size: int = Field(128, ge=1, description="images per batch, over all processes")
    optimizer: str = Field(SGD, description=f"one of {', '.join(OPTIMIZERS)}")
    optimizer_options: dict[str, Any] = Field(
        {}, description="arguments of its torch.optim class, such as {betas: [0.9, 0.95]}"
    )
    lr: float = Field(
        0.02,
        gt=0,
        description="peak learning rate, with cosine decay to 0 or the steps of `drops`; for "
        "optimizers other than sgd, the default is that of torch.optim",
    )
    drops: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = Field(
        (),
        description="fractions of training after which the learning rate is divided by 10, "
        "instead of cosine decay",
    )
    momentum: float = Field(
        0.9,
        ge=0,
        lt=1,
        description="Nesterov momentum of sgd; for other optimizers see `optimizer_options`",
    )
    weight_decay: float = Field(
        1e-4,
        ge=0,
        description="weight decay, not applied to biases and normalisation layers; for optimizers "
        "other than sgd, the default is that of torch.optim",
    )
    warmup: float = Field(
        0.03, ge=0, le=1, description="fraction of the steps used for learning-rate warm-up"
    )
    distill: float = Field(
        0.9,
        ge=0,
        le=1,
        description="weight of the knowledge-distillation loss; the teacher is the dense network",
    )
    temperature: float | None = Field(
        None,
        gt=0,
        description="temperature of knowledge distillation, such as 4; by default none: the loss "
        "is the mean squared difference of the scores (logits)",
    )
    clip: float | None = Field(
        None,
        gt=0,
        description="largest norm of the gradients of all weights together; larger gradients are "
        "scaled down",
    )
    accumulate: int = Field(
        1, ge=1, description="batches per optimizer step, whose gradients are averaged"
    )
    ema: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="decay of the moving average of the slim network's weights and batch-norm "
        "statistics, such as 0.999; the average is evaluated and saved; 0 turns it off",
    )
    recalibrate: int = Field(
        40,
        ge=0,
        description="number of batches used to recompute batch-norm statistics after pruning",
    )
    precision: Literal["auto", "32-true", "bf16-mixed", "16-mixed"] = Field(
        "auto",
        description="training precision; auto is bf16-mixed on GPUs that support it, else 32-true",
    )
    compile: bool = Field(
        False, description="train with torch.compile, which needs a C++ compiler on the CPU"
    )
    sync_batch_norm: bool = Field(
        False,
        description="compute batch-norm statistics over all processes; GPUs only",
    )
    save_every: float = Field(
        30.0, gt=0, description="seconds between two saved states to resume from"
    )

    @model_validator(mode="before")
    @classmethod
    def _default_rates(cls, value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        return with_defaults(value)

    @field_validator("optimizer")
    @classmethod
    def _known(cls, value: str) -> str:
        return known_optimizer(value)

    @model_validator(mode="after")
    def _options_apart(self) -> Self:
        own = set(OF_THE_SECTION)
        if self.optimizer == SGD:
            own.add("momentum")
        twice = sorted(set(self.optimizer_options) & own)
        if twice:
            raise ValueError(
                f"optimizer_options contains {twice[0]}; use finetune.{twice[0]} instead"
            )
        if self.optimizer != SGD and self.momentum != type(self).model_fields["momentum"].default:
            raise ValueError(
                f"finetune.momentum applies to sgd, but the optimizer is {self.optimizer}; "
                "use finetune.optimizer_options"
            )
        return self
