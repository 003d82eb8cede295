"""Latency: speedups with their intervals, all timings, and what limits them."""

from collections.abc import Mapping
from typing import Any

from slimmer.reports.latency_tables import headline, parts
from slimmer.reports.latency_words import is_busy, place, realised
from slimmer.reports.page.charts.chart import Key
from slimmer.reports.page.charts.rails import Rails, Reading, rails
from slimmer.reports.page.run_files import RunFiles
from slimmer.reports.page.section import Section

OUTDATED = "profile.json was written by another version of slimmer; run `slimmer profile` again."
LIMITS = "Limits of these figures"  # the title of that part of a profile
SPENT = "Where time goes"  # the beginning of that part's title; it has a section of its own

Row = Mapping[str, Any]


def view(files: RunFiles) -> Mapping[str, Any] | None:
    """Speedups as points with intervals, and the tables of a profile; None without a profile."""
    if files.outdated:
        return {"outdated": OUTDATED}
    if files.profile is None:
        return None
    first, *rest = parts(files.profile, every_layer=False)
    found = [part for part in rest if not part.title.startswith(SPENT)]
    return {
        "outdated": None,
        "headline": headline(files.profile),
        "speedups": _speedups(files.profile),
        "first": first,
        "parts": [part for part in found if part.title != LIMITS],
        "limits": [part for part in found if part.title == LIMITS],
    }


def _speedups(profile: Mapping[str, Any]) -> Rails | None:
    """The speedups over the first network; None without any."""
    found = [one for one in profile["comparisons"] if one["runtime"] == one["against_runtime"]]
    if not found:
        return None
    keys = [Key("point slim", "measured"), Key("base", "no speedup")]
    if any(one["promise"] is not None for one in found):
        keys.append(Key("other", "if time were proportional to FLOPs"))
    readings = [_reading(profile, one) for one in found]
    return rails("Speedup, with 95 % intervals", readings, 1.0, "{:g}x".format, keys)


def _reading(profile: Mapping[str, Any], one: Row) -> Reading:
    """A speedup, its interval and the FLOP reduction."""
    interval, text = None, f"{one['speedup']:.2f}x"
    if one["low"] is not None:
        interval = one["low"], one["high"]
        text += f" ({one['low']:.2f} to {one['high']:.2f})"
    notes = []
    if one["promise"] is not None:
        notes.append(f"FLOPs reduced {one['promise']:.2f}x, {realised(one)} realised")
    if is_busy(one):
        notes.append("by CPU time, because the machine was busy")
    if one["verdict"] == "no measurable difference":
        notes.append(one["verdict"])
    return Reading(
        f"{one['model']} against {one['against']}, {place(profile, one)}",
        text,
        one["speedup"],
        interval,
        one["promise"],
        notes="; ".join(notes),
    )


SECTION = Section("latency", "Latency", view)
