"""The data section of a recipe."""

from typing import Any

from pydantic import Field

from slimmer.recipe.sections import Section


class DataSection(Section):
    """The data set, and how images are prepared for the network."""

    name: str | None = Field(
        None,
        description="digits, cifar10, cifar100, folder, webdataset, huggingface, "
        "path/to/file.py:function, or the name of a source that an installed package adds",
    )
    path: str | None = Field(
        None, description="path of the files; without `name`, their kind is detected"
    )
    size: int | None = Field(None, gt=0, description="height and width of images in pixels")
    mean: tuple[float, ...] | None = Field(None, description="mean of each channel, in 0..1")
    std: tuple[float, ...] | None = Field(
        None, description="standard deviation of each channel, in 0..1"
    )
    classes: tuple[str, ...] | None = Field(
        None, description="class names, in the order of the network's outputs"
    )
    augment: str | None = Field(None, description="augmentation: none, crop, flip or crop_flip")
    transforms: tuple[str | dict[str, Any], ...] = Field(
        (),
        description="further augmentation by names of torchvision.transforms.v2, applied after the "
        "crop: [{RandAugment: {num_ops: 2}}, RandomErasing]",
    )
    views: int | None = Field(
        None,
        ge=1,
        description="number of random views (crops, flips) of each training image: after so many "
        "epochs they repeat, and the dense network's answers to them are remembered; by default, "
        "every epoch has new views",
    )
    labels: str | None = Field(
        None,
        description="file with the labels of a flat folder of test images, as ImageNet's val/; "
        "searched for next to it by default",
    )
    workers: int | None = Field(
        None,
        ge=0,
        description="threads that read image files, one per core by default; for a Dataset, "
        "worker processes, none by default",
    )
    skip_broken: bool = Field(
        False,
        description="read every image file once at the start, and leave out those that can't be "
        "decoded; by default, such a file stops the run when it is read",
    )
    exif_rotation: bool = Field(
        False, description="apply the rotation in EXIF data, which torchvision ignores"
    )
    trust: bool = Field(
        False, description="continue even if the dense network is close to chance on these data"
    )
