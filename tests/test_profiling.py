"""Profiling: the statistics on samples made up, the turns on a clock made up, and one short real
profile.
"""

import json
import math
import tracemalloc
from collections import Counter
from dataclasses import replace
from itertools import groupby, product
from pathlib import Path
from types import MappingProxyType

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from slimmer.errors import ExportError, RecipeError, RuntimeUnavailableError
from slimmer.exporting.onnx_file import beside
from slimmer.profiling import statistics
from slimmer.profiling.means import Means
from slimmer.profiling.measure import measure
from slimmer.profiling.profile_networks import Conditions, Effort, Network, profile
from slimmer.profiling.turns import LEAD_IN_NS

MS = 1_000_000
durations = st.floats(0.01, 1000)
# No deadline: other work on the machine must not fail a test.
ONE = Effort(0, 1, 1)
quick = settings(max_examples=50, deadline=None)
sample_lists = st.lists(durations, min_size=1, max_size=40)


IDLE = {"cpu": "some", "usable_cores": 2, "load": 0.25}


class Clock:
    """Nanoseconds that pass only when a session runs."""

    def __init__(self):
        self.now = 0

    def __call__(self):
        return self.now


class FakeSession:
    """A session whose runs take what `length(runs so far, now)` says, in milliseconds."""

    name, provider = "fake", "FakeProvider"
    settings = MappingProxyType({"threads": "1"})

    def __init__(self, label, clock, length, log):
        self.label, self.clock, self.length, self.log = label, clock, length, log
        self.count, self.closed = 0, False

    def run(self, x):
        raise NotImplementedError

    def prepare(self, x):
        def once():
            self.log.append((self.label, len(x)))
            self.clock.now += round(self.length(self.count, self.clock.now) * MS)
            self.count += 1

        return once

    def copies(self, x):
        return {}

    def close(self):
        self.closed = True


def fake_profile(
    tmp_path,
    lengths,
    *,
    seconds=0.0,
    runs=20,
    blocks=5,
    precision=1.0,
    on_progress=None,
    flops=None,
    means=None,
    **conditions,
):
    """A profile of sessions with these lengths, and the log of runs."""
    clock, log, sessions = Clock(), [], []
    for name in lengths:
        (tmp_path / name).write_bytes(b"12345")

    def opener(network, runtime, threads):
        clock.now += 7 * MS
        session = FakeSession(network.name, clock, lengths[network.name], log)
        session.name = runtime
        sessions.append(session)
        return session

    made = Means(
        open=opener,
        clock=clock,
        layers=lambda path: (),
        about=lambda path: {} if flops is None else {"flops": str(flops[path.name])},
        gpu=lambda: None,
        machine=lambda: IDLE,
    )
    effort = Effort(seconds, runs, blocks, precision)
    asked = Conditions((1, 2, 2), effort, **({"batches": (1,), "threads": (1,)} | conditions))
    networks = [Network(name, tmp_path / name, module=object) for name in lengths]
    try:
        found = measure(networks, asked, replace(made, **(means or {})), on_progress)
    finally:
        assert all(session.closed for session in sessions)
    return found, log


def constant(ms):
    return lambda count, now: ms


def test_the_speedup_of_a_known_clock_is_exact(tmp_path):
    found, _ = fake_profile(
        tmp_path, {"dense": constant(10), "slim": constant(4), "same": constant(10)}, blocks=6
    )
    slim, same = found.comparisons
    assert (slim.model, slim.against) == ("slim", "dense")
    assert (slim.speedup, slim.low, slim.high, slim.verdict) == (2.5, 2.5, 2.5, "faster")
    assert (slim.by, slim.undisturbed, slim.cpu) == ("wall time", None, None)
    assert (same.speedup, same.verdict) == (1, "no measurable difference")
    assert [timing.median_ms for timing in found.timings] == [10, 4, 10]
    assert [timing.images_per_s for timing in found.timings] == [100, 250, 100]
    assert [timing.block_medians_ms for timing in found.timings][1] == (4, 4, 4, 4, 4, 4)
    assert all(subject.session_ms == 7 and subject.size_bytes == 5 for subject in found.subjects)
    assert [one.efficiency for one in found.comparisons] == [None, None]


