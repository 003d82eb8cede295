"""The report of a run as data, with every count repeated on the slim network."""

from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from torch import nn

from slimmer.atomic_files import write_json, write_text
from slimmer.costs.by_layer import layer_rows
from slimmer.costs.flops import uncounted
from slimmer.graph import ChannelGroup
from slimmer.pipeline.choose_plan import method_entry
from slimmer.pipeline.job import PruningJob
from slimmer.pipeline.recount import recount, subject_of
from slimmer.profiling.runtimes.environment import environment
from slimmer.pruning.plan import Plan
from slimmer.pruning.slim_file import save_network
from slimmer.recipe import Recipe
from slimmer.reports.figures import draw_run
from slimmer.reports.report_data import attribute_report, cost_report
from slimmer.reports.run_report import to_markdown
from slimmer.runs.directory import Run
from slimmer.runs.event_log import worked


def make_report(
    run: Run,
    recipe: Recipe,
    job: PruningJob,
    plan: Plan,
    slim: nn.Module,
    measured: Mapping[str, Any],
) -> dict[str, Any]:
    """The report of a finished run, as data.

    `measured` holds the accuracies and, if masks were trained, the share of each cost that they
    left before the projection. Raises ModelError unless the closed forms equal a recount of the
    slim network exactly.
    """
    slim_subject = subject_of(slim, job.model, job.graph, job.scope, job.cut)
    top1 = {key: measured[f"accuracy_{key}"] for key in ("dense", "removed", "slim")}
    return {
        "format": 1,
        "slimmer": version("slimmer"),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "run": str(run.path),
        "arch": job.identity.arch,
        "input_size": list(job.identity.input_size),
        "inputs": job.scope.described,
        "traced": _traced(job, slim),
        "seed": recipe.seed,
        "method": method_entry(recipe, job).name,
        "epochs": recipe.finetune.epochs if job.task is not None else 0.0,
        "recipe_hash": recipe.hash(),
        "plan_hash": plan.hash,
        **{cost.name: cost_report(cost, plan, job.budgets) for cost in job.costs},
        "recount": recount(slim_subject, job.costs, plan),
        "uncounted": uncounted(job.scope.of(slim), job.scope.inputs),
        "before_projection": measured.get("before_projection"),
        "latency_measured": measured.get("latency_measured"),
        "accuracy": None if top1["dense"] is None else top1,
        "metric": measured.get("metric"),
        "skipped_images": _skipped(job),
        "trained_by": None if job.task is None else job.task.name,
        "metrics": measured.get("metrics", {}),
        "groups": [_group(*each) for each in zip(plan.groups, plan.widths, strict=True)],
        "layers": layer_rows(job.scope.of(job.model), job.scope.inputs, job.graph, plan.removed()),
        "attributes": attribute_report(job.graph, plan),
        "fixed": [vars(row) for row in job.graph.fixed],
        "seconds": round(worked(run.read_events()), 1),
        "environment": environment(),
    }


def write_results(
    run: Run,
    recipe: Recipe,
    job: PruningJob,
    plan: Plan,
    slim: nn.Module,
    report: Mapping[str, Any],
) -> dict[str, Any]:
    """Write the slim network, the figures and, last, the report, which marks the run as finished.

    Returns the report with the paths of the figures.
    """
    notes = {"slimmer": version("slimmer"), "recipe_hash": recipe.hash(), "plan_hash": plan.hash}
    rewritten = recipe.model.rewrite
    save_network(run.slim, slim.cpu(), job.identity, plan, notes, rewritten=rewritten)
    drawn = draw_run(run.read_events(), report, run.path / "figures")
    report = {**report, "figures": [str(path.relative_to(run.path)) for path in drawn]}
    write_text(run.text, to_markdown(report))
    write_json(run.report, report)
    return report


def _skipped(job: PruningJob) -> list[dict[str, Any]]:
    """The image files that were left out, by split."""
    data = None if job.task is None else job.task.data
    return [] if data is None else [each.for_report() for each in data.skipped]


def _traced(job: PruningJob, slim: nn.Module) -> dict[str, Any] | None:
    """The traced parts and their number of parameters; None if the whole network was traced."""
    if not job.scope.parts:
        return None
    params = {"dense": _params(job.scope.of(job.model)), "slim": _params(job.scope.of(slim))}
    return {"parts": list(job.scope.parts), "params": params}


def _params(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def _group(group: ChannelGroup, width: int) -> dict[str, Any]:
    """A group's widths in units, and the channels that are removed with one unit: several if a
    grouped convolution loses whole groups.
    """
    each = min(part.multiplicity for part in group.slices)
    return {"name": group.name, "dense": group.size, "slim": width, "channels_each": each}
