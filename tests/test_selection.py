"""What is said of layers by pattern: what is kept stays whole, floors hold, and names that mean
nothing are refused.
"""

import pytest
import zoo
from hypothesis import given, settings
from hypothesis import strategies as st

from slimmer.errors import ModelError
from slimmer.pruning.layer_patterns import group_floors, is_named, keep_layers


@pytest.mark.parametrize(
    ("layer", "pattern", "named"),
    [
        ("conv1", "conv1", True),
        ("layer4.0.conv1", "layer4", True),
        ("layer4.0.conv1", "layer4.0", True),
        ("layer4.0.conv1", "layer?", True),
        ("layer4.0.conv1", "layer", False),
        ("layer4.0.conv1", "conv1", False),
        ("layer4.0.conv1", "*.conv1", True),
        ("conv1", "CONV1", False),
        ("conv1", "", False),
    ],
)
def test_a_pattern_names_layers_and_modules(layer, pattern, named):
    assert is_named(layer, pattern) is named


@pytest.mark.parametrize(
    ("name", "keep", "left", "reasons"),
    [
        ("Chain", ["conv1"], ["conv2"], {"conv1": "kept by 'conv1'"}),
        ("Chain", ["conv*"], [], {"conv1": "kept by 'conv*'", "conv2": "kept by 'conv*'"}),
        ("Chain", ["conv2", "conv?"], [], {"conv1": "kept by 'conv?'", "conv2": "kept by 'conv2'"}),
        ("Chain", ["fc"], ["conv1", "conv2"], {}),
        ("Chain", [], ["conv1", "conv2"], {}),
        ("Identity", ["conv1"], ["stem"], {"conv1": "kept by 'conv1'"}),
        (
            "Identity",
            ["stem"],
            ["conv1"],
            {"stem": "kept by 'stem'", "conv2": "tied to stem, kept by 'stem'"},
        ),
        (
            "Identity",
            ["*2"],
            ["conv1"],
            {"stem": "tied to conv2, kept by '*2'", "conv2": "kept by '*2'"},
        ),
    ],
)
def test_the_groups_of_kept_layers_stay_whole_and_are_listed_with_the_pattern(
    name, keep, left, reasons
):
    _, graph = zoo.traced(name)
    held = keep_layers(graph, keep)
    assert [group.name for group in held.groups] == left
    added = held.fixed[len(graph.fixed) :]
    assert {row.layer: row.reason for row in added} == reasons
    assert len(added) == len(reasons)
    widths = {layer.name: dict(graph.sizes)[layer.out_axis] for layer in graph.layers}
    assert all(row.channels == row.of == widths[row.layer] for row in added)
    assert held.fixed[: len(graph.fixed)] == graph.fixed


@pytest.mark.parametrize("keep", [["layer9.*"], ["conv1", "layer9.*"], ["bn1"], [""], ["CONV1"]])
def test_a_pattern_that_names_no_layer_is_refused(keep):
    with pytest.raises(ModelError, match="matches no layer") as error:
        keep_layers(zoo.traced("Chain")[1], keep)
    assert error.value.where == f"model.keep {keep[-1]!r}"


@pytest.mark.parametrize(
    ("name", "only", "left", "reasons"),
    [
        ("Chain", ["conv1"], ["conv1"], {"conv2": "not selected by 'conv1'"}),
        ("Chain", ["conv1", "conv2"], ["conv1", "conv2"], {}),
        ("Chain", ["*"], ["conv1", "conv2"], {}),
        ("Chain", ["fc"], [], {"conv1": "not selected by 'fc'", "conv2": "not selected by 'fc'"}),
        ("Chain", [], ["conv1", "conv2"], {}),
        (
            "Identity",
            ["conv1"],
            ["conv1"],
            {"stem": "not selected by 'conv1'", "conv2": "not selected by 'conv1'"},
        ),
        # conv2 alone can't be narrower: it is added to what stem makes
        (
            "Identity",
            ["conv?"],
            ["conv1"],
            {"stem": "not selected by 'conv?'", "conv2": "tied to stem, not selected by 'conv?'"},
        ),
    ],
)
def test_only_what_is_named_is_pruned_and_the_rest_is_listed(name, only, left, reasons):
    _, graph = zoo.traced(name)
    held = keep_layers(graph, [], only)
    assert [group.name for group in held.groups] == left
    added = held.fixed[len(graph.fixed) :]
    assert {row.layer: row.reason for row in added} == reasons


def test_what_is_kept_inside_of_what_is_named_stays():
    assert keep_layers(zoo.traced("Chain")[1], ["conv2"], ["conv?"]).groups[0].name == "conv1"


def test_a_name_that_means_nothing_is_refused_where_it_stands():
    _, graph = zoo.traced("Chain")
    for call, where in (
        (lambda: keep_layers(graph, [], ["conv1", "body"]), "model.only 'body'"),
        (lambda: group_floors(graph, {"body": 2}, 1.0), "budget.min_width 'body'"),
        (lambda: group_floors(graph, 1, {"body": 0.5}), "budget.max_sparsity 'body'"),
    ):
        with pytest.raises(ModelError, match="matches no layer") as error:
            call()
        assert error.value.where == where
    with pytest.raises(ModelError, match="matches only layers that can't be pruned"):
        group_floors(graph, {"fc": 2}, 1.0)


@pytest.mark.parametrize(
    ("min_width", "max_sparsity", "floors"),
    [  # conv1 has 4 channels, conv2 has 5
        (1, 1.0, [1, 1]),
        (3, 1.0, [3, 3]),
        (9, 1.0, [4, 5]),
        (1, 0.0, [4, 5]),
        (1, 0.5, [2, 3]),
        (1, 0.8, [1, 1]),
        ({"conv2": 3}, 1.0, [1, 3]),
        ({"*": 3, "conv1": 2}, 1.0, [2, 3]),
        (2, {"conv2": 0.2}, [2, 4]),
    ],
)
def test_floors_are_the_widest_that_is_asked_for(min_width, max_sparsity, floors):
    _, graph = zoo.traced("Chain")
    assert [group.size for group in graph.groups] == [4, 5]
    assert list(group_floors(graph, min_width, max_sparsity).values()) == floors


@settings(deadline=None)
@given(st.integers(0, 1000))
def test_no_more_than_the_largest_sparsity_goes(thousandths):
    _, graph = zoo.traced("resnet18")
    floors = group_floors(graph, 1, thousandths / 1000)
    for group in graph.groups:
        removed = group.size - floors[group.name]
        assert 1000 * removed <= thousandths * group.size or floors[group.name] == group.size
        one_more = removed + 1
        assert floors[group.name] == 1 or 1000 * one_more > thousandths * group.size
