"""Networks as files in a directory, and their measurement on another machine. Imports no torch."""

from collections.abc import Callable
from pathlib import Path
from typing import Literal

from slimmer.atomic_files import digest, parse_json, read_text, write_json
from slimmer.errors import RunError, first_line
from slimmer.latency import means as latency_means
from slimmer.latency.measure import images_of
from slimmer.latency.measured_networks import measured_networks
from slimmer.latency.table import Described, Table, machine_of, setting_of, write_table
from slimmer.recipe.latency_section import TimingSection
from slimmer.runs.schemas.base import Filed, Size, check

MANIFEST = "manifest.json"
RIGHT = "give a directory that `slimmer latency export` wrote, with all of its files"


class NetworkFile(Filed):
    """An ONNX file, its SHA-256, and the widths of its channel groups."""

    file: str
    sha256: str
    widths: list[Size]


class Manifest(Filed):
    """manifest.json: the networks in a directory, the first of which is dense."""

    format: Literal[1]
    network: Described
    precision: Literal["fp32", "fp16", "int8"]
    multiple: Size
    files: list[NetworkFile]


def write_manifest(manifest: Manifest, folder: Path) -> None:
    """Write the manifest of a directory, after its files."""
    write_json(folder / MANIFEST, manifest.model_dump())


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a directory. Raises RunError if it or a file is missing or damaged."""
    path = folder / MANIFEST
    try:
        value = parse_json(read_text(path))
    except (OSError, ValueError) as error:
        raise RunError(str(path), f"can't be read ({first_line(error)})", RIGHT) from error
    manifest = check(Manifest, value, str(path), RIGHT)
    if len(manifest.files) < 2:
        raise RunError(str(path), "lists fewer than two networks", RIGHT)
    for entry in manifest.files:
        file = folder / Path(entry.file).name
        try:
            same = digest(file) == entry.sha256
        except OSError as error:
            raise RunError(str(file), f"can't be read ({first_line(error)})", RIGHT) from error
        if not same:
            raise RunError(str(file), "is not the file that was exported", RIGHT)
    return manifest


def measure_folder(
    folder: Path,
    out: Path,
    *,
    provider: str = "cpu",
    threads: int | None = None,
    batch: int = 1,
    tell: Callable[[int, int], None] = lambda _done, _of: None,
) -> Table:
    """The table of the networks in `folder`, measured on this machine and written to `out`.

    Needs ONNX Runtime and no PyTorch. Raises RunError if a file is missing or damaged, and
    RuntimeUnavailableError for a provider that is not active here.
    """
    manifest = read_manifest(folder)
    section = TimingSection(
        provider=provider, threads=threads, batch=batch, precision=manifest.precision
    )
    means, count = latency_means.means_of(section), len(manifest.files)
    rows = measured_networks(
        [entry.widths for entry in manifest.files],
        lambda number: folder / Path(manifest.files[number].file).name,
        images_of(manifest.network.image, batch),
        section,
        means,
        lambda done: tell(done, count),
    )
    table = Table(
        format=1,
        network=manifest.network,
        setting=setting_of(section),
        machine=machine_of(means.machine()),
        multiple=manifest.multiple,
        networks=rows,
    )
    write_table(table, out)
    return table
