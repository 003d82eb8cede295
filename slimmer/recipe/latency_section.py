"""The setting in which a latency budget is measured."""

from typing import Annotated, Literal

from pydantic import Field, field_validator

from slimmer.recipe.sections import PROVIDERS, Section

Positive = Annotated[int, Field(ge=1)]


class TimingSection(Section):
    """How the latency of a budget is measured: in ONNX Runtime, on this machine."""

    provider: str = Field(
        "cpu",
        description=f"execution provider: {', '.join(PROVIDERS)}, or ONNX Runtime's name for it",
    )
    threads: Positive | None = Field(
        None, description="number of intra-op threads; one per core by default"
    )
    batch: Positive = Field(1, description="batch size")
    precision: Literal["fp32", "fp16", "int8"] = Field(
        "fp32", description="precision of the ONNX file: fp32, fp16 or int8"
    )
    image_size: tuple[Positive, Positive] | None = Field(
        None, description="image height and width; those of the network by default"
    )
    table: str | None = Field(
        None,
        description="file of `slimmer latency measure`, with measurements of this network on the "
        "machine that counts; by default networks are measured on this machine",
    )

    @field_validator("provider")
    @classmethod
    def _known(cls, value: str) -> str:
        if value not in PROVIDERS and not value.endswith("ExecutionProvider"):
            raise ValueError(
                f"must be {', '.join(PROVIDERS)}, or ONNX Runtime's name of a provider, such as "
                "QNNExecutionProvider"
            )
        return value