def test_flops_promise_nothing_between_files_of_two_precisions(tmp_path):
    lengths = {"dense": constant(10), "slim": constant(4), "int8": constant(2)}
    about = {
        name: {"flops": "100" if name == "dense" else "50", "precision": "fp32"} for name in lengths
    }
    about["int8"]["precision"] = "int8, QDQ, static, weights per channel"
    found, _ = fake_profile(tmp_path, lengths, means={"about": lambda path: about[path.name]})
    assert [(one.promise, one.efficiency) for one in found.comparisons] == [(2, 1.25), (None, None)]
    assert [one.precision for one in found.subjects] == [
        about[name]["precision"] for name in lengths
    ]


def test_weights_in_a_file_beside_count_as_the_networks_own(tmp_path):
    alone, _ = fake_profile(tmp_path, {"net.onnx": constant(1)})
    beside(tmp_path / "net.onnx").write_bytes(b"weights")
    found, _ = fake_profile(tmp_path, {"net.onnx": constant(1)})
    assert (alone.subjects[0].size_bytes, found.subjects[0].size_bytes) == (5, 12)
    assert alone.subjects[0].sha256 != found.subjects[0].sha256


def test_a_warm_up_lasts_as_long_as_a_block(tmp_path):
    _, log = fake_profile(tmp_path, {"a": constant(100)}, seconds=1.0, runs=1, blocks=1)
    # the first run, five fifths of a block, the block's five turns of a lead-in and two
    assert len(log) == 1 + 5 * 2 + 5 * (1 + 2)


def test_the_networks_take_turns_and_their_order_changes(tmp_path):
    _, log = fake_profile(tmp_path, {"a": constant(10), "b": constant(10)}, blocks=2)
    turns = [name for name, _ in groupby(name for name, _ in log)]
    # the warm-ups; then of each block two turns of ten runs, a b b a | b a a b, where what meets is
    # one turn
    assert turns == ["a", "b", "a", "b", "a", "b", "a", "b"]
    runs = Counter(name for name, _ in log)
    assert runs["a"] == runs["b"]


def test_a_block_ends_for_each_network_when_it_has_enough(tmp_path):
    found, log = fake_profile(
        tmp_path, {"slow": constant(300), "quick": constant(1)}, runs=3, seconds=0.5, blocks=2
    )
    assert [one.samples for one in found.timings] == [2 * 3, 2 * 500]
    # the second block: quick, slow | slow, quick | quick alone
    assert [name for name, _ in groupby(name for name, _ in log)][-3:] == ["quick", "slow", "quick"]


def test_runs_so_long_that_a_lead_in_changes_nothing_go_without(tmp_path):
    _, log = fake_profile(
        tmp_path, {"a": constant(2100), "b": constant(2000)}, seconds=0, runs=2, blocks=1
    )
    assert "".join(name for name, _ in log) == "a" * (1 + 5) + "b" * (1 + 5) + "abba"


