"""Tiny networks, one per pattern in which channels are coupled.

Each class docstring is the pattern's drawing and the expected channel graph; `expected` reads the
latter as data, so that the tests compare what a reader sees. Under `Groups:` a line is

    NAME SIZE: tensor[dim] tensor[dim]=POSITIONS ...

where POSITIONS lists, unit by unit (commas), the entries of that axis which go with the unit: `3`,
a run `0-3`, or single ones `0+4`; without it unit u is entry u. Under `Fixed:` a line is

    LAYER CHANNELS/OF: the beginning of the reason

Under `Rewritten:` are the groups of `--rewrite` where they are others, and under `Held:` what stays
then, beside the outputs. The networks of `counted` have these alone: without it their groups are
found by running them.

A line of code that fixes channels ends in the comment `# fixes`. A new pattern is a class in the
file of its kind.
"""

import inspect
import random
import re
from dataclasses import dataclass
from functools import cache

import torch
from torch import nn

from slimmer.graph import ChannelGraph, build_graph
from slimmer.models import build
from slimmer.pruning.plan import Plan, make_plan
from slimmer.pruning.rewrite import Program, read_program
from zoo import (
    attention,
    calls,
    chains,
    concatenation,
    contraction,
    counted,
    depthwise,
    gates,
    normalisation,
    resampling,
    residual,
    splitting,
    unknown,
    weights,
)

SIZE = (3, 6, 6)
KINDS = (
    chains,
    calls,
    residual,
    concatenation,
    contraction,
    splitting,
    depthwise,
    normalisation,
    gates,
    attention,
    resampling,
    weights,
    unknown,
)


def _documented(module: object, heading: str = "Groups:") -> list[type[nn.Module]]:
    """The classes of a module whose docstring promises a channel graph under that heading, in their
    order.
    """
    classes = (
        each
        for each in vars(module).values()
        if isinstance(each, type) and issubclass(each, nn.Module)
    )
    return [
        each
        for each in classes
        if each.__module__ == module.__name__ and heading in (each.__doc__ or "")
    ]


PATTERNS: dict[str, type[nn.Module]] = {
    each.__name__: each for kind in KINDS for each in _documented(kind)
}
REWRITTEN: dict[str, type[nn.Module]] = {
    each.__name__: each for kind in (*KINDS, counted) for each in _documented(kind, "Rewritten:")
}
ARCHITECTURES = {
    "cifar_resnet20": (3, 32, 32),
    "cifar_resnet20_b": (3, 32, 32),
    "cifar_preresnet11": (3, 32, 32),
    "cifar_wrn10_1": (3, 32, 32),
    "cifar_vgg16_bn": (3, 32, 32),
    "resnet18": (3, 64, 64),
    "resnet50": (3, 64, 64),
}


@dataclass(frozen=True)
class Expected:
    """What a docstring says: name -> (size, {tensor[dim]: positions of each unit}); layer ->
    (channels, of, reason).
    """

    groups: dict[str, tuple[int, dict[str, tuple[tuple[int, ...], ...]]]]
    fixed: dict[str, tuple[int, int, str]]


def expected(name: str) -> Expected:
    """The channel graph that a pattern's docstring promises."""
    return _read(PATTERNS[name], "Groups", "Fixed")


def expected_rewritten(name: str) -> Expected:
    """The channel graph that a pattern's docstring promises of its rewritten program; fixed beside
    the outputs.
    """
    return _read(REWRITTEN[name], "Rewritten", "Held")


