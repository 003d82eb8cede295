"""The networks of a latency table as files, for the machine on which they are to be measured."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from slimmer.atomic_files import digest
from slimmer.errors import ExportError, ModelError, first_line
from slimmer.latency.build import bench_of
from slimmer.latency.carried import Manifest, NetworkFile, write_manifest
from slimmer.latency.networks import limits_of, narrowest, sampled
from slimmer.pipeline.job import examine
from slimmer.pipeline.recount import subject_of
from slimmer.pipeline.sources import load_model
from slimmer.pipeline.surroundings import undisturbed
from slimmer.profiling.widths import preferred
from slimmer.recipe.budget import BudgetSection
from slimmer.recipe.latency_section import TimingSection
from slimmer.recipe.sections import ModelSection
from slimmer.runs.events import Observe, stage
from slimmer.runs.trust import remember

WIDEST = 16  # floats in the vectors of the CPUs with the widest ones


@undisturbed()
def export_networks(
    section: ModelSection,
    folder: Path,
    *,
    precision: str = "fp32",
    image_size: Sequence[int] | None = None,
    round_to: int | None = None,
    observe: Observe = lambda _: None,
    trust_code: bool = False,
) -> Manifest:
    """Write networks of different widths to `folder`, an empty or new directory, as ONNX files.

    `slimmer latency measure` measures them anywhere; the table that it writes is for pruning the
    same checkpoint. The manifest is written last. Raises ExportError if the directory has files.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ExportError(str(folder), "is not empty", "give a new or empty directory")
    remember(section.arch)
    source = load_model(section, trust_code=trust_code)
    observe(stage("tracing the network and checking its channel groups"))
    model, graph, _, cut, scope = examine(source.network, source.identity, section)
    if not graph.groups:
        found, right = "no channel of the network can be pruned", "see `slimmer inspect`"
        raise ModelError(source.identity.arch, found, right)
    size = None if image_size is None else (image_size[0], image_size[1])
    timing = TimingSection.model_validate({"precision": precision, "image_size": size})
    budget = BudgetSection(timing=timing, round_to=round_to)
    observe(stage("exporting the dense network"))
    subject = subject_of(model, model, graph, scope, cut)
    subject = replace(subject, budget=budget, observe=observe)
    bench = bench_of(subject)
    multiple = round_to or preferred("cpu", WIDEST)
    widths = sampled(graph, multiple, narrowest(graph, limits_of(graph, budget, multiple)))
    files = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        right = "give a directory in a writable place"
        raise ExportError(str(folder), first_line(error), right) from error
    for number, each in enumerate(widths):
        path = folder / ("dense.onnx" if number == 0 else f"network-{number:02}.onnx")
        bench.write(each, path)
        files.append(NetworkFile(file=path.name, sha256=digest(path), widths=each))
        observe({"event": "latency_networks", "done": number + 1, "networks": len(widths)})
    manifest = Manifest(
        format=1,
        network=bench.described,
        precision=timing.precision,
        multiple=multiple,
        files=files,
    )
    write_manifest(manifest, folder)
    return manifest
