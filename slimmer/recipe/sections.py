"""The sections of a recipe, frozen and strict; the method's is in method_options."""

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

from slimmer.recipe.runtimes import DEFAULT, OWN, known_runtime

Positive = Annotated[int, Field(ge=1)]
PROVIDERS = ("cpu", "cuda", "tensorrt", "openvino", "coreml", "directml")


class Section(BaseModel):
    """A part of a recipe: no unknown keys, no silent conversions, no changes, no infinite numbers."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    @classmethod
    def known_keys(cls) -> list[str]:
        """The keys that the section can have."""
        return list(cls.model_fields)


class ModelSection(Section):
    """The network: its checkpoint and architecture."""

    checkpoint: str | None = Field(None, description="weights: .pth, .pt, .th or .safetensors")
    entry: str | None = Field(
        None,
        description="which of several sets of weights in the checkpoint, such as 'model_ema' or 'encoder_q'",
    )
    arch: str | None = Field(None, description="found from the checkpoint where left out")
    scratch: bool = Field(
        False, description="begin with random weights of `arch`, without a checkpoint"
    )
    input_size: tuple[Positive, Positive, Positive] | None = Field(
        None, description="(channels, height, width) of one image"
    )
    keep: tuple[str, ...] = Field(
        (), description="patterns of layers that keep all they make, such as 'layer4.*'"
    )
    only: tuple[str, ...] = Field(
        (), description="patterns of layers; no others are pruned, such as 'backbone'"
    )
    trace: tuple[str, ...] = Field(
        (),
        description="modules that alone are traced and pruned, such as 'backbone', where the whole can't be traced",
    )
    equal_splits: bool = Field(
        False,
        description="parts that the code cuts alike (x.split(self.c, 1)) go alike, and the number follows",
    )
    rewrite: bool = Field(
        False,
        description="the slim network is its program: numbers in it follow, weights are plain",
    )


class DataSection(Section):
    """The images, and how the network wants to see them."""

    name: str | None = Field(
        None,
        description="digits, cifar10, folder, path/to/file.py:factory, or a name that an installed package adds",
    )
    path: str | None = Field(
        None, description="of the files; what they are is found where name is left out"
    )
    size: int | None = Field(None, gt=0, description="side of an image in pixels")
    mean: tuple[float, ...] | None = Field(None, description="per channel, in units of 0..1")
    std: tuple[float, ...] | None = Field(None, description="per channel, in units of 0..1")
    classes: tuple[str, ...] | None = Field(None, description="the order of the network's outputs")
    augment: str | None = Field(None, description="none, crop, flip or crop_flip")
    trust: bool = Field(
        False, description="go on although the dense network is near chance on these data"
    )


class ExportSection(Section):
    """How the networks are written, beside dense.onnx and slim.onnx in float32 for any batch."""

    opset: int | None = Field(None, description="18 or newer; PyTorch's own where left out")
    images: int = Field(64, ge=1, description="images on which a file is compared with PyTorch")
    batch: int | None = Field(
        None, ge=1, description="also the slim network for batches of exactly so many images"
    )
    dynamic_size: bool = Field(
        False, description="also the slim network for images of any height and width"
    )
    fp16: bool = Field(False, description="also the slim network with fp16 weights and compute")
    fp16_io: bool = Field(False, description="that file's inputs and outputs in fp16 too")
    int8: bool = Field(
        False, description="also the slim network in int8, calibrated on training images"
    )
    int8_images: int = Field(256, ge=1, description="training images that int8 is calibrated on")
    int8_drop: float = Field(
        0.01, ge=0, le=1, description="top-1 that int8 may lose against the slim network in fp32"
    )
    int8_symmetric: bool = Field(
        False,
        description="that file with all zero points 0 and biases in float32, as TensorRT wants it",
    )
    torch: bool = Field(
        False, description="also the slim network as a program for torch.export.load"
    )
    dense: bool = Field(
        False, description="the dense network too in the forms asked for, to compare like with like"
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.fp16_io and not self.fp16:
            raise ValueError(
                "fp16_io is about the inputs and outputs of the fp16 file; ask for fp16 (--fp16) too"
            )
        if self.int8_symmetric and not self.int8:
            raise ValueError("int8_symmetric is about the int8 file; ask for int8 (--int8) too")
        if self.dense and not (
            self.fp16 or self.int8 or self.torch or self.batch or self.dynamic_size
        ):
            raise ValueError(
                "dense is about forms beside dense.onnx; ask for one, such as fp16 (--fp16), too"
            )
        return self


class ProfileSection(Section):
    """How they are timed."""

    batches: tuple[int, ...] = Field((1, 64), description="batch sizes")
    runtimes: tuple[Annotated[str, AfterValidator(known_runtime)], ...] = Field(
        (DEFAULT,),
        min_length=1,
        description=f"{', '.join(OWN)}, or one that an installed package adds",
    )
    provider: str = Field(
        "cpu", description=f"{', '.join(PROVIDERS)}, or any by ONNX Runtime's own name for it"
    )
    threads: Positive | tuple[Positive, ...] | None = Field(
        None, description="of an operation, or several to try; one per core where left out"
    )
    runs: int = Field(5, ge=1, description="of each network in a block, at least")
    seconds: float = Field(1.0, ge=0, description="of each network in a block, at least, in turns")
    blocks: int = Field(11, ge=1, description="at least; the interval is over them")
    precision: float = Field(
        0.015,
        gt=0,
        description="blocks are added, up to four times as many, until intervals are within this share of the speed-up",
    )
    image_size: tuple[Positive, Positive] | None = Field(
        None,
        description="height and width to time files at that take any; the files' own where left out",
    )
    strict: bool = Field(False, description="nodes that fall back to the CPU are an error")
    cuda_graph: bool = Field(False, description="replay one captured CUDA graph")
    tf32: bool | None = Field(
        None, description="TF32 products on CUDA; ONNX Runtime's own (on) where left out"
    )
    conv_search: Literal["exhaustive", "heuristic", "default"] | None = Field(
        None, description="of cuDNN's algorithms: exhaustive, heuristic or default"
    )
    prefer_nhwc: bool | None = Field(
        None, description="convolutions in channels-last layout on CUDA"
    )

    @field_validator("provider")
    @classmethod
    def _known(cls, value: str, info: ValidationInfo) -> str:
        known = value in PROVIDERS or value.endswith("ExecutionProvider")
        if not known and set(info.data.get("runtimes", OWN)) <= set(
            OWN
        ):  # a package's runtime may have others
            raise ValueError(
                f"is {', '.join(PROVIDERS)}, or ONNX Runtime's own name, such as QNNExecutionProvider"
            )
        return value

    def thread_counts(self) -> tuple[int | None, ...]:
        """The numbers of threads to try; None is one per core."""
        return self.threads if isinstance(self.threads, tuple) else (self.threads,)
