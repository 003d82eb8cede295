"""Plans: canonical bytes, a stable hash, and no other exception than RunError on what is no
plan.
"""

import hashlib
import json

import pytest
import zoo
from hypothesis import given, settings
from hypothesis import strategies as st

from slimmer.errors import RunError
from slimmer.graph import Axis, ChannelGraph, ChannelGroup, ChannelSlice
from slimmer.pruning.plan import Plan, _positions, _ranges, full_plan, make_plan

CALM = settings(deadline=None, derandomize=True, max_examples=60)


def small_plan():
    first = ChannelGroup(
        "stem",
        4,
        (
            ChannelSlice(Axis("stem.weight", 0), ((0,), (1,), (2,), (3,))),
            ChannelSlice(Axis("fc.weight", 1), ((0, 4), (1, 5), (2, 6), (3, 7))),
        ),
    )
    second = ChannelGroup("fc", 1, (ChannelSlice(Axis("fc.weight", 0), ((2,),)),))
    return Plan((first, second), ((0, 2, 3), (0,)))


TEXT = """{
 "format": 1,
 "groups": [
  {
   "keep": "0,2:4",
   "name": "stem",
   "size": 4,
   "slices": [
    [
     "stem.weight",
     0,
     1,
     "0:4"
    ],
    [
     "fc.weight",
     1,
     2,
     "0,4,1,5,2,6,3,7"
    ]
   ]
  },
  {
   "keep": "0",
   "name": "fc",
   "size": 1,
   "slices": [
    [
     "fc.weight",
     0,
     1,
     "2"
    ]
   ]
  }
 ]
}
"""


def test_the_bytes_of_a_plan_are_what_they_have_always_been():
    assert small_plan().to_json() == TEXT


def test_the_hash_of_a_plan_is_what_it_has_always_been():
    assert small_plan().hash == "511c1a1a00134acc"
    assert small_plan().hash == hashlib.sha256(TEXT.encode()).hexdigest()[:16]


def test_removed_positions_are_those_not_kept():
    assert small_plan().removed() == {Axis("stem.weight", 0): [1], Axis("fc.weight", 1): [1, 5]}
    assert small_plan().widths == [3, 1]


def test_plans_come_back_byte_for_byte(network):
    _, graph = zoo.traced(network)
    plans = [full_plan(graph), *zoo.random_plans(graph, 100 if network in zoo.PATTERNS else 3)]
    for plan in plans:
        text = plan.to_json()
        again = Plan.from_json(text)
        assert again == plan
        assert again.to_json() == text
    assert len({plan.hash for plan in plans}) == len({plan.keep for plan in plans})


@CALM
@given(st.lists(st.integers(0, 40)))
def test_ranges_hold_any_numbers_in_their_order(numbers):
    assert _positions(_ranges(numbers), len(numbers)) == numbers


@CALM
@given(st.sets(st.integers(0, 30)))
def test_ranges_are_as_short_as_they_can_be(numbers):
    written = _ranges(sorted(numbers))
    starts = [number for number in numbers if number - 1 not in numbers]
    assert len(written.split(",")) == max(len(starts), 1)


@st.composite
def plans(draw):
    groups, keep = [], []
    for number in range(draw(st.integers(0, 3))):
        size = draw(st.integers(1, 9))
        slices = []
        for axis in range(draw(st.integers(1, 3))):
            each = draw(st.integers(1, 3))
            flat = draw(st.permutations(range(size * each)))
            index = tuple(tuple(flat[unit * each : (unit + 1) * each]) for unit in range(size))
            slices.append(ChannelSlice(Axis(f"{number}{draw(st.text())}", axis), index))
        groups.append(ChannelGroup(f"{draw(st.text())}{number}", size, tuple(slices)))
        keep.append(tuple(sorted(draw(st.sets(st.integers(0, size - 1), min_size=1)))))
    return Plan(tuple(groups), tuple(keep))


@CALM
@given(plans())
def test_any_plan_comes_back_byte_for_byte(plan):
    again = Plan.from_json(plan.to_json())
    assert again == plan
    assert again.to_json() == plan.to_json()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (TEXT, ""),
        (TEXT, "[]"),
        (TEXT, "null"),
        (TEXT, "{}"),
        (TEXT, "[" * 200_000),
        (TEXT, TEXT[:-20]),
        ('"format": 1', '"format": 2'),
        ('"0,2:4"', '""'),
        ('"0,2:4"', '"0,2:5"'),
        ('"0,2:4"', '"2,0"'),
        ('"0,2:4"', '"0,0"'),
        ('"0,2:4"', '"-1"'),
        ('"0,2:4"', '"x"'),
        ('"0,2:4"', "5"),
        ('"0,2:4"', '"0:99999999999999"'),
        ('"size": 4', '"size": 3'),
        ('"size": 4', '"size": 0'),
        ('"size": 4', '"size": null'),
        ('"size": 4', '"size": 4.5'),
        ('"name": "stem"', '"name": 7'),
        ('"name": "stem"', '"nam": "stem"'),
        ('"stem.weight"', "7"),
        ('"0:4"', '"0:3"'),
        ('"0:4"', '"0:3,-1"'),
        ('"0:4"', '"0:3,2"'),
        ('"0:4"', "4"),
        ('"fc.weight",\n     1,\n     2', '"fc.weight",\n     1,\n     0'),
    ],
)
def test_what_is_no_plan_is_refused(old, new):
    broken = TEXT.replace(old, new, 1)
    assert broken != TEXT
    with pytest.raises(RunError) as caught:
        Plan.from_json(broken, where="runs/7/plan.json")
    assert caught.value.where == "runs/7/plan.json"
    assert len(str(caught.value)) < 1000


@CALM
@given(st.integers(0, len(TEXT) - 1), st.characters(codec="ascii"))
def test_one_wrong_character_is_refused_or_gives_another_plan(position, character):
    text = TEXT[:position] + character + TEXT[position + 1 :]
    try:
        plan = Plan.from_json(text)
    except RunError:
        return
    again = Plan.from_json(plan.to_json())
    assert again == plan


def graph_of(plan):
    return ChannelGraph(plan.groups, (), (), (), ())


def test_groups_that_are_not_named_stay_whole():
    graph = graph_of(small_plan())
    assert make_plan(graph, {"stem": {3, 0, 2}}) == small_plan()
    assert full_plan(graph).keep == ((0, 1, 2, 3), (0,))
    assert full_plan(graph).removed() == {}


@pytest.mark.parametrize("keep", [{"stem": []}, {"stem": [4]}, {"stem": [-1]}, {"stm": [0]}])
def test_plans_that_cannot_be_are_refused(keep):
    with pytest.raises(RunError):
        make_plan(graph_of(small_plan()), keep)


def test_the_text_is_plain_json():
    assert json.loads(TEXT)["groups"][0]["keep"] == "0,2:4"
