"""The schemas of what stands in the metadata of weight files: texts that say numbers."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, JsonValue

from slimmer.atomic_files import parse_json
from slimmer.runs.schemas.base import Filed, ImageSize

MOST_ELEMENTS = 1 << 28  # of one image: 1 GiB of float32
MOST_CLASSES = 10_000_000
_DIGITS = 18


def _number(text: Any) -> int:
    """The number that a text says in plain digits."""
    if not isinstance(text, str) or not text.isascii() or not text.isdigit() or len(text) > _DIGITS:
        raise ValueError(f"{str(text)[:40]!r} is no whole number of 0 or more")
    return int(text)


def _sides(text: Any) -> JsonValue:
    """The list that a text says in JSON, of no more elements in all than fit."""
    found = parse_json(text) if isinstance(text, str) else text
    if not isinstance(found, list) or any(type(side) is not int or side < 1 for side in found):
        raise ValueError("is no list of whole numbers above 0")
    elements = 1
    for side in found:
        elements *= side
        if elements > MOST_ELEMENTS:
            raise ValueError(f"an image of more than {MOST_ELEMENTS:,} numbers")
    return [*found]


class NetworkNotes(Filed):
    """The metadata of dense.safetensors and slim.safetensors; `plan` is that of a slim network, as
    in plan.json.
    """

    arch: Annotated[str, Field(max_length=4096)]
    num_classes: Annotated[int, BeforeValidator(_number), Field(le=MOST_CLASSES)]
    input_size: Annotated[ImageSize, BeforeValidator(_sides)]
    plan: str | None = None


class StateNotes(Filed):
    """The metadata of state.safetensors: how far training is, of which run, and under which plan
    (none: not yet).
    """

    stage: Literal["masks", "slim"]
    step: Annotated[int, BeforeValidator(_number)]
    run_hash: str
    plan_hash: str
