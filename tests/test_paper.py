"""The paper's tables as recipes: one for every network, variant and compared method, with table 4's
multipliers.
"""

import runpy
from pathlib import Path

import pytest

from slimmer.recipe import read_recipe
from slimmer.recipe.sweep import plan_rows

FOLDER = Path(__file__).parents[1] / "recipes" / "paper"
NETS = {
    "vgg16": "cifar_vgg16_bn",
    "vgg19": "cifar_vgg19_bn",
    "resnet56": "cifar_resnet56",
    "resnet164": "cifar_preresnet164",
    "resnet34": "resnet34",
    "wrn28_10": "cifar_wrn28_10",
}
CIFAR = ("vgg16", "vgg19", "resnet56", "resnet164")
COMPARED = ("network_slimming", "l1", "bar")
BUDGETS = {
    "p": {"params": 0.5},
    "f": {"flops": 0.5},
    "pf": {"flops": 0.5, "params": 0.5},
    "dense": {"flops": 1.0},
}

# Table 4 as printed: multipliers (m, v) of the parameters, of the FLOPs, and epochs of warm-up.
TABLE_4 = {
    "vgg16": ((3, 4), (5, 6), 20),
    "vgg19": ((3, 4), (3, 4), 20),
    "resnet56": ((2, 3), (1, 2), 50),
    "resnet164": ((1, 5), (1, 5), 10),
    "resnet34": ((5, 20), (5, 20), 3),
}
TABLE_5 = [(1, 3), (3, 9), (7, 4), (2, 2), (5, 9), (4, 6), (1, 10), (5, 7), (9, 10), (10, 2)]
TABLE_6 = [
    ("cifar_vgg19_bn", 1.0),
    ("cifar_vgg19_bn", 0.5),
    ("cifar_vgg19_bn", 0.4),
    ("cifar_vgg19_bn", 0.3),
]
TABLE_6 += [("cifar_wrn28_10", left) for _, left in TABLE_6]


def expected():
    """Every recipe: file, network, method, and what is limited."""
    rows = [("table6/wrn28_10_dense", "wrn28_10", "magnitude", "dense")]
    rows += [("table6/wrn28_10_maskconvnet_f", "wrn28_10", "maskconvnet", "f")]
    rows += [("table2/resnet34_dense", "resnet34", "magnitude", "dense")]
    rows += [
        (f"table2/resnet34_{name}_pf", "resnet34", name, "pf") for name in ("maskconvnet", "l1")
    ]
    for net in CIFAR:
        rows += [(f"table1/{net}_dense", net, "magnitude", "dense")]
        rows += [(f"table4/{net}_maskconvnet_pf", net, "maskconvnet", "pf")]
        rows += [
            (f"table1/{net}_{name}_{which}", net, name, which)
            for name in COMPARED
            for which in "pf"
        ]
        rows += [(f"table1/{net}_maskconvnet_{which}", net, "maskconvnet", which) for which in "pf"]
    return rows


EXPECTED = expected()


def test_all_recipes_of_the_paper_are_there_and_no_others():
    files = {str(file.relative_to(FOLDER).with_suffix("")) for file in FOLDER.rglob("*.yaml")}
    assert files == {row[0] for row in EXPECTED} | {"table5", "table6"}
    assert len(files) == 47


def test_the_recipes_of_tables_1_and_4_are_as_their_generator_writes_them():
    generated = dict(runpy.run_path(str(FOLDER / "generate.py"))["recipes"]())
    files = [file for table in ("table1", "table4") for file in (FOLDER / table).glob("*.yaml")]
    assert generated == {
        str(file.relative_to(FOLDER)): file.read_text(encoding="utf-8") for file in files
    }


@pytest.mark.parametrize(
    ("file", "net", "method", "which"), EXPECTED, ids=[row[0] for row in EXPECTED]
)
def test_a_recipe_has_its_network_method_and_budget(file, net, method, which):
    recipe = read_recipe(FOLDER / f"{file}.yaml")
    assert (recipe.model.arch, recipe.method.name) == (NETS[net], method)
    assert {name: amount.of(1) for name, amount in recipe.budget.amounts().items()} == BUDGETS[
        which
    ]


@pytest.mark.parametrize(
    ("file", "net", "method", "which"),
    [row for row in EXPECTED if row[2] in {"maskconvnet", "network_slimming"}],
)
def test_what_is_compared_from_scratch_is_trained_alike(file, net, method, which):
    recipe = read_recipe(FOLDER / f"{file}.yaml")
    assert recipe.model.scratch
    assert (
        recipe.finetune
        == read_recipe(FOLDER / f"{file.split('/')[0].replace('4', '1')}/{net}_dense.yaml").finetune
    )
    assert recipe.method.sparsify == 0.75


@pytest.mark.parametrize("file", [row[0] for row in EXPECTED if row[2] == "maskconvnet"])
def test_maskconvnet_has_the_multipliers_of_table_4_in_the_order_of_the_budgets(file):
    recipe = read_recipe(FOLDER / f"{file}.yaml")
    net, which = file.split("/")[1].split("_maskconvnet_")
    params, flops, warmup = TABLE_4["vgg19" if net == "wrn28_10" else net]  # table 3 is not legible
    wanted = {"flops": flops, "params": params}
    pairs = list(zip(recipe.method.lambda_m, recipe.method.lambda_v, strict=True))
    assert pairs == [wanted[name] for name in recipe.budget.amounts()]
    assert len(pairs) == len(which)
    assert (recipe.method.warmup, recipe.method.mask_start) == (warmup, 0)
    assert warmup < recipe.method.sparsify * recipe.finetune.epochs


@pytest.mark.parametrize("file", [row[0] for row in EXPECTED if row[2] in {"l1", "bar"}])
def test_what_prunes_a_trained_network_takes_its_checkpoint_from_the_command(file):
    recipe = read_recipe(FOLDER / f"{file}.yaml")
    assert not recipe.model.scratch
    assert recipe.model.checkpoint is None
    assert f"{file.split('_')[0]}_dense.yaml" in (FOLDER / f"{file}.yaml").read_text(
        encoding="utf-8"
    )


def test_table_5_is_a_sweep_over_its_ten_pairs():
    rows = list(plan_rows(FOLDER / "table5.yaml").values())
    assert [(*row.method.lambda_m, *row.method.lambda_v) for row in rows] == TABLE_5
    assert {(row.model.arch, row.budget.flops, row.method.warmup) for row in rows} == {
        ("cifar_vgg19_bn", 0.5, 20.0)
    }


def test_table_6_is_a_sweep_over_two_networks_and_four_sparsities():
    rows = list(plan_rows(FOLDER / "table6.yaml").values())
    assert [(row.model.arch, row.budget.flops) for row in rows] == TABLE_6
    assert {row.method.name for row in rows if row.budget.flops < 1} == {"maskconvnet"}