def test_what_disturbs_the_runs_changes_the_medians_and_not_the_speedup(tmp_path):
    """A neighbour comes and goes every 0.7 s; then dense takes 1.5 times as long and slim, which
    computes less, 1.6.
    """

    def disturbed(ms, factor):
        return lambda count, now: ms * (factor if now // (700 * MS) % 4 else 1)

    found, _ = fake_profile(
        tmp_path, {"dense": disturbed(10, 1.5), "slim": disturbed(5, 1.6)}, seconds=1.0, blocks=11
    )
    [one] = found.comparisons
    assert (one.speedup, one.low, one.high) == (2, 2, 2)
    assert one.of_medians == pytest.approx(2 * 1.5 / 1.6)
    [note] = [note for note in found.notes if note.startswith("Something disturbed")]
    assert note.endswith(
        "differ: slim, batch 1, 1 thread, against dense, 1.88 by medians, 2.00 quoted."
    )


def test_each_batch_size_is_timed_on_its_own(tmp_path):
    found, log = fake_profile(tmp_path, {"a": constant(10)}, batches=(1, 8))
    assert [(timing.batch, timing.images_per_s) for timing in found.timings] == [(1, 100), (8, 800)]
    assert [batch for batch, _ in groupby(batch for _, batch in log)] == [1, 8]
    assert found.comparisons == ()


@pytest.mark.parametrize(
    ("seconds", "runs", "samples"), [(0.0, 20, 20), (0.5, 20, 50), (0.5, 100, 100), (0, 1, 1)]
)
def test_a_block_lasts_both_the_seconds_and_the_runs(seconds, runs, samples, tmp_path):
    found, _ = fake_profile(tmp_path, {"a": constant(10)}, seconds=seconds, runs=runs, blocks=3)
    assert found.timings[0].samples == 3 * samples


def test_a_machine_that_slows_down_changes_the_times_and_not_the_speedup(tmp_path):
    def slowing(ms):
        return lambda count, now: ms * (1 + now / (4000 * MS))

    found, _ = fake_profile(tmp_path, {"dense": slowing(10), "slim": slowing(5)}, blocks=6, runs=10)
    assert found.comparisons[0].speedup == pytest.approx(2, rel=0.03)
    assert found.comparisons[0].low <= 2 <= found.comparisons[0].high
    assert found.timings[0].drift > 0.1
    assert found.timings[0].drift_verdict == "drifting"
    assert any("drifting" in note for note in found.notes)


def test_more_blocks_are_timed_until_the_interval_is_narrow_and_four_times_as_many_at_most(
    tmp_path,
):
    draw = np.random.default_rng(0)

    def wandering(ms):
        return lambda count, now: ms * draw.uniform(0.8, 1.2)

    heard = []
    asked = {"runs": 10, "on_progress": lambda *step: heard.append(step)}
    for precision, length, blocks in (
        (0.001, constant(5), 6),
        (0.001, wandering(5), 24),
        (0.3, wandering(5), 6),
    ):
        lengths = {"dense": length, "slim": constant(4)}
        found, _ = fake_profile(tmp_path, lengths, precision=precision, blocks=6, **asked)
        assert [len(timing.block_medians_ms) for timing in found.timings] == [blocks] * 2
        assert [heard[-1][0], heard[-1][2]] == [heard[-1][1], "done"]
        assert any(note.startswith("Intervals still wider than ±0.1%") for note in found.notes) == (
            blocks == 24
        )
    found, _ = fake_profile(tmp_path, {"dense": wandering(5)}, precision=0.001, **asked)
    assert len(found.timings[0].block_medians_ms) == 5  # nothing is compared


def test_the_first_run_is_reported_and_is_no_sample(tmp_path):
    found, _ = fake_profile(tmp_path, {"a": lambda count, now: 500 if count == 0 else 2})
    assert (found.timings[0].first_run_ms, found.timings[0].max_ms) == (500, 2)


def test_the_warm_up_goes_on_until_durations_agree(tmp_path):
    warming = {"a": lambda count, now: 10 + 90 * 0.8**count}
    found, _ = fake_profile(tmp_path, warming)
    assert found.timings[0].settled
    assert found.timings[0].max_ms < 10.5
    restless = {"b": lambda count, now: 10 + count}
    found, _ = fake_profile(tmp_path, restless)
    assert not found.timings[0].settled
    assert (
        "Run times were still changing when the warm-up ended: b, batch 1, 1 thread." in found.notes
    )


def test_a_turn_starts_with_unrecorded_runs(tmp_path):
    # The first runs after the other network's are slow, for as long as its threads go on spinning.
    state = {"last": None, "since": 0}

    def disturbed(name):
        def length(count, now):
            if state["last"] != name:
                state.update(last=name, since=now)
            return 9 if now - state["since"] < LEAD_IN_NS - 9 * MS else 3

        return length

    found, _ = fake_profile(tmp_path, {"a": disturbed("a"), "b": disturbed("b")})
    assert [timing.max_ms for timing in found.timings] == [3, 3]


def test_p99_needs_a_thousand_samples_and_its_absence_is_said(tmp_path):
    found, _ = fake_profile(tmp_path, {"a": constant(1)}, runs=199, blocks=5)
    assert found.timings[0].p99_ms is None
    assert found.notes == ("No p99 below 1000 samples (fewest: 995): a, batch 1, 1 thread.",)
    found, _ = fake_profile(tmp_path, {"a": constant(1)}, runs=200, blocks=5)
    assert found.timings[0].p99_ms == 1
    assert found.notes == ()


def test_progress_counts_up_to_the_steps_that_were_named(tmp_path):
    heard = []
    fake_profile(
        tmp_path,
        {"a": constant(1), "b": constant(1)},
        batches=(1, 2),
        blocks=3,
        on_progress=lambda *step: heard.append(step),
    )
    assert [done for done, _, _ in heard] == list(range(13))
    assert {total for _, total, _ in heard} == {12}
    assert heard[0][2] == "a: opening in onnxruntime"
    assert heard[-1][2] == "done"


def test_ctrl_c_closes_the_sessions(tmp_path):
    def interrupt(count, now):
        if count == 30:
            raise KeyboardInterrupt
        return 1

    with pytest.raises(KeyboardInterrupt):  # fake_profile asserts that they are closed
        fake_profile(tmp_path, {"a": constant(1), "b": interrupt})


@pytest.mark.parametrize(("blocks", "told"), [(1, "1 block"), (3, "3 blocks"), (5, "5 blocks")])
def test_fewer_than_six_blocks_claim_no_interval(blocks, told, tmp_path):
    found, _ = fake_profile(
        tmp_path, {"a": constant(1), "b": constant(2)}, runs=1000, blocks=blocks
    )
    [one] = found.comparisons
    assert (one.speedup, one.low, one.high, one.verdict) == (0.5, None, None, "no interval")
    assert found.notes == (
        (
            f"{told}: too few for an interval. Below 6 blocks, an interval contains the true "
            "speedup less than 95 times in 100."
        ),
    )


@pytest.mark.parametrize(("blocks", "taken"), [(1, 1), (2, 6), (3, 6), (6, 6)])
def test_a_short_effort_goes_on_until_it_can_have_an_interval_where_it_can(blocks, taken, tmp_path):
    found, _ = fake_profile(
        tmp_path, {"a": constant(2), "b": constant(1)}, blocks=blocks, precision=0.015
    )
    assert {len(timing.block_medians_ms) for timing in found.timings} == {taken}
    assert (found.comparisons[0].low is None) == (taken < 6)


def test_what_a_timed_session_left_to_the_cpu_is_said_where_nothing_was_traced(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(FakeSession, "settings", {"nodes.CPUExecutionProvider": "3"})
    found, _ = fake_profile(tmp_path, {"a": constant(1)}, runs=1000, provider="cuda")
    assert found.notes == (
        "GPU clocks were read, not locked.",
        "a: 3 nodes run on the CPU.",
    )


@pytest.mark.parametrize(
    "wrong",
    [
        {"effort": {"runs": 0}},
        {"effort": {"blocks": 0}},
        {"effort": {"seconds": -1}},
        {"effort": {"seconds": float("nan")}},
        {"effort": {"precision": float("nan")}},
        {"effort": {"precision": 0}},
        {"batches": ()},
        {"batches": (1, 0)},
        {"batches": (4, 4)},
        {"threads": (0,)},
        {"threads": ()},
        {"threads": (2, 2)},
        {"runtimes": ("tensorflow",)},
        {"runtimes": ()},
        {"input_size": (1, 0, 2)},
    ],
)
def test_a_number_or_a_name_that_makes_no_sense_is_refused(wrong):
    effort = {"seconds": 0, "runs": 1, "blocks": 1} | wrong.pop("effort", {})
    with pytest.raises(RecipeError):
        Conditions(**{"input_size": (1, 2, 2), "effort": Effort(**effort)} | wrong)


def test_one_per_core_may_be_among_the_thread_counts():
    assert Conditions((1, 2, 2), ONE, threads=(None, 1)).threads == (None, 1)


def test_networks_need_a_name_of_their_own(net):
    for networks in ([], [Network("a", net), Network("a", net)]):
        with pytest.raises(RecipeError, match="profile models"):
            profile(networks, Conditions((1, 2, 2), ONE))


@pytest.fixture
def net(tmp_path):
    """A network made by hand: images (batch, 1, 2, 2) flattened, times a matrix."""
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [
            helper.make_node("Flatten", ["input"], ["flat"]),
            helper.make_node("MatMul", ["flat", "weight"], ["logits"]),
        ],
        "net",
        [value("input", TensorProto.FLOAT, ["batch", 1, 2, 2])],
        [value("logits", TensorProto.FLOAT, ["batch", 3])],
        [numpy_helper.from_array(np.ones((4, 3), np.float32), "weight")],
    )
    path = tmp_path / "net.onnx"
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path
    )
    return path


