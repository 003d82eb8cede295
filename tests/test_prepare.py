"""What a run starts from: what is kept stays whole, budgets are as asked for, and what does not fit
is refused.
"""

import copy

import pytest
import torch
import zoo

from slimmer.data import Data, InMemory
from slimmer.errors import BudgetError, DataError, ModelError
from slimmer.models import build
from slimmer.models.checkpoint import save_weights
from slimmer.pipeline.job import examine, prepare
from slimmer.pipeline.sources import load_model
from slimmer.pipeline.task_of_run import load_data
from slimmer.pruning.allocate import Limits
from slimmer.pruning.slim_file import Identity
from slimmer.recipe import read_recipe
from slimmer.recipe.data_section import DataSection
from slimmer.recipe.sections import ModelSection

SIZE = [3, 6, 6]
HALF = ("budget.flops", 0.5)


def pictures(side=6, channels=3, classes=3):
    """A handful of images that are nothing in particular."""
    split = InMemory(torch.zeros(6, channels, side, side), torch.arange(6) % classes)
    names = tuple(f"class {number}" for number in range(classes))
    return Data("pictures", split, split, names, (0.5,) * channels, (0.5,) * channels, (side, side))


def chain():
    """A copy: a job's model is trained in place."""
    return copy.deepcopy(zoo.traced("Chain")[0])


# What is kept


def test_costs_are_those_of_what_is_not_kept():
    model = chain()
    identity = Identity("", 3, zoo.SIZE)
    _, graph, (flops, params), *_ = examine(model, identity, ModelSection(keep=("conv2",)))
    assert [group.name for group in graph.groups] == ["conv1"]
    _, _, (all_flops, all_params), *_ = examine(model, identity)
    assert (flops.dense, params.dense) == (all_flops.dense, all_params.dense)
    assert params.exact([1]) == all_params.exact([1, 5])
    assert flops.exact([1]) == all_flops.exact([1, 5])


def test_what_is_kept_narrows_what_can_be_reached():
    pairs = [("model.input_size", SIZE), ("budget.flops", 0.5)]
    assert prepare(read_recipe(None, pairs), chain()).budgets
    tight = [("model.input_size", SIZE), ("budget.flops", 0.25)]
    assert prepare(read_recipe(None, tight), chain()).budgets
    with pytest.raises(BudgetError, match="can't be met"):
        prepare(read_recipe(None, [*tight, ("model.keep", ["conv2"])]), chain())
    with pytest.raises(ModelError, match="no channel of the network can be pruned"):
        prepare(read_recipe(None, [*pairs, ("model.keep", ["conv*"])]), chain())


# Budgets


def test_budgets_are_shares_or_numbers_of_what_the_network_costs():
    pairs = [
        ("model.input_size", SIZE),
        ("budget.flops", "50%"),
        ("budget.params", {"sparsity": 0.25}),
    ]
    job = prepare(read_recipe(None, pairs), chain())
    flops, params = job.budgets
    assert (flops.cost.name, params.cost.name) == ("flops", "params")
    assert params.cost.dense == sum(parameter.numel() for parameter in job.model.parameters())
    assert (flops.limit, flops.ratio) == (flops.cost.dense / 2, 0.5)
    assert (params.limit, params.ratio) == (0.75 * params.cost.dense, 0.75)
    absolute = [
        ("model.input_size", SIZE),
        ("budget.flops", flops.cost.dense - 1),
        ("budget.params", "0.2K"),
    ]
    flops, params = prepare(read_recipe(None, absolute), chain()).budgets
    assert (flops.limit, params.limit) == (flops.cost.dense - 1, 200)


def test_floors_and_multiples_reach_the_task():
    pairs = [("model.input_size", SIZE), HALF, ("budget.min_width", 2), ("budget.round_to", 2)]
    limits = prepare(
        read_recipe(None, [*pairs, ("budget.max_sparsity", {"conv2": 0.4})]), chain()
    ).limits
    assert limits == Limits(2, floors={"conv1": 2, "conv2": 3})


def test_no_budget_is_refused_before_anything_is_read():
    with pytest.raises(BudgetError, match="--flops"):
        prepare(read_recipe(None, [("model.checkpoint", "missing.pth"), ("data.path", "missing")]))


# What has to fit together


def test_a_module_and_data_that_fit():
    data = pictures()
    job = prepare(read_recipe(None, [HALF]), chain().float(), data)
    assert job.identity == Identity("", 3, zoo.SIZE)
    assert job.task.data is data


@pytest.mark.parametrize(
    ("data", "arch", "found"),
    [
        (pictures(side=8), "", r"images are \(3, 8, 8\), but the network takes \(3, 6, 6\)"),
        (pictures(channels=1), "", r"images are \(1, 6, 6\), but the network takes \(3, 6, 6\)"),
        (pictures(classes=4), "chain", "4 classes, but the network has 3 outputs"),
        (pictures(classes=2), "chain", "2 classes, but the network has 3 outputs"),
    ],
)
def test_data_that_is_not_the_networks_is_refused(data, arch, found):
    with pytest.raises(DataError, match=found) as error:
        prepare(read_recipe(None, [HALF]), chain(), data, Identity(arch, 3, zoo.SIZE))
    assert error.value.where == "pictures"


def test_a_module_without_a_size_is_refused():
    with pytest.raises(ModelError, match=r"input_size=\(channels, height, width\)"):
        prepare(read_recipe(None, [HALF]), chain())


def test_a_recipes_size_comes_before_that_of_the_data():
    with pytest.raises(DataError, match=r"the network takes \(3, 12, 12\)"):
        prepare(read_recipe(None, [HALF, ("model.input_size", [3, 12, 12])]), chain(), pictures())


# What the recipe's sections name


def test_no_data_is_no_error():
    assert load_data(DataSection()) is None


@pytest.mark.parametrize("section", [{"name": "digits"}, {"path": "digits"}])
def test_data_come_by_name_or_by_place(section):
    data = load_data(DataSection(**section, size=8, mean=(0.25,), std=(0.5,), augment="crop"))
    assert (data.name, data.input_size, data.mean, data.std) == (
        "digits",
        (1, 8, 8),
        (0.25,),
        (0.5,),
    )
    assert data.augment == "crop"


def test_a_network_comes_from_its_checkpoint(tmp_path):
    """Its own size is the recipe's, the data's, or what the architecture is for, in this order."""
    torch.manual_seed(0)
    wanted = build("cifar_resnet8", num_classes=4, in_channels=1)
    path = str(tmp_path / "net.safetensors")
    save_weights(tmp_path / "net.safetensors", wanted, {})
    for section, data, size in (
        (ModelSection(checkpoint=path), None, (1, 32, 32)),
        (ModelSection(checkpoint=path, arch="cifar_resnet8"), pictures(8, 1, 4), (1, 8, 8)),
        (ModelSection(checkpoint=path, input_size=(1, 20, 20)), pictures(8, 1, 4), (1, 20, 20)),
    ):
        source = load_model(section, data)
        model, identity = source.network, source.identity
        assert identity == Identity("cifar_resnet8", 4, size)
        assert not model.training
        assert all(
            torch.equal(tensor, model.state_dict()[name])
            for name, tensor in wanted.state_dict().items()
        )
