"""The image sizes and batch sizes that ONNX files are timed with."""

from collections.abc import Sequence
from pathlib import Path

from slimmer.atomic_files import read_json
from slimmer.errors import ExportError
from slimmer.exporting.onnx import read_batch, read_input_size
from slimmer.runs.directory import Run
from slimmer.runs.events import Observe


def input_size(
    path: Path, wanted: tuple[int, int] | None, observe: Observe
) -> tuple[int, int, int]:
    """The (channels, height, width) of one image for a file: the file's own size, or `wanted`
    (height, width) if the file takes any size.

    Without either, it is the size that the file's run was made for, if the run lists the file.
    """
    channels, *own = read_input_size(path)
    height, width = wanted or own
    known = _size_in_its_run(path) if height is None or width is None else None
    if known is not None and known[0] == channels:
        height, width = height or known[1], width or known[2]
        used = f"timed at {height}x{width}, the size of its run"
        text = f"{path} takes images of {_sides(own)}; {used} (--image-size changes it)"
        observe({"event": "note", "text": text})
    if height is None or width is None:
        found = f"takes images of {_sides(own)}, and no size is given"
        right = "give the height and width, for example --image-size 224,224"
        raise ExportError(str(path), found, right)
    for fixed, size in zip(own, (height, width), strict=True):
        if fixed not in (None, size):
            found = f"takes images of {_sides(own)}, but {height}x{width} was requested"
            right = "time files for any size: `slimmer export --dynamic-size --dense`"
            raise ExportError(str(path), found, right)
    return channels, height, width


def _size_in_its_run(path: Path) -> tuple[int, int, int] | None:
    """The (channels, height, width) in the export.json next to a file, if it lists the file; else
    None.
    """
    try:
        networks = read_json(path.with_name(Run(path.parent).exported.name))["networks"].values()
        if path.name not in [Path(each["file"]).name for each in networks]:
            return None
        listed = [str(each["image_size"]).split("x") for each in networks]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):  # missing or damaged
        return None
    sizes = set()
    for sides in listed:
        if len(sides) == 3 and all(map(str.isdecimal, sides)):
            sizes.add(tuple(map(int, sides)))
    match list(sizes):
        case [(channels, height, width)]:
            return channels, height, width
    return None


def check_batches(path: Path, batches: Sequence[int]) -> None:
    """Raise ExportError if the file at `path` has a fixed batch size that `batches` differ from."""
    fixed = read_batch(path)
    wrong = [batch for batch in batches if batch != fixed]
    if fixed is not None and wrong:
        wanted = " and ".join(map(str, batches))
        found = f"takes only batches of {fixed}, but {wanted} was requested"
        right = (
            f"time it with --batch {fixed}, "
            "or time files for any batch, which `slimmer export` writes"
        )
        raise ExportError(str(path), found, right)


def _sides(sides: Sequence[int | None]) -> str:
    """Sides as text; None is a side of any size.

    >>> _sides([224, None])
    '224xany'
    """
    return "x".join(map(str, sides)).replace("None", "any")
