"""How exactly budgets are met: networks times budgets, singly and in pairs, with random scores and
with ranks.

python benchmarks/budgets.py --out benchmarks/results/budgets.md
"""

from pathlib import Path

import click
import torch

from slimmer.costs import Budget, flops_cost, params_cost
from slimmer.criteria import magnitude_scores
from slimmer.graph import build_graph
from slimmer.models import build, find
from slimmer.pruning.allocate import allocate

NETS = (
    "cifar_resnet20",
    "cifar_resnet56",
    "cifar_resnet20_b",
    "cifar_vgg16_bn",
    "resnet18",
    "resnet34",
    "resnet50",
)
BUDGETS: tuple[tuple[float | None, float | None], ...] = (
    (0.7, None), (0.5, None), (0.3, None), (None, 0.5), (0.5, 0.6), (0.7, 0.35), (0.3, 0.3),
)  # fmt: skip


@click.command(help=__doc__)
@click.option("--out", type=Path, required=True)
def main(out: Path) -> None:
    lines = [
        "# Budgets asked for and met", "",
        ("`python benchmarks/budgets.py --out benchmarks/results/budgets.md`; "
         "FLOPs as fvcore counts them."), "",
        ("| net | scores | FLOPs asked | FLOPs | params asked | params | below the tightest, % of "
        "dense |"),
        "|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    worst, cases = 0.0, 0
    for net in NETS:
        torch.manual_seed(0)
        model = build(net)
        size = find(net).input_size
        graph = build_graph(model, size)
        costs = flops_cost(model, graph, size), params_cost(model, graph)
        scores = {
            "random": (torch.rand(graph.units), True),
            "magnitude": (magnitude_scores(model, graph), False),
        }
        for asked in BUDGETS:
            for name, (values, priced) in scores.items():
                named = [
                    (cost, share)
                    for cost, share in zip(costs, asked, strict=True)
                    if share is not None
                ]
                plan = allocate(
                    values, graph, [Budget(c, s * c.dense) for c, s in named], priced=priced
                )
                got = [cost.exact(plan.widths) / cost.dense for cost in costs]
                slack = [share - cost.exact(plan.widths) / cost.dense for cost, share in named]
                assert min(slack) >= 0, (net, asked, got)
                worst, cases = max(worst, min(slack)), cases + 1
                shown = ["any" if share is None else f"{share:.0%}" for share in asked]
                lines.append(
                    f"| {net} | {name} | {shown[0]} | {got[0]:.3%} | {shown[1]} | {got[1]:.3%} | "
                    f"{min(slack):.3%} |"
                )
    lines += [
        "",
        (
            f"{cases} cases, all inside every budget; at most {worst:.3%} of dense below the "
            "tightest one."
        ),
        "",
    ]
    out.write_text("\n".join(lines), encoding="utf-8")
    print(lines[-2])


if __name__ == "__main__":
    main()
