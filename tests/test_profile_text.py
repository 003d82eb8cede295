"""A profile in words: read off profiles of a made-up clock, whose figures are known."""

from dataclasses import replace

import pytest
from test_profiling import FakeSession, constant, fake_profile
from test_profiling_busy import busy_machine

from slimmer.profiling.runtimes.first_use import Fresh
from slimmer.profiling.runtimes.node_times import Trace
from slimmer.profiling.widths import Layer, multiple_of
from slimmer.reports.latency_tables import headline, parts

BOTH = ("onnxruntime", "torch")


def told(tmp_path, slim=4, **asked):
    """A profile of a dense network of 10 ms and a slim one, as data."""
    lengths = {"dense": constant(10), "slim": constant(slim)}
    return fake_profile(tmp_path, lengths, **({"runs": 10, "blocks": 6} | asked))[0].to_dict()


def table(found, title, **options):
    """The rows of the table with that title, each as a dictionary by its heads."""
    [part] = [
        part
        for part in parts(found, **({"every_layer": True} | options))
        if part.title.startswith(title)
    ]
    assert all(len(row) == len(part.heads) for row in part.rows)
    return [dict(zip(part.heads, row, strict=True)) for row in part.rows]


@pytest.mark.parametrize(
    ("slim", "verdict"),
    [
        (4, "slim is 2.50 times as fast as dense (95 %"),
        (20, "slim is 0.50 times as fast as dense (slower) (95 %"),
        (10, "slim has no measurable difference from dense: 1.00 times as fast (95 %"),
    ],
)
def test_the_headline_is_the_verdict(slim, verdict, tmp_path):
    [line] = headline(told(tmp_path, slim))
    assert line.startswith(f"batch 1: {verdict}")


def test_the_headline_holds_the_speed_up_against_what_the_flops_promise(tmp_path):
    [line] = headline(told(tmp_path, flops={"dense": 500, "slim": 100}))
    assert line.endswith("FLOPs reduced 5.00x, 50 % of that realised as speedup.")


def test_columns_that_say_the_same_in_every_row_are_left_out(tmp_path):
    assert set(table(told(tmp_path), "Latency")[0]) & {"runtime", "threads"} == set()
    found = told(tmp_path, threads=(1, None), runtimes=BOTH)
    rows = table(found, "Latency")
    assert [(row["runtime"], row["threads"], row["network"]) for row in rows] == [
        (runtime, threads, name)
        for threads in ("1", "per core")
        for runtime in BOTH
        for name in ("dense", "slim")
    ]
    assert [line.partition(": ")[0] for line in headline(found)] == [
        f"batch 1, {threads}, {runtime}"
        for threads in ("1 thread", "one thread per core")
        for runtime in BOTH
    ]


def test_runtimes_are_held_against_one_another_in_a_table_of_their_own(tmp_path):
    rows = table(told(tmp_path, runtimes=BOTH), "Runtimes")
    assert [(row["network"], row["runtime"], row["compared with"]) for row in rows] == [
        (name, "torch", "onnxruntime") for name in ("dense", "slim")
    ]


def test_figures_stand_where_their_heads_say(tmp_path, monkeypatch):
    monkeypatch.setattr(
        FakeSession, "copies", lambda self, x: {"to_device": lambda: None}, raising=True
    )
    dense, slim = table(told(tmp_path, batches=(8,)), "Runs")
    assert (dense["p5 ms"], slim["p50"], slim["p95"], slim["p99"]) == (
        "10.000",
        "4.000",
        "4.000",
        "",
    )
    assert (slim["runs"], slim["deviation"], slim["drift"]) == ("60", "0.0%", "0.0%, steady")
    assert slim["to the GPU ms"] == "0.000"
    dense, slim = table(told(tmp_path, batches=(8,)), "Latency")
    assert (slim["median ms"], slim["images/s"]) == ("4.000", "2000")


def test_first_use_has_the_memory_of_the_gpu_where_there_is_one(tmp_path):
    cost = Fresh(5.0, 2.5, 3_000_000, None)
    [row, _] = table(told(tmp_path, means={"fresh": lambda *_: cost}), "First use")
    assert (row["session ms"], row["first run ms"], row["memory MB"]) == ("5.0", "2.50", "3.00")
    assert "GPU MB" not in row
    on_gpu = replace(cost, device_bytes=7_000_000)
    assert (
        table(told(tmp_path, means={"fresh": lambda *_: on_gpu}), "First use")[0]["GPU MB"]
        == "7.00"
    )


