"""A busy machine: what CPU time keeps wall time from saying, on a clock made up and on this
machine's own.
"""

import hashlib
import os
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from test_profiling import Clock, fake_profile
from test_runtimes import write

from slimmer.profiling import clocks
from slimmer.profiling.clocks import cpu_clock, waited_for_a_core
from slimmer.profiling.results import Ratio
from slimmer.profiling.runtimes.onnxruntime import open_session
from slimmer.profiling.summary import is_undisturbed, to_quote

MS = 1_000_000
SLICE, AWAY = 4 * MS, 6 * MS  # a scheduler's: so long a process runs, and then others do


class Scheduler:
    """A core that a process has for a slice and then leaves to others; `cpu` passes only while it
    computes.
    """

    def __init__(self, *, alone):
        self.cpu_now, self.left, self.alone = 0, SLICE, alone

    def cpu(self):
        return self.cpu_now

    def compute(self, ns):
        """The wall time that so much CPU time takes."""
        self.cpu_now += ns
        away = 0
        while not self.alone and ns >= self.left:
            ns -= self.left
            self.left = SLICE
            away += AWAY
        self.left -= ns
        return away


def busy_machine(tmp_path, *, alone=False, threads=(1,), waited=None):
    """A profile of networks of 10 ms and 0.5 ms of CPU time, whose ratio is 20, where others want
    the core too.
    """
    scheduler = Scheduler(alone=alone)

    def length(ms):
        return lambda count, now: ms + scheduler.compute(round(ms * MS)) / MS

    passed = iter(range(10**9))
    means = {"cpu": lambda threads: scheduler.cpu}
    if waited is not None:
        means["waited"] = lambda: round(next(passed) * 50 * MS * waited)
    lengths = {"dense": length(10.0), "slim": length(0.5)}
    return fake_profile(tmp_path, lengths, seconds=0.2, blocks=8, means=means, threads=threads)[0]


def test_networks_of_a_ratio_of_20_are_not_said_to_be_30_times_as_fast(tmp_path):
    [one] = busy_machine(tmp_path).comparisons
    assert (
        one.wall.speedup > 30
    )  # what wall time says: every long run is interrupted, most short ones are not
    assert (one.speedup, one.low, one.high) == (
        pytest.approx(20),
        pytest.approx(20),
        pytest.approx(20),
    )
    assert (one.by, one.undisturbed, one.verdict) == ("CPU time", False, "faster")
    assert one.cpu.speedup == one.speedup


def test_alone_on_the_machine_wall_time_is_quoted_and_called_undisturbed(tmp_path):
    found = busy_machine(tmp_path, alone=True)
    [one] = found.comparisons
    assert (one.wall.speedup, one.cpu.speedup, one.speedup) == (20, 20, 20)
    assert (one.by, one.undisturbed) == ("wall time", True)
    assert [row.cpu_median_ms for row in found.timings] == [10, 0.5]


def test_the_share_of_the_promise_is_that_of_the_time_that_is_quoted(tmp_path):
    scheduler = Scheduler(alone=False)

    def length(ms):
        return lambda count, now: ms + scheduler.compute(round(ms * MS)) / MS

    lengths, flops = {"dense": length(10.0), "slim": length(0.5)}, {"dense": 4000, "slim": 100}
    means = {"cpu": lambda threads: scheduler.cpu}
    [one] = fake_profile(tmp_path, lengths, blocks=6, means=means, flops=flops)[0].comparisons
    assert one.efficiency == pytest.approx(20 / 40)


def test_blocks_are_added_until_the_interval_that_is_quoted_is_narrow(tmp_path):
    draw = np.random.default_rng(0)
    spent = Clock()

    def length(ms):
        def run(count, now):
            spent.now += round(ms * MS)
            return ms * draw.uniform(1, 30 if ms > 1 else 1.001)

        return run

    lengths = {"dense": length(10.0), "slim": length(1.0)}
    asked = {"runs": 5, "blocks": 6, "precision": 0.01}
    found, _ = fake_profile(tmp_path, lengths, means={"cpu": lambda threads: spent}, **asked)
    assert found.comparisons[0].by == "CPU time"
    assert {len(row.block_medians_ms) for row in found.timings} == {
        6
    }  # of wall time it would be wide for ever