def test_a_real_profile_survives_json_and_agrees_with_itself(net, capfd):
    asked = Conditions((1, 2, 2), Effort(0.02, 20, 3), batches=(1, 3), threads=(1,))
    found = profile([Network("dense", net), Network("slim", net)], asked)
    plain = found.to_dict()
    assert json.loads(json.dumps(plain)) == plain
    assert plain["provider"] == "CPUExecutionProvider"
    assert plain["conditions"]["provider"] == "cpu"
    assert plain["conditions"]["input_size"] == [1, 2, 2]
    assert plain["subjects"][0]["sha256"] == plain["subjects"][1]["sha256"]
    assert plain["date_utc"].endswith("+00:00")
    assert plain["environment"]["cores"]
    assert [(timing["model"], timing["batch"]) for timing in plain["timings"]] == [
        ("dense", 1),
        ("slim", 1),
        ("dense", 3),
        ("slim", 3),
    ]
    for timing in found.timings:
        assert timing.samples >= 60
        assert (
            0
            < timing.min_ms
            <= timing.p5_ms
            <= timing.p50_ms
            <= timing.p90_ms
            <= timing.p95_ms
            <= timing.max_ms
        )
        assert min(timing.block_medians_ms) <= timing.median_ms <= max(timing.block_medians_ms)
    assert capfd.readouterr() == ("", "")


