"""A run's files in fp16 and int8: which of them are timed, and what a profile said of those that
are exported.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from slimmer.exporting.variants import NETWORKS, Form, Variant
from slimmer.profiling.means import Network
from slimmer.profiling.reduced_precision import FULL, NotFaster, elsewhere, not_faster
from slimmer.profiling.results import SCHEMA
from slimmer.profiling.runtimes.environment import environment
from slimmer.recipe.runtimes import DEFAULT
from slimmer.recipe.sections import ProfileSection

FORMS: tuple[Form, ...] = ("fp16", "int8")


def forms_to_time(listed: Mapping[str, Any], section: ProfileSection) -> list[Network]:
    """Of the current files that export.json lists those in fp16 and int8 that take what the float32
    files take.

    None where PyTorch is to run networks, which runs no file, and where `strict` or a CUDA graph
    refuses a network whose conversions fall back to the CPU.
    """
    if section.runtimes != (DEFAULT,) or section.strict or section.cuda_graph:
        return []
    names = [Variant(network, form).name for network in NETWORKS for form in FORMS]
    fitting = [name for name in names if name in listed and listed[name]["precision_io"] == FULL]
    return [Network(name, Path(listed[name]["file"])) for name in fitting]


def said_by_profile(
    profile: Mapping[str, Any] | None, entries: Iterable[Mapping[str, Any]], plan_hash: str
) -> list[str]:
    """A sentence for each time that `profile` found exported forms to be no faster than float32.

    `entries` are those of export.json. A profile of another version, or of files of another plan,
    says nothing.
    """
    if profile is None or profile["schema"] != SCHEMA:
        return []
    exported = {(_network(each), each["precision"]) for each in entries}
    there = elsewhere(profile, environment())
    where = "on this machine" if there is None else f"on another machine ({there})"
    return [
        f"by profile.json, measured {where}: {one}"
        for one in not_faster(profile)
        if (one.network, one.precision) in exported and _of_plan(one, plan_hash)
    ]


def _network(entry: Mapping[str, Any]) -> str:
    """Which of the run's networks a listed file holds."""
    return Path(entry["file"]).name.partition(".")[0]


def _of_plan(one: NotFaster, plan_hash: str) -> bool:
    """Whether what was timed is the run's; the dense network is of no plan."""
    return one.plan_hash in (None, plan_hash)
