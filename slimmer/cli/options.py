"""What several commands have in common: options, what they set in a recipe, and how a result is
shown.
"""

# ruff: noqa: PLC0415 - what a command needs is imported inside it, so that --help need not wait for torch

import json
from pathlib import Path
from typing import Any

import click

BUDGET = "What may REMAIN of the {what}: a ratio (0.5), a percentage (50%) or a number ({example})."
REWRITE = "The slim network is its traced program: numbers of channels in the code follow, computed weights are plain."
ARCH = "NAME, torchvision/NAME, timm/NAME or FILE.py:FUNC; by default found from the checkpoint"


def numbers(
    ctx: click.Context, param: click.Parameter, value: str | None
) -> tuple[int, ...] | None:
    """Whole numbers above zero with commas between them; a usage error where they are none."""
    parts = [] if value is None else value.split(",")
    if not all(part.strip().isdecimal() and int(part) > 0 for part in parts):
        raise click.BadParameter(
            f"{value!r} is not whole numbers above zero, with commas between them", ctx, param
        )
    return None if value is None else tuple(int(part) for part in parts)


def words(
    _ctx: click.Context, _param: click.Parameter, value: str | None
) -> tuple[str, ...] | None:
    """Names with commas between them."""
    return None if value is None else tuple(part.strip() for part in value.split(","))


LAYERS = "a layer, a module that holds some, or a pattern such as 'layer4.*'. May be given again."
keep = click.option(
    "--keep", multiple=True, metavar="LAYERS", help=f"Leave what these layers make whole: {LAYERS}"
)
only = click.option(
    "--only",
    multiple=True,
    metavar="LAYERS",
    help="Prune no layers but these, named in the same way.",
)
trace = click.option(
    "--trace",
    callback=lambda *given: words(*given) or (),
    metavar="NAME,NAME",
    help="Trace and prune these modules alone, with what they get in one call; all else stays the Python that it is.",
)
equal_splits = click.option(
    "--equal-splits",
    is_flag=True,
    default=None,
    help="Parts that the code cuts alike, as x.split(self.c, 1) does, lose channels alike.",
)
trust_code = click.option(
    "--trust-code",
    is_flag=True,
    help="Run code (FILE.py:FUNC) that the file or run names, which you have not named.",
)
as_json = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")


def budgets(
    ctx: click.Context, param: click.Parameter, texts: tuple[str, ...]
) -> tuple[tuple[str, str], ...]:
    """NAME=AMOUNT each, as pairs; a usage error where one is something else."""
    pairs = [tuple(part.strip() for part in text.partition("=")[::2]) for text in texts]
    wrong = [text for text, pair in zip(texts, pairs, strict=True) if not all(pair)]
    if wrong:
        raise click.BadParameter(f"{wrong[0]!r} is not NAME=AMOUNT, such as params=0.6", ctx, param)
    return tuple((name, amount) for name, amount in pairs)


def given(
    data: str | None,
    settings: tuple[str, ...],
    budget: tuple[tuple[str, Any], ...] = (),
    **short: Any,
) -> list[tuple[str, Any]]:
    """What the command line sets, by its names in a recipe."""
    from slimmer.recipe import SHORT, data_at, parse_setting
    from slimmer.recipe.costs import budgets_on

    said = {SHORT.get(key, key): value for key, value in short.items() if value not in (None, ())}
    if "model.checkpoint" in said:
        said["model.checkpoint"] = _absolute(said["model.checkpoint"])
    pairs = [
        (key, list(value) if isinstance(value, tuple) else value) for key, value in said.items()
    ]
    pairs += budgets_on(budget)
    if data is not None:
        pairs += data_at(place_of(data))
    return [*pairs, *map(parse_setting, settings)]


def place_of(data: str) -> str:
    """What --data names, so that it means the same from everywhere."""
    from slimmer.data.sources import named_alone

    return data if data in named_alone() else str(_absolute(data))


def _absolute(path: str | None) -> str | None:
    """A path that means the same from everywhere, since a run's recipe keeps it."""
    return path and str(Path(path).absolute())


def show_result(found: Any, show: str, *, as_json: bool) -> None:
    """The result on stdout, as JSON or by the table's function of that name."""
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    from slimmer.cli import tables

    getattr(tables, show)(found)
