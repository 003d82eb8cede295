"""The scripts about busy machines at toy size: what they load a machine with, what they count,
their arithmetic.
"""

import importlib
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from click.testing import CliRunner

from slimmer.profiling.profile_networks import Conditions, Effort

FOLDER = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture(scope="module")
def scripts():
    """The scripts as modules."""
    sys.path.insert(0, str(FOLDER))
    yield SimpleNamespace(**{name: importlib.import_module(name) for name in ("busy", "intervals")})
    sys.path.remove(str(FOLDER))


def test_a_chain_has_so_many_convolutions(scripts, tmp_path):
    graph = onnx.load(scripts.busy.chain(tmp_path / "net.onnx", 3)).graph
    assert [node.op_type for node in graph.node] == ["Conv", "Relu"] * 3


def test_busy_processes_end_with_the_block(scripts, monkeypatch):
    begun = []
    start = scripts.busy.subprocess.Popen
    monkeypatch.setattr(
        scripts.busy.subprocess, "Popen", lambda *words: begun.append(start(*words)) or begun[-1]
    )
    with scripts.busy.busy(2):
        assert [process.poll() for process in begun] == [None, None]
    assert all(process.returncode for process in begun)


def test_a_row_holds_both_times(scripts):
    asked = Conditions(
        (scripts.busy.CHANNELS, scripts.busy.SIDE, scripts.busy.SIDE), Effort(0, 1, 1), (1,)
    )
    [row] = scripts.busy.timed((2, 1), 0, asked)
    assert (row["layers"], row["wall"][1], row["cpu"][1]) == ([2, 1], None, None)
    assert "| 2 against 1 | None | 0 |" in scripts.busy.to_table([row])[2]


def series(ratios):
    return [np.array([2.0 * ratio]) for ratio in ratios], [np.array([1.0]) for _ in ratios]


def test_intervals_that_hold_the_truth_are_counted(scripts):
    found = scripts.intervals.coverage(2.0, lambda blocks: series([1.0] * blocks), 3)
    assert set(found["fixed"].values()) == set(found["begun"].values()) == {1.0}
    assert set(
        scripts.intervals.coverage(2.1, lambda blocks: series([1.0] * blocks), 3)["fixed"].values()
    ) == {0.0}


def test_a_profile_ends_where_its_interval_is_narrow_and_claims_none_of_few_blocks(scripts):
    assert scripts.intervals.protocol(lambda blocks: series([1.0] * blocks), 1, 0) is None
    assert scripts.intervals.protocol(lambda blocks: series([1.0] * blocks), 6, 0) == (2.0, 2.0)
    low, high = scripts.intervals.protocol(
        lambda blocks: series(np.linspace(0.5, 1.5, blocks)), 2, 0
    )
    assert low < high


def test_a_recorded_series_is_read_as_it_was_timed(scripts, tmp_path, monkeypatch):
    monkeypatch.setattr(scripts.intervals, "RECORDED", 10)
    monkeypatch.setattr(scripts.intervals, "SECONDS", 0.0)
    scripts.intervals.keep(tmp_path / "now.npz", 0)
    kept = np.load(tmp_path / "now.npz")
    long, short = scripts.intervals.series_of(kept, "cpu")
    assert [len(block) for block in long] == kept["long_runs"].tolist()
    assert len(long) == len(short) == 10
    assert np.concatenate(short).tolist() == kept["short_cpu"].tolist()
    assert [len(block) for block in scripts.intervals.together(long, 5)] == [
        sum(map(len, long[:5])),
        sum(map(len, long[5:])),
    ]


def test_the_table_of_intervals_that_is_kept_is_that_of_the_readme():
    rows = json.loads((FOLDER / "results" / "intervals.json").read_text())["rows"]
    text = (FOLDER / "README.md").read_text()
    for row in rows:
        shares = [
            f"{100 * share:.0f}" for share in (*row["fixed"].values(), *row["begun"].values())
        ]
        assert f"| {' | '.join([row['series'], *shares])} |" in text


def test_help_names_the_commands(scripts):
    for script in (scripts.busy, scripts.intervals):
        assert "python benchmarks/" in CliRunner().invoke(script.main, ["--help"]).output