def _read(kind: type[nn.Module], groups_heading: str, fixed_heading: str) -> Expected:
    parts = re.split(
        r"^(Groups|Fixed|Rewritten|Held):\n", inspect.cleandoc(kind.__doc__), flags=re.MULTILINE
    )
    lists = dict(zip(parts[1::2], parts[2::2], strict=True))
    groups = {}
    for line in re.sub(r"\n {8}", " ", lists[groups_heading]).splitlines():
        head, _, members = line.strip().partition(": ")
        group, size = head.split()
        slices = (member.partition("=") for member in members.split())
        groups[group] = (
            int(size),
            {axis: _positions(written, int(size)) for axis, _, written in slices},
        )
    fixed = {}
    for line in lists.get(fixed_heading, "").splitlines():
        head, _, reason = line.strip().partition(": ")
        layer, counts = head.split()
        channels, of = counts.split("/")
        fixed[layer] = (int(channels), int(of), reason)
    return Expected(groups, fixed)


def _positions(written: str, size: int) -> tuple[tuple[int, ...], ...]:
    if not written:
        return tuple((unit,) for unit in range(size))
    units = []
    for unit in written.split(","):
        first, _, last = unit.partition("-")
        units.append(
            tuple(range(int(first), int(last) + 1)) if last else tuple(map(int, unit.split("+")))
        )
    return tuple(units)


def fixing_lines(name: str) -> set[int]:
    """The lines of its file that a pattern, or a module of the zoo's in it, marks with `#
    fixes`.
    """
    found = set()
    for kind in {
        type(module)
        for module in PATTERNS[name]().modules()
        if type(module).__module__.startswith("zoo")
    }:
        lines, start = inspect.getsourcelines(kind)
        found |= {
            start + number for number, line in enumerate(lines) if line.rstrip().endswith("# fixes")
        }
    return found


def size_of(name: str) -> tuple[int, ...]:
    """The input size of a pattern or architecture."""
    return (
        ARCHITECTURES[name] if name in ARCHITECTURES else getattr(PATTERNS.get(name), "SIZE", SIZE)
    )


def make(name: str, dtype: torch.dtype = torch.float64) -> nn.Module:
    """A pattern or architecture in eval mode; its numbers are random, the norms' shifts and
    statistics too.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = build(name) if name in ARCHITECTURES else {**PATTERNS, **REWRITTEN}[name]()
        for tensor_name, tensor in model.state_dict().items():
            if tensor.is_floating_point() and tensor.dim() < 4:
                low = (
                    0.5 if tensor_name.endswith("running_var") else -0.2
                )  # so that few channels die in a ReLU
                tensor.uniform_(low, 1.0).mul_(
                    0.1 if tensor.dim() == 2 and tensor.numel() > 1000 else 1.0
                )
    return model.to(dtype).eval()


@cache
def traced(name: str) -> tuple[nn.Module, ChannelGraph]:
    """A pattern or architecture in float64 and its channel graph, shared between tests: don't
    change it.
    """
    model = make(name)
    return model, build_graph(model, size_of(name))


@cache
def program(name: str) -> tuple[nn.Module, Program]:
    """A pattern in float64, as it is pruned, and its own program, shared between tests: don't
    change it.
    """
    model = make(name)
    found = read_program(model, size_of(name))
    return found.dense(model), found


def images(name: str, number: int = 2, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    """Random inputs of a pattern or architecture, the same at every call."""
    drawn = torch.randn(
        (number, *size_of(name)), generator=torch.Generator().manual_seed(1), dtype=torch.float64
    )
    return drawn.to(dtype)


def random_plans(graph: ChannelGraph, number: int) -> list[Plan]:
    """Plans that keep a random number (at least one) of random units of each group."""
    rng = random.Random(2)
    sizes = {group.name: group.size for group in graph.groups}
    return [
        make_plan(
            graph,
            {name: rng.sample(range(size), rng.randint(1, size)) for name, size in sizes.items()},
        )
        for _ in range(number)
    ]


def outputs(value: object) -> torch.Tensor:
    """All outputs of a network as one row of numbers."""
    if isinstance(value, torch.Tensor):
        return value.flatten()
    return torch.cat(
        [outputs(part) for part in (value.values() if isinstance(value, dict) else value)]
    )
