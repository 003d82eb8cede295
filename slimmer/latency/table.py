"""The table of measured latencies: a file that can be carried between machines, and a cache.
Imports no torch.
"""

import hashlib
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from slimmer.atomic_files import parse_json, read_text, write_text
from slimmer.errors import RunError, first_line
from slimmer.latency.means import Node
from slimmer.recipe.latency_section import TimingSection
from slimmer.runs.schemas.base import Amount, Count, Filed, Size, check

MACHINE = ("cpu", "cpu_vector_floats", "usable_cores", "os", "onnxruntime", "gpu", "gpu_driver")
LISTED = Field(strict=False)  # JSON has lists in place of tuples
RIGHT = "give the file that `slimmer latency measure` wrote"


class NodeRow(Filed):
    """A node of the graph that the runtime ran, with its microseconds."""

    name: str
    op: str
    inputs: list[list[Count]]
    outputs: list[list[Count]]
    us: Amount


class NetworkRow(Filed):
    """A measured network: the widths of its channel groups, its milliseconds, and relative to the
    dense network with an interval.
    """

    widths: list[Count]
    ms: Amount
    ratio: Amount
    nodes: list[NodeRow]


class Described(Filed):
    """The network that a table is about: its channel groups, weights and image."""

    groups: list[Annotated[tuple[str, Size], LISTED]]
    layers: list[Annotated[tuple[str, list[Count]], LISTED]]
    image: list[Size]


class Setting(Filed):
    """What networks were timed with."""

    provider: str
    threads: Size | None
    batch: Size
    precision: str


class Table(Filed):
    """Measurements of one network in one setting on one machine; the first network is dense."""

    format: Literal[1]
    network: Described
    setting: Setting
    machine: dict[str, str | int | float | None]
    multiple: Size
    networks: list[NetworkRow]

    @property
    def dense_ms(self) -> float:
        """The latency of the dense network."""
        return self.networks[0].ms

    def measured(self, widths: Sequence[int]) -> NetworkRow | None:
        """The measurement of the network at `widths`, if there is one."""
        for row in self.networks:
            if row.widths == list(widths):
                return row
        return None

    def nearest(self, ms: float) -> NetworkRow:
        """The measured network whose latency is nearest to `ms` milliseconds."""
        return min(self.networks, key=lambda row: abs(row.ms - ms))


def setting_of(section: TimingSection) -> Setting:
    """The setting that a recipe describes."""
    return Setting(
        provider=section.provider,
        threads=section.threads,
        batch=section.batch,
        precision=section.precision,
    )


def machine_of(found: Mapping[str, Any]) -> dict[str, Any]:
    """What decides a latency of the description of a machine."""
    return {name: found.get(name) for name in MACHINE}


def node_rows(nodes: Sequence[Node]) -> list[NodeRow]:
    """The nodes as rows of a table."""
    found = []
    for node in nodes:
        shapes = {"inputs": list(map(list, node.inputs)), "outputs": list(map(list, node.outputs))}
        found.append(NodeRow(name=node.name, op=node.op, us=node.us, **shapes))
    return found


def nodes_in(row: NetworkRow) -> tuple[Node, ...]:
    """The nodes of a measured network."""
    found = []
    for node in row.nodes:
        shapes = tuple(map(tuple, node.inputs)), tuple(map(tuple, node.outputs))
        found.append(Node(node.name, node.op, *shapes, node.us))
    return tuple(found)


def write_table(table: Table, path: Path) -> None:
    """Write a table to `path` atomically."""
    write_text(path, table.model_dump_json() + "\n")


def read_table(path: Path) -> Table:
    """The table in a file. Raises RunError if it is missing, damaged or not a table."""
    try:
        value = parse_json(read_text(path))
    except (OSError, ValueError) as error:
        raise RunError(str(path), f"can't be read ({first_line(error)})", RIGHT) from error
    table = check(Table, value, str(path), RIGHT)
    groups = len(table.network.groups)
    if not table.networks or any(len(row.widths) != groups for row in table.networks):
        raise RunError(str(path), "is damaged: widths and channel groups differ in number", RIGHT)
    return table


def check_fits(table: Table, network: Described, setting: Setting, where: str) -> None:
    """Raise RunError if a table is of another network or setting; the message says what differs."""
    said = _difference(table.network, network)
    for name in Setting.model_fields:
        had, wanted = getattr(table.setting, name), getattr(setting, name)
        if said is None and had != wanted:
            said = f"was measured with {name} {_text(had)}, and the budget is for {_text(wanted)}"
    if said is not None:
        right = "measure this network in this setting: `slimmer latency export`, then `measure`"
        raise RunError(where, said, right)


def _difference(had: Described, wanted: Described) -> str | None:
    """The first difference between two networks, or None."""
    if had.image != wanted.image:
        return f"is of images of {had.image}, and the network takes {wanted.image}"
    for one, other in zip(had.layers, wanted.layers, strict=False):
        if one != other:
            return f"is of another network: {one[0]} is {one[1]}, here {other[0]} is {other[1]}"
    if len(had.layers) != len(wanted.layers):
        counts = f"{len(had.layers)} weights, here there are {len(wanted.layers)}"
        return f"is of another network: it has {counts}"
    if had.groups != wanted.groups:
        return "is of another network: its channel groups are others"
    return None


def _text(value: object) -> str:
    return "one per core" if value is None else str(value)


def cache_file(network: Described, setting: Setting, machine: Mapping[str, Any]) -> Path:
    """The cached table of a network in a setting on a machine, in the user's cache directory."""
    key = [network.model_dump(), setting.model_dump(), dict(machine)]
    name = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:24]
    return _cache_folder() / f"{name}.json"


def read_cached(path: Path) -> tuple[Table | None, str | None]:
    """The cached table, or None; and a note if there is a file that can't be used."""
    if not path.exists():
        return None, None
    try:
        return read_table(path), None
    except (RunError, ValidationError) as error:
        return None, f"the cached latencies are measured again: {first_line(error)}"


def write_cached(table: Table, path: Path) -> str | None:
    """Write the cached table; a note if that is not possible, which is no error."""
    try:
        write_table(table, path)
    except OSError as error:
        return f"the measured latencies are not cached: {first_line(error)}"
    return None


def _cache_folder() -> Path:
    """The directory for caches of slimmer, by the conventions of the system."""
    given = os.environ.get("XDG_CACHE_HOME")
    if given:
        return Path(given) / "slimmer" / "latency"
    home = Path.home()
    if sys.platform == "darwin":
        return home / "Library" / "Caches" / "slimmer" / "latency"
    if sys.platform == "win32":
        local = os.environ.get("LOCALAPPDATA", str(home / "AppData" / "Local"))
        return Path(local) / "slimmer" / "latency"
    return home / ".cache" / "slimmer" / "latency"