def test_a_first_use_that_is_not_known_is_said(tmp_path):
    found = told(tmp_path, means={"fresh": lambda *_: None})
    assert not [
        part for part in parts(found, every_layer=False) if part.title.startswith("First use")
    ]
    [note] = [note for note in found["notes"] if "first use" in note]
    assert note.endswith("failed or took too long: dense, batch 1; slim, batch 1.")


def test_where_time_goes_names_what_takes_a_hundredth_and_adds_up_the_rest(tmp_path):
    shares = {"Conv": 0.97, "Add": 0.021, "Pad": 0.005, "Relu": 0.004}
    rows = table(
        told(tmp_path, means={"trace": lambda *_: Trace({}, (), (), shares)}), "Where time goes"
    )
    assert [(row["operation"], row["slim"]) for row in rows] == [
        ("Conv", "97.0%, 3.880 ms (2.50x)"),
        ("Add", "2.1%, 0.084 ms (2.50x)"),
        ("others", "0.9%, 0.036 ms (2.50x)"),
    ]


def test_nodes_that_left_the_provider_are_named(tmp_path):
    trace = Trace({"FakeProvider": 5, "CPUExecutionProvider": 1}, ("shape (NonZero)",), (), {})
    [row, _] = table(told(tmp_path, means={"trace": lambda *_: trace}), "Where nodes run")
    assert row["nodes"] == "FakeProvider 5, CPUExecutionProvider 1"
    assert (row["fell back to the CPU"], row["copies between devices"]) == (
        "shape (NonZero)",
        "none",
    )


def test_widths_are_counted_and_listed_and_the_output_is_left_out(tmp_path):
    widths = {"dense": {"a": 64, "b": 48, "fc": 10}, "slim": {"a": 32, "b": 13, "fc": 10}}

    def layers(path):
        made = widths[path.name].items()
        return tuple(
            Layer(name, "Conv", width, 3, 1, multiple_of(width), output=name == "fc")
            for name, width in made
        )

    found = told(tmp_path, means={"layers": layers})
    counted = [tuple(row.values()) for row in table(found, "Widths")]
    assert counted == [("dense", "2", "0", "0", "1"), ("slim", "2", "1", "1", "1")]
    assert table(found, "Layers whose") == [
        {"layer": "b", "dense": "48 (16)", "slim": "13 (not a multiple of 8)"}
    ]
    assert not [
        part for part in parts(found, every_layer=False) if part.title.startswith("Layers whose")
    ]


def test_what_is_in_effect_on_a_gpu_is_said_whether_it_was_asked_for_or_not(tmp_path):
    found = told(tmp_path)
    cuda = {
        "threads": "1",
        "CUDAExecutionProvider.use_tf32": "1",
        "CUDAExecutionProvider.device_id": "0",
    }
    found["subjects"][0]["settings"] = cuda
    [line] = [
        text
        for part in parts(found, every_layer=False)
        for text in part.says
        if text.startswith("In effect")
    ]
    assert line == "In effect in onnxruntime: use_tf32 1."
    found["environment"]["gpu"] = "A GPU"
    for cpu in ("CPUExecutionProvider", "cpu"):
        found["provider"] = cpu
        said = [text for part in parts(found, every_layer=False) for text in part.says]
        assert not [text for text in said if text.startswith(("In effect", "A GPU"))]


def test_options_that_were_set_are_said_and_defaults_are_not(tmp_path):
    def said(**conditions):
        found = told(tmp_path)
        found["conditions"]["options"] |= conditions
        return [
            text
            for part in parts(found, every_layer=False)
            for text in part.says
            if text.startswith("Options")
        ]

    assert said() == []
    assert said(tf32=False, cuda_graph=True) == [
        "Options (ONNX Runtime only): cuda_graph True, tf32 False."
    ]


