"""The task section of a recipe."""

from typing import Any

from pydantic import Field

from slimmer.recipe.sections import Section


class TaskSection(Section):
    """What the network is trained for and how it is measured."""

    name: str | None = Field(
        None,
        description="classification (the default with data), multilabel, regression, segmentation, "
        "path/to/file.py:function, or the name of a task that an installed package adds",
    )
    options: dict[str, Any] = Field(
        {}, description="options of a ready-made task, such as {label_smoothing: 0.1}"
    )
