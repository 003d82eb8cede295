"""Sections of a recipe: model, export and profile."""

from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from slimmer.recipe.runtimes import BUILT_IN, DEFAULT, known_runtime

Positive = Annotated[int, Field(ge=1)]
PROVIDERS = ("cpu", "cuda", "tensorrt", "openvino", "coreml", "directml")


class Section(BaseModel):
    """A section of a recipe: frozen; unknown keys, other types and infinite numbers are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    @classmethod
    def known_keys(cls) -> list[str]:
        """The keys of the section."""
        return list(cls.model_fields)


class ModelSection(Section):
    """The network: its checkpoint and architecture."""

    checkpoint: str | None = Field(
        None, description="weights file: .pth, .pt, .th, .ckpt or .safetensors"
    )
    entry: str | None = Field(
        None,
        description="set of weights to read if the checkpoint has several, such as 'model_ema'",
    )
    arch: str | None = Field(None, description="architecture; detected from the weights by default")
    scratch: bool = Field(
        False, description="start from random weights of `arch` instead of a checkpoint"
    )
    input_size: tuple[Positive, Positive, Positive] | None = Field(
        None, description="channels, height and width of one image"
    )
    keep: tuple[str, ...] = Field(
        (),
        description="layers whose outputs are not pruned, by name or pattern, such as 'layer4.*'",
    )
    only: tuple[str, ...] = Field(
        (), description="layers to prune, by name or pattern, such as 'backbone'; all by default"
    )
    trace: tuple[str, ...] = Field(
        (),
        description="modules to trace and prune, such as 'backbone', if the whole network can't "
        "be traced",
    )
    equal_splits: bool = Field(
        False,
        description="where the code splits channels into equal parts, as x.split(self.c, 1) does, "
        "prune all parts equally and update the number",
    )
    rewrite: bool = Field(
        False,
        description="save the slim network as its traced program: channel counts in the code are "
        "updated, computed weights become parameters",
    )


class ExportSection(Section):
    """Files to export in addition to dense.onnx and slim.onnx in float32."""

    opset: int | None = Field(
        None, description="ONNX opset, 18 or newer; chosen by torch.onnx by default"
    )
    images: int = Field(
        64, ge=1, description="number of images on which a file is compared with PyTorch"
    )
    batch: int | None = Field(
        None, ge=1, description="also export the slim network with this fixed batch size"
    )
    dynamic_size: bool = Field(
        False, description="also export the slim network with dynamic image height and width"
    )
    fp16: bool = Field(
        False, description="also export the slim network with fp16 weights and compute"
    )
    fp16_io: bool = Field(False, description="make inputs and outputs of the fp16 file fp16")
    int8: bool = Field(
        False, description="also export the slim network in int8, calibrated on training images"
    )
    int8_images: int = Field(256, ge=1, description="number of calibration images")
    int8_drop: float = Field(
        0.01,
        ge=0,
        le=1,
        description="largest accepted loss of the main metric from float32 to int8: absolute for a "
        "share such as top-1, otherwise relative",
    )
    int8_symmetric: bool = Field(
        False,
        description="make all zero points 0 and keep biases in float32, as TensorRT needs them",
    )
    torch: bool = Field(
        False, description="also export the slim network as slim.pt2, for torch.export.load"
    )
    dense: bool = Field(False, description="also export the dense network in these forms")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.fp16_io and not self.fp16:
            raise ValueError("fp16_io applies to the fp16 file; set fp16 (--fp16) too")
        if self.int8_symmetric and not self.int8:
            raise ValueError("int8_symmetric applies to the int8 file; set int8 (--int8) too")
        forms = (self.fp16, self.int8, self.torch, self.batch, self.dynamic_size)
        if self.dense and not any(forms):
            raise ValueError(
                "dense applies to forms other than dense.onnx; set one, such as fp16 (--fp16), too"
            )
        return self


class ProfileSection(Section):
    """How networks are timed."""

    batches: tuple[int, ...] = Field((1, 64), description="batch sizes")
    runtimes: tuple[Annotated[str, AfterValidator(known_runtime)], ...] = Field(
        (DEFAULT,),
        min_length=1,
        description=f"{', '.join(BUILT_IN)}, or a runtime that an installed package adds",
    )
    provider: str = Field(
        "cpu",
        description=f"execution provider: {', '.join(PROVIDERS)}, or ONNX Runtime's name for it",
    )
    threads: Positive | tuple[Positive, ...] | None = Field(
        None, description="intra-op threads, one number or several; one per core by default"
    )
    runs: int = Field(5, ge=1, description="minimum runs of each network per block")
    seconds: float = Field(1.0, ge=0, description="minimum seconds of each network per block")
    blocks: int = Field(
        11, ge=1, description="minimum number of blocks; the networks take turns in each"
    )
    precision: float = Field(
        0.015,
        gt=0,
        description="measure, in up to four times as many blocks, until the 95 % interval of the "
        "speedup is within +/- this fraction of it; 1 turns this off",
    )
    image_size: tuple[Positive, Positive] | None = Field(
        None,
        description="image height and width, for files with dynamic sizes; the file's default if "
        "left out",
    )
    strict: bool = Field(False, description="fail if nodes fall back to the CPU provider")
    cuda_graph: bool = Field(False, description="capture a CUDA graph and replay it")
    tf32: bool | None = Field(
        None, description="TF32 matrix products on CUDA; by default as ONNX Runtime has it (on)"
    )
    conv_search: Literal["exhaustive", "heuristic", "default"] | None = Field(
        None,
        description="how cuDNN chooses convolution algorithms: exhaustive, heuristic or default",
    )
    prefer_nhwc: bool | None = Field(None, description="channels-last convolutions on CUDA")

    @field_validator("provider")
    @classmethod
    def _known(cls, value: str, info: ValidationInfo) -> str:
        known = value in PROVIDERS or value.endswith("ExecutionProvider")
        own_runtimes = set(info.data.get("runtimes", BUILT_IN)) <= set(BUILT_IN)
        if not known and own_runtimes:  # a runtime of another package may have other providers
            raise ValueError(
                f"must be {', '.join(PROVIDERS)}, or ONNX Runtime's name of a provider, such as "
                "QNNExecutionProvider"
            )
        return value

    def thread_counts(self) -> tuple[int | None, ...]:
        """The numbers of intra-op threads to measure with; None means one per core."""
        if isinstance(self.threads, tuple):
            return self.threads
        return (self.threads,)
