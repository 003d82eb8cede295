"""The schemas of the metadata of weight files, where numbers are stored as text."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, JsonValue

from slimmer.atomic_files import parse_json
from slimmer.runs.schemas.base import Filed, ImageSize

MOST_ELEMENTS = 1 << 28  # numbers of one image: 1 GiB of float32
MOST_CLASSES = 10_000_000
_DIGITS = 18


def _number(text: Any) -> int:
    """The number that a text of plain digits stands for."""
    if not isinstance(text, str) or not text.isascii() or not text.isdigit() or len(text) > _DIGITS:
        raise ValueError(f"{str(text)[:40]!r} is not a whole number of 0 or more")
    return int(text)


def _sides(text: Any) -> JsonValue:
    """The sizes of an image from JSON text. Raises ValueError if it has too many elements in
    all.
    """
    found = parse_json(text) if isinstance(text, str) else text
    if not isinstance(found, list) or any(type(side) is not int or side < 1 for side in found):
        raise ValueError("is not a list of whole numbers above 0")
    elements = 1
    for side in found:
        elements *= side
        if elements > MOST_ELEMENTS:
            raise ValueError(f"is an image of more than {MOST_ELEMENTS:,} numbers")
    return [*found]


class NetworkNotes(Filed):
    """The metadata of dense.safetensors and slim.safetensors; `plan` is the slim network's plan, as
    in plan.json.
    """

    arch: Annotated[str, Field(max_length=4096)]
    num_classes: Annotated[int, BeforeValidator(_number), Field(le=MOST_CLASSES)]
    input_size: Annotated[ImageSize, BeforeValidator(_sides)]
    plan: str | None = None


class StateNotes(Filed):
    """The metadata of state.safetensors: how far training has come, in which run, and under which
    plan (empty before there is a plan).
    """

    stage: Literal["masks", "slim"]
    step: Annotated[int, BeforeValidator(_number)]
    run_hash: str
    plan_hash: str