FIVE, SIX, TEN = (Ratio(value, value, value) for value in (5.0, 6.0, 5.4))


@pytest.mark.parametrize(
    ("wall", "cpu", "threads", "waited", "verdict"),
    [
        (FIVE, FIVE, 1, None, True),
        (FIVE, TEN, 1, None, True),
        (TEN, FIVE, 1, None, True),
        (SIX, FIVE, 1, None, False),
        (FIVE, SIX, 1, 0.9, False),
        (FIVE, None, 1, None, None),
        # on several threads both times may be bent alike: only where none waited for a core is it
        # known
        (FIVE, FIVE, 2, 0.0, True),
        (FIVE, FIVE, 2, 0.7, False),
        (FIVE, FIVE, 2, None, None),
        (SIX, FIVE, 2, 0.0, None),
        (SIX, FIVE, None, 0.7, False),
        (SIX, FIVE, None, None, False),
    ],
)
def test_a_wall_time_is_undisturbed_where_cpu_time_agrees_and_no_thread_waited(
    wall, cpu, threads, waited, verdict
):
    assert is_undisturbed(wall, cpu, threads, waited) is verdict


def test_the_cpu_time_of_several_threads_on_a_busy_machine_has_no_interval():
    assert to_quote(SIX, FIVE, 2, undisturbed=False) == (Ratio(5.0, None, None), "CPU time")
    assert to_quote(SIX, FIVE, 1, undisturbed=False) == (FIVE, "CPU time")
    assert to_quote(SIX, FIVE, 2, undisturbed=None) == (SIX, "wall time")


@pytest.mark.parametrize("provider", ["cuda", "tensorrt", "OpenVINOExecutionProvider"])
def test_a_provider_that_may_compute_elsewhere_has_no_cpu_time(provider):
    assert cpu_clock(provider, 1) is None


def test_windows_whose_clock_moves_in_steps_has_no_cpu_time(monkeypatch):
    monkeypatch.setattr(clocks.sys, "platform", "win32")
    assert cpu_clock("cpu", 1) is None


@pytest.mark.skipif(sys.platform == "win32", reason="the clock moves in steps")
def test_one_thread_s_clock_leaves_out_what_other_threads_do_and_the_process_s_does_not():
    def work():
        end = time.thread_time() + 0.1
        while time.thread_time() < end:
            pass

    alone, together = cpu_clock("cpu", 1), cpu_clock("cpu", None)
    before = alone(), together()
    other = threading.Thread(target=work)
    other.start()
    other.join()
    spent = [
        (clock() - start) / 1e6 for clock, start in zip((alone, together), before, strict=True)
    ]
    assert spent[0] < 50
    assert spent[1] >= 99


@pytest.mark.skipif(not Path("/proc/self/schedstat").exists(), reason="only Linux tells")
def test_threads_that_want_the_same_core_are_seen_to_wait():
    cores, before = os.sched_getaffinity(0), waited_for_a_core()
    os.sched_setaffinity(0, {min(cores)})
    try:
        # hashing lets other threads go on meanwhile
        block = bytes(1 << 24)
        pair = [
            threading.Thread(target=lambda: [hashlib.sha256(block) for _ in range(8)])
            for _ in range(2)
        ]
        for thread in pair:
            thread.start()
        seen = 0
        while any(thread.is_alive() for thread in pair):
            seen = max(seen, (waited_for_a_core() or 0) - (before or 0))
            time.sleep(0.01)
    finally:
        os.sched_setaffinity(0, cores)
    assert seen > 10 * MS


def test_where_the_system_does_not_tell_it_is_not_known(monkeypatch, tmp_path):
    monkeypatch.setattr(clocks, "_TASKS", tmp_path / "none")
    assert waited_for_a_core() is None


def test_a_session_on_one_thread_runs_in_the_thread_that_calls_it(tmp_path):
    """Then that thread's CPU time is the network's: what the process spends beside it is next to
    nothing.
    """
    session = open_session(write(tmp_path / "net.onnx"), provider="cpu", threads=1)
    once = session.prepare(np.zeros((200_000, 1, 2, 2), np.float32))
    once()
    thread, process = time.thread_time(), time.process_time()
    for _ in range(20):
        once()
    thread, process = time.thread_time() - thread, time.process_time() - process
    assert thread > 0.9 * process