def test_a_file_that_can_not_be_profiled_is_an_error_before_anything_is_timed(net, tmp_path):
    with pytest.raises(ExportError, match=r"none\.onnx"):
        profile(
            [Network("a", net), Network("b", tmp_path / "none.onnx")], Conditions((1, 2, 2), ONE)
        )
    with pytest.raises(ExportError, match=r"\(1, 1, 3, 3\)"):
        profile([Network("a", net)], Conditions((1, 3, 3), ONE))
    with pytest.raises(RuntimeUnavailableError):
        profile([Network("a", net)], Conditions((1, 2, 2), ONE, provider="gpu"))
    with pytest.raises(RuntimeUnavailableError, match=r"net\.onnx is not a PyTorch network"):
        profile([Network("a", net)], Conditions((1, 2, 2), ONE, runtimes=("onnxruntime", "torch")))


def brute_force_percentiles(samples, share):
    """The percentile of every sample drawn with replacement, with its probability."""
    size = len(samples)
    counts = Counter(float(np.percentile(drawn, share)) for drawn in product(samples, repeat=size))
    return {value: count / size**size for value, count in counts.items()}


@pytest.mark.parametrize("share", [5, 50, 100])
@pytest.mark.parametrize(
    "samples", [[3.0], [1.0, 2.0], [5.0, 1.0, 2.0], [1.0, 7.0, 2.0, 4.0], [1, 2, 3, 4, 5]]
)
def test_resampled_percentiles_follow_the_distribution_found_by_enumeration(samples, share):
    times = 40_000
    found = statistics._resampled(np.array(samples, float), share, times, np.random.default_rng(0))
    expected = brute_force_percentiles(samples, share)
    near = np.isclose(found[:, None], list(expected), rtol=1e-12)
    assert (near.sum(axis=1) == 1).all()
    for frequency, probability in zip(near.mean(axis=0), expected.values(), strict=True):
        deviation = np.sqrt(probability * (1 - probability) / times)
        assert abs(frequency - probability) <= 5 * deviation + 1e-12


