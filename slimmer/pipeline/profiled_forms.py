"""A run's fp16 and int8 files: which of them are profiled, and what a profile found out about those
that are exported.
"""

from collections.abc import Iterable, Mapping
from itertools import product
from pathlib import Path
from typing import Any

from slimmer.exporting.forms import FORMS
from slimmer.exporting.variants import NETWORKS, Variant
from slimmer.profiling.means import Network
from slimmer.profiling.reduced_precision import FULL, elsewhere, not_faster
from slimmer.profiling.results import SCHEMA
from slimmer.profiling.runtimes.environment import environment
from slimmer.recipe.runtimes import DEFAULT
from slimmer.recipe.sections import ProfileSection


def forms_to_time(listed: Mapping[str, Any], section: ProfileSection) -> list[Network]:
    """The up-to-date fp16 and int8 files in export.json that take the same inputs as the float32
    files.

    Empty if PyTorch runs the networks, which does not run files, or if `strict` or a CUDA graph is
    requested, which refuse a network whose conversions fall back to the CPU.
    """
    if section.runtimes != (DEFAULT,) or section.strict or section.cuda_graph:
        return []
    found = []
    for network, form in product(NETWORKS, FORMS.values()):
        name = Variant(network, form.name).name
        if form.profiled and name in listed and listed[name]["precision_io"] == FULL:
            found.append(Network(name, Path(listed[name]["file"])))
    return found


def said_by_profile(
    profile: Mapping[str, Any] | None, entries: Iterable[Mapping[str, Any]], plan_hash: str
) -> list[str]:
    """A sentence for each exported form that `profile` found to be no faster than float32.

    `entries` are those of export.json. A profile of another schema version, or of files of another
    plan, is ignored.
    """
    if profile is None or profile["schema"] != SCHEMA:
        return []
    exported = {(_network(each), each["precision"]) for each in entries}
    there = elsewhere(profile, environment())
    where = "on this machine" if there is None else f"on another machine ({there})"
    found = []
    for one in not_faster(profile):
        of_this_run = one.plan_hash in (None, plan_hash)  # None is the dense network
        if of_this_run and (one.network, one.precision) in exported:
            found.append(f"according to profile.json, measured {where}: {one}")
    return found


def _network(entry: Mapping[str, Any]) -> str:
    """The run's network, "dense" or "slim", that a listed file holds."""
    return Path(entry["file"]).name.partition(".")[0]
