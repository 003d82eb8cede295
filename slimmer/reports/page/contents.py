"""The sections of the page, in their order."""

from slimmer.reports.page.section import Section
from slimmer.reports.page.sections import (
    accuracy,
    budgets,
    exported,
    latency,
    masks,
    network,
    not_pruned,
    reproduce,
    time_spent,
    training,
)

SECTIONS: tuple[Section, ...] = (
    budgets.SECTION,
    accuracy.SECTION,
    network.SECTION,
    latency.SECTION,
    time_spent.SECTION,
    training.SECTION,
    masks.SECTION,
    not_pruned.SECTION,
    exported.SECTION,
    reproduce.SECTION,
)