def brute_force_interval(reference, other, draw, times):
    """The two-level bootstrap written down as it is told, sample by sample."""
    found = []
    for _ in range(times):
        ratios = [
            tuple(
                np.percentile(draw.choice(each[block], len(each[block])), 5)
                for each in (reference, other)
            )
            for block in draw.integers(len(reference), size=len(reference))
        ]
        quietest = sorted(ratios, key=np.prod)[: math.ceil(len(ratios) / 4)]
        found.append(np.median([before / after for before, after in quietest]))
    tail = 100 * statistics.tail_of(len(reference))
    return np.percentile(found, [tail, 100 - tail])


def test_the_interval_is_that_of_a_bootstrap_done_naively():
    draw = np.random.default_rng(3)
    drift = draw.uniform(0.8, 1.2, 9)
    reference = [drift[i] * draw.gamma(90, 1, 31) for i in range(9)]
    other = [drift[i] * draw.gamma(90, 0.5, 31) for i in range(9)]
    found = statistics.speedup_interval(reference, other, seed=0)
    expected = brute_force_interval(reference, other, draw, 3000)
    np.testing.assert_allclose(found, expected, rtol=0.03)


def simulated(draw, scale, wobble):
    return [scale * each * draw.gamma(25, 1 / 25, 60) for each in wobble]


@pytest.mark.parametrize("blocks", [7, 11])
@pytest.mark.parametrize("own", [0.0, 0.05])
def test_the_interval_holds_the_truth_nearly_always_and_equal_networks_are_called_equal(
    blocks, own
):
    """`own` is by how much a network's speed wanders alone from block to block, which bounds what
    can be known.
    """
    draw = np.random.default_rng(0)
    held = equal = 0
    for seed in range(100):
        wobble = draw.uniform(0.7, 1.3, blocks)  # a machine whose speed wanders from block to block
        dense, slim, twin = (
            simulated(draw, scale, wobble * np.exp(own * draw.standard_normal(blocks)))
            for scale in (1.0, 0.5, 1.0)
        )
        low, high = statistics.speedup_interval(dense, slim, seed=seed)
        held += low <= 2 <= high
        bounds = statistics.speedup_interval(dense, twin, seed=seed)
        equal += statistics.speedup_verdict(*bounds) == "no measurable difference"
    assert held >= 93
    assert equal >= 93


def test_the_fewer_blocks_the_more_of_the_draws_an_interval_takes_in():
    tails = [statistics.tail_of(blocks) for blocks in (2, 3, 5, 11, 101, 10_001)]
    assert tails == sorted(tails)
    assert tails[-1] == pytest.approx(0.005, rel=2e-3)


def test_hundreds_of_blocks_take_little_memory():
    blocks = [np.array([1.0, 2.0])] * 300
    tracemalloc.start()
    assert statistics.speedup_interval(blocks, blocks, seed=0)[0] <= 1
    assert tracemalloc.get_traced_memory()[1] < 200e6
    tracemalloc.stop()


def test_of_the_network_with_more_runs_those_beside_the_others_count():
    """Each block begins under a neighbour that makes both half as slow again, and ends without
    it.
    """
    dense, slim = ([np.repeat([1.5 * ms, ms], runs)] * 11 for ms, runs in ((10.0, 50), (5.0, 100)))
    assert statistics.speedup(dense, slim) == 2
    assert statistics.speedup_interval(dense, slim, seed=0) == (2, 2)


