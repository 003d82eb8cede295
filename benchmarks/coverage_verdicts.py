"""What the stages of one network say: it was pruned right, in part, wrongly, or not at all."""

from collections.abc import Iterator, Sequence
from typing import Any

from coverage_names import HYBRIDS

STAGES = ("build", "graph", "check", "plan", "equal", "costs", "train", "attributes", "onnx")
PEER_STAGES = ("build", "prune", "run")
COUNTED = ("flops", "params")
RIGHT = ("half", "rewritten", "part")
Row = dict[str, Any]


def verdict(row: Row) -> tuple[str, str]:
    """(half | rewritten | part | wrong | failed, why): how right a network was pruned, or what
    --rewrite made of it.

    That is to half the FLOPs, as it is or with --rewrite; as far as can be; wrongly, which is what
    ran through and is not equal, not what was counted, or over the budget; or not at all.
    """
    word, why = _verdict(row)
    if word == "wrong" or "rewritten" not in row:
        return word, why
    again, reason = _verdict({**row, **row["rewritten"]})
    if again == "half":
        return "rewritten", ""
    if again == "wrong" or (again == "part" and word == "failed"):
        return again, f"with --rewrite {reason}"
    return word, f"{why}; with --rewrite {reason}"


def _verdict(row: Row) -> tuple[str, str]:
    """How right a network was pruned once."""
    plan = row["stages"].get("plan", {})
    fault = _fault(row["stages"])
    if fault:
        return "wrong", fault
    if "least" in plan and plan["least"] == plan["dense"]:
        return "failed", f"nothing to prune: {_held(plan)}"
    failure = _failure(row, STAGES[:6])
    if failure:
        return "failed", failure
    if plan["limit"] > 0.5 * plan["dense"]:
        return "part", f"at least {plan['least'] / plan['dense']:.1%} remain; {_held(plan)}"
    return "half", ""


def _fault(stages: Row) -> str:
    """What is wrong with the result of a network that was pruned; empty where nothing is."""
    plan, equal, costs = (stages.get(name, {}) for name in ("plan", "equal", "costs"))
    if equal.get("equal") is False:
        return f"pruned differs from masked by {equal['difference']:.2g}"
    if costs.get("flops", 0) > plan.get("limit", 0):
        return f"{costs['flops']} FLOPs, over the limit of {plan['limit']:.0f}"
    differ = (unit for unit in COUNTED if unit in costs and costs[unit] != plan[unit])
    return next((f"{costs[unit]} {unit}, {plan[unit]} were planned" for unit in differ), "")


def _held(plan: Row) -> str:
    """What keeps a network whole, by the share of the FLOPs in layers that it touches."""
    return "; ".join(f"{share:.0%} {reason}" for reason, share in plan["holds"][:3])


def _failure(row: Row, names: Sequence[str]) -> str:
    """Which of the stages `names` failed or was not ended, and why; empty where none."""
    for name in names:
        found = row["stages"].get(name)
        if found is None:
            return f"{name}: {row['ended']}"
        if "error" in found:
            return f"{name}: {found['error']}"
    return ""


def later_failures(row: Row) -> Iterator[str]:
    """What a network that was pruned right does not do: train, tell its own counts, be exported and
    equal.
    """
    asked = STAGES[6:] if row["stages_asked"] == "all" else STAGES[6:8]
    if _verdict(row)[0] != "half" and "rewritten" in row:
        row = {**row, **row["rewritten"]}
    for name in asked:
        failure = _failure(row, [name])
        dense = row["stages"].get(name, {}).get("dense", "is exported and equal")
        if failure:
            yield (
                failure
                if dense == "is exported and equal"
                else f"{failure} (the dense network too: {dense})"
            )
    untrue = row["stages"].get("attributes", {}).get("untrue")
    if untrue:
        yield f"attributes: {untrue[0]}, {len(untrue)} in all"


def peer_verdict(row: Row) -> tuple[str, str]:
    """(ok | error | wrong | timeout | not run, why); wrong: it does not run, its output changed, or
    it is too large.
    """
    peer = row.get("peer")
    if peer is None:
        return "not run", ""
    run = peer["stages"].get("run", {})
    if run.get("same_shapes") is False:
        return "wrong", "the output has another shape"
    if "error" in run:
        return "wrong", f"does not run: {run['error']}"
    if run and not run["reached"]:
        return "wrong", f"{run['flops']:.1%} of the FLOPs remain, without an error"
    if run:
        return "ok", _failure(peer, ["train"])
    return "timeout" if peer["ended"] == "timeout" else "error", _failure(peer, PEER_STAGES)


def kind(row: Row) -> str:
    """Which of the three lists a network is from."""
    package, _, name = row["net"].partition("/")
    if package == "timm":
        return "timm, hybrids" if name in HYBRIDS else "timm, convnets"
    return package
