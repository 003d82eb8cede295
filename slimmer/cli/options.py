"""What several commands share: options, the recipe keys that they set, and showing a result."""

# ruff: noqa: PLC0415 - a command imports what it needs, so that --help does not wait for torch

import json
from pathlib import Path
from typing import Any

import click

from slimmer.cli.headings import OTHER, options_under

BUDGET = (
    "Maximum {what} after pruning: a ratio of the dense network (0.5), a percentage (50%) or "
    "a number ({example})."
)
REWRITE = (
    "Save the slim network as its traced program: channel counts in the code are updated, "
    "computed weights become parameters."
)
REPEATABLE = "Repeatable."

network = options_under("Network")
output = options_under("Output")


def numbers(
    ctx: click.Context, param: click.Parameter, value: str | None
) -> tuple[int, ...] | None:
    """The positive integers of a comma-separated list. Raise a usage error for anything else."""
    if value is None:
        return None
    found = []
    for part in value.split(","):
        if not part.strip().isdecimal() or int(part) == 0:
            raise click.BadParameter(
                f"{value!r} is not a comma-separated list of positive integers", ctx, param
            )
        found.append(int(part))
    return tuple(found)


def words(
    _ctx: click.Context, _param: click.Parameter, value: str | None
) -> tuple[str, ...] | None:
    """The names of a comma-separated list."""
    return None if value is None else tuple(part.strip() for part in value.split(","))


def words_or_none(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[str, ...]:
    """The names of a comma-separated list; empty if the option is not given."""
    return words(ctx, param, value) or ()


arch = network(
    "--arch",
    metavar="ARCH",
    help="NAME, torchvision/NAME, timm/NAME or FILE.py:FUNC.  [default: detected from the weights]",
)
keep = network(
    "--keep",
    multiple=True,
    metavar="LAYERS",
    help="Do not prune the outputs of these layers: the name of a layer or module, or a pattern "
    f"such as 'layer4.*'. {REPEATABLE}",
)
only = network(
    "--only",
    multiple=True,
    metavar="LAYERS",
    help=f"Prune only these layers, specified as for --keep. {REPEATABLE}",
)
trace = network(
    "--trace",
    callback=words_or_none,
    metavar="NAME,NAME",
    help="Trace and prune only these modules, with the inputs that they get in one call of the "
    "network; all other code stays as it is.",
)
equal_splits = network(
    "--equal-splits",
    is_flag=True,
    default=None,
    help="Where the code splits channels into equal parts, as x.split(self.c, 1) does, prune all "
    "parts equally.",
)
trust_code = options_under(OTHER)(
    "--trust-code",
    is_flag=True,
    help="Run Python code (FILE.py:FUNC) that is named in the given file or run, not on the "
    "command line.",
)
LATENCY = "Latency: how it is measured"
_latency = options_under(LATENCY)
_TIMING = (
    _latency(
        "--latency-on",
        metavar="PROVIDER",
        help="cpu, cuda, tensorrt, openvino, coreml, directml, or ONNX Runtime's name of a "
        "provider.  [default: cpu]",
    ),
    _latency(
        "--threads",
        type=click.IntRange(min=1),
        metavar="N",
        help="Intra-op threads.  [default: one per core]",
    ),
    _latency("--batch", type=click.IntRange(min=1), metavar="N", help="Batch size.  [default: 1]"),
    _latency(
        "--precision",
        type=click.Choice(["fp32", "fp16", "int8"]),
        help="Precision of the file.  [default: fp32]",
    ),
    _latency(
        "--image-size",
        callback=numbers,
        metavar="H,W",
        help="Image height and width.  [default: those of the network]",
    ),
    _latency(
        "--latency-table",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="Measurements from the machine that counts, by `slimmer latency measure`.",
    ),
)
as_json = output("--json", "as_json", is_flag=True, help="Print the result as JSON.")


def timing(command: Any) -> Any:
    """A command with the options of the setting in which a latency is measured."""
    for option in reversed(_TIMING):
        command = option(command)
    return command


def section_of(options: dict[str, Any]) -> Any:
    """The setting of --latency, without its options in `options`; None without --latency."""
    from slimmer.recipe import read_recipe

    keys = {
        "latency_on": "provider",
        "threads": "threads",
        "batch": "batch",
        "precision": "precision",
        "image_size": "image_size",
        "latency_table": "table",
    }
    given = {key: options.pop(name) for name, key in keys.items()}
    given = {key: value for key, value in given.items() if value is not None}
    if "table" in given:
        given["table"] = _absolute(str(given["table"]))
    if options.pop("latency"):
        pairs = [(f"budget.timing.{key}", value) for key, value in given.items()]
        return read_recipe(None, pairs).budget.timing
    if given:
        raise click.UsageError("these options say how --latency is measured; give it too")
    return None


def budgets(
    ctx: click.Context, param: click.Parameter, texts: tuple[str, ...]
) -> tuple[tuple[str, str], ...]:
    """The name and amount of each NAME=AMOUNT. Raise a usage error for anything else."""
    pairs = []
    for text in texts:
        name, _, amount = (part.strip() for part in text.partition("="))
        if not name or not amount:
            raise click.BadParameter(f"{text!r} is not NAME=AMOUNT, such as params=0.6", ctx, param)
        pairs.append((name, amount))
    return tuple(pairs)


def given(
    data: str | None,
    settings: tuple[str, ...],
    budget: tuple[tuple[str, Any], ...] = (),
    **short: Any,
) -> list[tuple[str, Any]]:
    """The recipe keys that the command line sets, with their values."""
    from slimmer.recipe import SHORT, data_at, parse_setting
    from slimmer.recipe.costs import budgets_on
    from slimmer.runs.trust import is_code

    pairs: list[tuple[str, Any]] = []
    for option, value in short.items():
        if value in (None, ()):
            continue
        key = SHORT.get(option, option)
        named = key in {"model.checkpoint", "budget.timing.table"}
        if named or (key == "task.name" and is_code(value)):
            pairs.append((key, _absolute(str(value))))
        elif isinstance(value, tuple):
            pairs.append((key, list(value)))
        else:
            pairs.append((key, value))
    pairs += budgets_on(budget)
    if data is not None:
        pairs += data_at(place_of(data))
    return [*pairs, *map(parse_setting, settings)]


def place_of(data: str) -> str:
    """The value of --data: a name as it is, a path as an absolute path."""
    from slimmer.data.sources import named_alone

    return data if data in named_alone() else _absolute(data)


def _absolute(path: str) -> str:
    """The absolute path: a recipe is also read from other working directories."""
    return str(Path(path).absolute())


def show_result(found: Any, show: str, *, as_json: bool) -> None:
    """Print the result on stdout, as JSON or with the function `show` of `cli.tables`."""
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    from slimmer.cli import tables

    getattr(tables, show)(found)
