"""The rounds that keep a latency budget: search on the fit, cut, measure, correct, repeat."""

import time
from collections.abc import Callable, Sequence
from functools import partial

from slimmer.costs import Budget
from slimmer.errors import BudgetError
from slimmer.latency.build import MeasuredLatency, corrected
from slimmer.latency.kept import Kept, Search, Tried, predicted, record_of
from slimmer.latency.measure import Taken, check_tellable
from slimmer.pruning.plan import Plan
from slimmer.runs.events import Observe, stage

AIM = 0.985  # of the limit: the middle of what is accepted
CLOSE = 0.97  # of the limit: a plan below this leaves time unused
FASTER = 0.95  # of the limit: a measured plan with a higher score may be that fast
MOST = 10  # rounds
SEARCHES = 30  # most of them find plans that are measured already, or none
APART = 0.001  # of dense: searches that are nearer to each other find the same plan
TOGETHER = 3  # rounds in which all searches compete
NEAR = (1.0, 0.995, 0.99)  # of the aim: searches whose plans count as equally fast
SIDE = 0.1  # of the way between two plans: how near to one of them the next search aims

Score = Callable[[Plan], float]
"""The score that a plan keeps."""


Find = Callable[[float, Sequence[Tried]], Plan | None]
"""The plan at an aim on the fit."""

Measure = Callable[[Plan, int], Tried]
"""A plan measured in a round."""


def keep(budget: Budget, searches: Sequence[Search], score: Score, observe: Observe) -> Kept:
    """The plan whose measured latency is inside the budget, and at most 3 % below it if a plan
    comes that near. A measured plan that is up to 3 % faster is taken if its score is higher.

    Every round searches the widths on the fitted latency, and measures the network that they give
    next to the dense one. What was measured tells where on the fit the next round aims. In the
    first rounds the plans of all `searches` compete; then the first search goes on alone, because
    its plans change little from aim to aim. Raises BudgetError if no measured plan is inside, and
    RuntimeUnavailableError on a machine that is too noisy.
    """
    cost = budget.cost
    assert isinstance(cost, MeasuredLatency)
    if not cost.here:
        return predicted(cost, budget, searches[0])
    began, limit = time.monotonic(), budget.ratio
    tried: list[Tried] = []
    for those, most in ((searches, TOGETHER), (searches[:1], MOST)):
        find = partial(_found, those, score, cost)
        measure = partial(_measured, cost, limit, observe)
        if _approach_(tried, limit, find, measure, most):
            break
    best = _best(tried, limit, score)
    if best is None:
        raise _missed(tried, limit, cost)
    now = corrected(cost, best.plan.widths, best.slim.ratio * cost.dense)
    return Kept(best.plan, now, record_of(best, tried, now, time.monotonic() - began, limit))


def _approach_(tried: list[Tried], limit: float, find: Find, measure: Measure, most: int) -> bool:
    """Measure plans nearer and nearer to the limit, until `most` are tried; whether one is inside
    the limit and at most 3 % below it.
    """
    low, high, aim = 0.0, float("inf"), AIM * limit
    for _ in range(SEARCHES):
        if len(tried) >= most or high - low <= APART:
            return False
        plan = find(aim, tried)
        if plan is None:  # there is no plan so low on the fit
            if high == float("inf") and aim >= limit:
                return False
            low, aim = aim, limit if high == float("inf") else (aim + high) / 2
            continue
        known = next((each for each in tried if each.plan.widths == plan.widths), None)
        one = known or measure(plan, len(tried) + 1)
        if known is None:
            tried.append(one)
        if one.slim.ratio > limit:
            high = min(high, aim)
        elif one.slim.ratio >= CLOSE * limit:
            return True
        else:
            low = max(low, aim)
        aim = _next_aim(tried, limit, low, high)
    return False


def _found(
    searches: Sequence[Search],
    score: Score,
    cost: MeasuredLatency,
    aim: float,
    tried: Sequence[Tried],
) -> Plan | None:
    """The plan with the highest score inside the budgets, or None if there is none on the fit.

    A search takes single steps, and a slightly smaller budget may lead it to a higher score.
    """
    known = [each.plan.widths for each in tried]
    best: Plan | None = None
    for share in NEAR:
        try:
            now = Budget(cost, share * aim * cost.dense)
            plan = max((search(now) for search in searches), key=score)
        except BudgetError:
            return best
        if best is None and plan.widths in known:
            return plan
        if best is None or (plan.widths not in known and score(plan) > score(best)):
            best = plan
    return best


def _next_aim(tried: Sequence[Tried], limit: float, low: float, high: float) -> float:
    """Where on the fit the next search aims, relative to dense, between `low` and `high`.

    Between a plan inside the limit and one above it, the measured latency is taken as linear;
    before there are both, as proportional to the fit.
    """
    last, target = tried[-1], AIM * limit
    aim = last.fit * target / last.slim.ratio
    inside = [each for each in tried if each.slim.ratio <= limit]
    above = [each for each in tried if each.slim.ratio > limit]
    if inside and above:
        one = max(inside, key=lambda each: each.slim.ratio)
        two = min(above, key=lambda each: each.slim.ratio)
        way = (target - one.slim.ratio) / (two.slim.ratio - one.slim.ratio)
        aim = one.fit + way * (two.fit - one.fit)
    if high == float("inf"):
        return max(aim, low + APART)
    side = SIDE * (high - low)
    return min(max(aim, low + side), high - side)


def _measured(
    cost: MeasuredLatency, limit: float, observe: Observe, plan: Plan, number: int
) -> Tried:
    """A plan's network, measured next to the dense one; the round becomes an event.

    The measurement ends early once it is sure that the network is too slow, that it is inside the
    limit and at most 3 % below it, or that it is faster than that.
    """
    assert cost.bench is not None

    def enough(found: Taken) -> bool:
        near = CLOSE * limit
        return found.low > limit or near <= found.low <= found.high <= limit or found.high < near

    observe(stage(f"round {number}: measuring a network inside the budgets"))
    expected = cost.share(cost.exact(plan.widths))
    dense, slim = cost.bench.measure(plan.widths, enough)
    if not enough(slim):
        check_tellable(slim, cost.bench.means, cost.bench.setting)
    event = {"round": number, "predicted": expected, "measured": slim.ratio, "limit": limit}
    observe({"event": "latency_round", **event})
    return Tried(plan, expected, dense, slim)


def _best(tried: Sequence[Tried], limit: float, score: Score) -> Tried | None:
    """The measured plan with the highest score, of those inside the limit that are at most 3 %
    faster than the one nearest to it, and at most 5 % below the limit if that one is.
    """
    inside = [each for each in tried if each.slim.ratio <= limit]
    nearest = max((each.slim.ratio for each in inside), default=0.0)
    least = max(CLOSE * nearest, min(nearest, FASTER * limit))
    near = [each for each in inside if each.slim.ratio >= least]
    return max(near, key=lambda each: score(each.plan), default=None)


def _missed(tried: Sequence[Tried], limit: float, cost: MeasuredLatency) -> BudgetError:
    """The error of rounds that all ended above the limit."""
    found = f"no plan inside all budgets keeps a latency of {limit:.1%} of dense"
    if tried:
        least = min(each.slim.ratio for each in tried)
        found += (
            f": of {len(tried)} measured plans, the fastest takes {least:.1%} of the dense "
            f"network's {cost.dense / 1e6:.4g} ms"
        )
    right = "give a larger latency, or narrower steps of widths (--round-to 8)"
    return BudgetError("budget.latency", found, right)