@quick
@given(
    st.lists(sample_lists, min_size=1, max_size=6),
    st.sampled_from([0.125, 0.5, 2, 8]),
    st.integers(0, 5),
)
def test_a_network_scaled_by_a_factor_has_that_speedup_and_the_interval_scales(
    blocks, factor, seed
):
    reference = [np.array(block) for block in blocks]
    other = [block / factor for block in reference]
    assert statistics.speedup(reference, other) == pytest.approx(factor)
    assert statistics.speedup_of_medians(reference, other) == pytest.approx(factor)
    low, high = statistics.speedup_interval(reference, reference, seed=seed)
    scaled = statistics.speedup_interval(reference, other, seed=seed)
    assert low <= high
    assert scaled == pytest.approx((low * factor, high * factor))
    assert statistics.speedup_interval(reference, other, seed=seed) == scaled


@quick
@given(sample_lists, st.integers(0, 100))
def test_a_percentile_has_its_share_of_samples_below(values, share):
    samples = np.array(values)
    found = statistics.percentile(samples, share)
    assert samples.min() <= found <= samples.max()
    ordered = sorted(values)
    rank = share / 100 * (len(values) - 1)
    below, above = ordered[int(rank)], ordered[min(int(rank) + 1, len(values) - 1)]
    assert min(below, above) * (1 - 1e-9) <= found <= max(below, above) * (1 + 1e-9)


@quick
@given(st.lists(sample_lists, min_size=1, max_size=5))
def test_one_disturbed_block_of_three_does_not_move_the_median_of_medians(blocks):
    quiet = [np.array(block) for block in blocks]
    median = statistics.median_of_medians([quiet[0]] * 2 + [1000 * quiet[0]])
    assert median == pytest.approx(np.median(quiet[0]))


@quick
@given(sample_lists.filter(lambda values: len(values) >= 3))
def test_windows_are_the_medians_of_the_thirds(values):
    samples = np.array(values)
    assert statistics.windows(samples) == tuple(
        np.median(part) for part in np.array_split(samples, 3)
    )


@pytest.mark.parametrize(
    ("change", "verdict"),
    [
        (0, "steady"),
        (0.029, "steady"),
        (0.05, "slight drift"),
        (0.1, "drifting"),
        (0.4, "drifting"),
    ],
)
def test_drift_is_steady_up_to_three_percent_and_drifting_from_ten(change, verdict):
    assert statistics.drift_verdict([1.0, 1.0 + change, 1.0]) == verdict


def test_a_bump_in_the_middle_is_no_steady_run():
    samples = np.repeat([10.0, 12.0, 10.0], 20)
    assert statistics.windows(samples) == (10, 12, 10)
    assert statistics.spread(statistics.windows(samples)) == pytest.approx(0.2)
    assert statistics.drift_verdict(statistics.windows(samples)) == "drifting"


def test_of_too_few_samples_no_drift_is_known():
    assert statistics.drift_verdict(statistics.windows(np.array([1.0, 9.0]))) == "not known"


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (1.2, 1.4, "faster"),
        (0.7, 0.9, "slower"),
        (0.9, 1.1, "no measurable difference"),
        (1.0, 1.2, "no measurable difference"),
    ],
)
def test_a_speedup_is_one_only_where_its_interval_leaves_out_1(low, high, verdict):
    assert statistics.speedup_verdict(low, high) == verdict


def test_variation_is_deviation_over_mean():
    assert statistics.variation(np.array([1.0, 3.0])) == 0.5


def test_profiling_writes_nothing(net, tmp_path):
    before = sorted(tmp_path.iterdir())
    profile([Network("a", net)], Conditions((1, 2, 2), ONE, batches=(1,), threads=(1,)))
    assert sorted(tmp_path.iterdir()) == before == [Path(net)]