@pytest.mark.parametrize(
    ("provider", "where"),
    [
        ("CPUExecutionProvider", "already on the device."),
        ("TensorrtExecutionProvider", "already on the device."),
        ("cuda", "already on the device."),
        ("DmlExecutionProvider", "in CPU memory: copies are timed too."),
    ],
)
def test_where_images_lie_is_said_as_it_is(tmp_path, provider, where):
    found = told(tmp_path) | {"provider": provider}
    said = [text for part in parts(found, every_layer=False) for text in part.says]
    assert any(text.endswith(where) for text in said)


def test_a_third_network_is_held_against_the_second_too(tmp_path):
    lengths = {"dense": constant(10), "slim": constant(5), "rounded": constant(4)}
    found = fake_profile(
        tmp_path, lengths, flops={"dense": 100, "slim": 50, "rounded": 50}, batches=(1, 8), blocks=6
    )[0].to_dict()
    assert [(one["model"], one["against"], one["batch"]) for one in found["among"]] == [
        ("rounded", "slim", 1),
        ("rounded", "slim", 8),
    ]
    assert (
        "rounded is 1.25 times as fast as slim (95 % interval 1.25 to 1.25)" in headline(found)[-1]
    )
    speedups = {row["network"]: row["speedup (95 % interval)"] for row in table(found, "Latency")}
    assert speedups["rounded"].startswith("2.50")  # against dense


def words(found):
    """All that a profile says."""
    cells = [
        cell
        for part in parts(found, every_layer=True)
        for row in (part.heads, *part.rows)
        for cell in row
    ]
    return [
        *headline(found),
        *cells,
        *(text for part in parts(found, every_layer=True) for text in part.says),
    ]


def test_fewer_than_six_blocks_give_a_figure_and_no_interval(tmp_path):
    found = told(tmp_path, blocks=1)
    assert headline(found) == [
        "batch 1: slim is 2.50 times as fast as dense (1 block, too few for an interval)."
    ]
    assert table(found, "Latency")[1]["speedup (95 % interval)"] == "2.50"
    assert any(
        text.startswith("1 block; in each block the networks take turns") for text in words(found)
    )
    [line] = headline(told(tmp_path, blocks=3))
    assert "3 blocks, too few for an interval" in line


def test_undisturbed_is_said_only_where_wall_time_and_cpu_time_agree(tmp_path):
    calm = busy_machine(tmp_path, alone=True).to_dict()
    assert headline(calm)[0].endswith("(95 % interval 20.00 to 20.00), undisturbed.")
    assert (
        table(calm, "Latency")[1]["speedup (95 % interval)"]
        == "20.00 (20.00 to 20.00), undisturbed"
    )
    assert table(calm, "Latency")[1]["by CPU time"] == "20.00 (20.00 to 20.00)"
    for found in (busy_machine(tmp_path).to_dict(), told(tmp_path)):
        assert not [text for text in words(found) if "undisturbed" in text]


def test_a_busy_machine_is_said_first_and_the_speed_up_is_that_of_cpu_time(tmp_path):
    found = busy_machine(tmp_path).to_dict()
    [line] = headline(found)
    assert line == (
        "batch 1: the machine was too busy to use wall time; by CPU time slim is 20.00 times as "
        "fast as "
        "dense (95 % interval 20.00 to 20.00)."
    )
    dense, slim = table(found, "Latency")
    assert (dense["CPU ms"], slim["CPU ms"]) == ("10.000", "0.500")
    assert slim["by CPU time"] == "20.00 (20.00 to 20.00)"
    assert slim["speedup (95 % interval)"].endswith(", too busy")
    [note] = [
        note
        for note in found["notes"]
        if note.startswith("The machine was too busy to use wall time")
    ]
    assert f"dense, {found['comparisons'][0]['wall']['speedup']:.2f}" in note


def test_on_several_threads_a_busy_machine_leaves_no_interval_and_one_thread_is_named(tmp_path):
    found = busy_machine(tmp_path, threads=(2,), waited=0.7).to_dict()
    [line] = headline(found)
    assert line.startswith(
        "batch 1: the machine was too busy to use wall time; by total CPU time of all threads"
    )
    assert line.endswith("(no interval, because a busy machine affects CPU time too).")
    assert any("--threads 1 avoids this." in note for note in found["notes"])
