"""What people read: lines where there is no terminal, a bar where there is one, tables whose
figures are the data's.
"""

import io
import re

import pytest
from rich.console import Console
from rich.style import Style
from test_report import PROFILE

from slimmer.cli.progress import PULSE, TRACK, watching
from slimmer.cli.tables import show_export, show_inspection, show_profile, show_report

DENSE = {
    "event": "dense",
    "accuracy": 0.987,
    "flops": 3024512,
    "params": 75002,
    "limits": {"flops": 0.5},
}
REMOVED = {"event": "removed", "step": 0, "accuracy": 0.5, "flops": 0.4987, "params": 0.51}


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def step(number, steps=100):
    return {
        "event": "step",
        "step": number,
        "steps": steps,
        "epoch": number / 50,
        "loss": 1.25,
        "batch_accuracy": 0.75,
        "images_per_s": 640.4,
    }


def told(events, *, terminal=False, width=200):
    """What is written for (second, event) pairs."""
    clock, file = Clock(), io.StringIO()
    colours = {"color_system": "256"} if terminal else {}
    console = Console(file=file, force_terminal=terminal, width=width, highlight=False, **colours)
    with watching(console=console, clock=clock) as observe:
        for clock.now, event in events:
            observe(event)
    return file.getvalue()


def test_without_a_terminal_a_line_comes_every_ten_seconds_not_every_step():
    lines = told(
        [(0, DENSE), (0, REMOVED), *((number, step(number)) for number in range(1, 26))]
    ).splitlines()
    steps = [line for line in lines if "loss" in line]
    assert len(lines) == 4
    assert [line.split(",")[0] for line in steps] == ["epoch 0.20 of 2", "epoch 0.40 of 2"]
    assert "\x1b" not in "".join(lines)


def test_scores_that_take_long_are_told_of_now_and_then():
    events = [(4 * done, {"event": "scores", "done": done, "groups": 12}) for done in range(6)]
    assert told(events) == "measuring the sensitivity of channel groups: 3 of 12\n"


def test_a_pass_of_the_dense_network_is_told_of_now_and_then():
    known = {"event": "answers", "view": 1, "views": 3, "images": 300}
    events = [(7 * part, {**known, "done": 100 * part}) for part in range(1, 4)]
    assert told(events) == "the dense network answers view 2 of 3: 200 of 300 images\n"


def test_plans_that_are_tried_are_told_of_now_and_then():
    known = {"event": "search", "plans": 60, "change": 0.1234}
    early = (0, {**known, "trained": False, "done": 1})
    later = (20, {**known, "trained": False, "done": 7})
    last = (40, {**known, "trained": True, "done": 2})
    events = [early, later, last]
    assert told(events).splitlines() == [
        "trying other plans: 7 of 60, least change 0.123",
        "training the best plans: 2 of 60, least change 0.123",
    ]


def test_channels_that_settle_are_told_of_with_what_is_left_to_train():
    event = {"event": "settled", "step": 8, "epoch": 0.2, "flops": 0.9123, "params": 0.95}
    lines = told([(0, {**event, "units": 1}), (1, {**event, "units": 7})]).splitlines()
    assert lines == [
        "1 unit settled at zero and removed: FLOPs 91.2%, parameters 95.0% are left to train",
        "7 units settled at zero and removed: FLOPs 91.2%, parameters 95.0% are left to train",
    ]


def test_a_line_says_all_that_is_asked_for():
    lines = told([(0, DENSE), (0, REMOVED), (1, step(1)), (21, step(11))]).splitlines()
    assert lines[0] == "dense: 3.02 M FLOPs, 75.00 K parameters, top-1 98.7%"
    assert lines[1] == "channels removed: FLOPs 49.9% (budget 50.0%), parameters 51.0%, top-1 50.0%"
    # 20 seconds for 10 steps after the first one, and 89 steps to go.
    assert lines[-1] == (
        "epoch 0.22 of 2, loss 1.250, top-1 50.0%, FLOPs 49.9% (budget 50.0%), parameters 51.0%, "
        "640 images/s, "
        "2:42 left"
    )


def test_an_epoch_has_its_own_line_with_the_accuracy():
    lines = told(
        [
            (0, DENSE),
            (0, REMOVED),
            (3, {"event": "epoch", "step": 50, "epoch": 1.0, "accuracy": 0.912}),
        ]
    )
    assert (
        lines.splitlines()[-1]
        == "epoch 1, top-1 91.2%, FLOPs 49.9% (budget 50.0%), parameters 51.0%"
    )


def test_without_data_no_accuracy_is_said():
    assert "top-1" not in told(
        [(0, {**DENSE, "accuracy": None}), (0, {**REMOVED, "accuracy": None})]
    )


def test_on_a_terminal_there_is_a_bar_and_no_line_per_step():
    text = told(
        [(0, DENSE), (0, REMOVED), *((number, step(number)) for number in range(1, 26))],
        terminal=True,
    )
    assert "\x1b[" in text
    assert "epoch 0.50 of 2" in text
    assert "━" in text


def luminance(colour):
    """Relative luminance by WCAG 2.1 of a colour of the terminal's 256."""
    channels = []
    for channel in Style.parse(colour).color.get_truecolor():
        share = channel / 255
        channels.append(share / 12.92 if share <= 0.03928 else ((share + 0.055) / 1.055) ** 2.4)
    return 0.2126 * channels[0] + 0.7152 * channels[1] + 0.0722 * channels[2]


@pytest.mark.parametrize("colour", [TRACK, PULSE])
def test_the_bar_is_seen_on_a_white_and_on_a_black_background(colour):
    own = luminance(colour)
    assert 1.05 / (own + 0.05) >= 3
    assert (own + 0.05) / 0.05 >= 3


def test_the_finished_part_of_the_bar_has_the_colour_of_the_text():
    text = told([(0, DENSE), (0, REMOVED), (1, step(50))], terminal=True)
    assert "\x1b[39m━" in text
    assert re.search(r"\x1b\[38;5;244m[━╸╺]", text)


def test_a_narrow_terminal_shows_all_of_the_line():
    text = told([(0, DENSE), (0, REMOVED), (1, step(1)), (21, step(11))], terminal=True, width=80)
    *_, last = text.rpartition("epoch 0.22 of 2")
    for part in ("loss 1.250", "top-1 50.0%", "640", "images/s", "2:42", "left"):
        assert part in last


def test_an_event_of_a_new_kind_is_passed_over():
    assert told([(0, {"event": "unheard"})]) == ""


def test_what_looks_like_markup_is_printed_as_it_is():
    assert (
        told([(0, {"event": "note", "text": "runs/[bold]x[/bold]: [red]"})])
        == "runs/[bold]x[/bold]: [red]\n"
    )


def shown(show, found):
    file = io.StringIO()
    show(found, Console(file=file, width=160, highlight=False, markup=False))
    return file.getvalue()


@pytest.mark.parametrize("accuracy", [None, {"dense": 0.987, "removed": 0.4, "slim": 0.9631}])
def test_the_report_shows_both_sides_and_the_next_command_last(accuracy):
    cost = {
        "dense": 3024512,
        "slim": 1509102,
        "ratio": 0.49896,
        "limit": 1512256,
        "limit_ratio": 0.5,
    }
    report = {
        "arch": "cifar_resnet8",
        "flops": {**cost, "convention": "fvcore, 1 FLOP per multiply-add"},
        "params": {**cost, "limit": None, "limit_ratio": None, "convention": "all elements"},
        "accuracy": accuracy,
        "groups": [{"name": "conv1", "dense": 16, "slim": 11, "channels_each": 1}],
        "run": "runs/x",
    }
    text = shown(show_report, report)
    assert "1 of 1 pruned channel groups have a width that is not a multiple of 8." in text
    for part in ("3,024,512", "1,509,102", "49.90%", "at most 50.00%", "none", "multiply-add"):
        assert part in text
    assert ("96.31%" in text) == (accuracy is not None)
    assert ("No data given" in text) == (accuracy is None)
    assert text.splitlines()[-2:] == ["report: runs/x/report.html", "next: slimmer export runs/x"]


def test_the_export_shows_every_comparison():
    parity = {"max_abs": 1.3e-6, "max_rel": 1e-6, "top1_agreement": 1.0, "images": 64}
    network = {
        "file": "runs/x/slim.onnx",
        "bytes": 1_234_567,
        "reused": True,
        "parity": {"random": parity, "test": {**parity, "max_abs": 7e-5}},
        "accuracy": 0.9631,
        "precision": "int8, QDQ",
        "batch": "8",
        "image_size": "any size",
        "notes": ["calibrated on 256 images"],
    }
    text = shown(show_export, {"run": "runs/x", "networks": {"slim": network}})
    for part in (
        "1.23",
        "64 random",
        "64 test",
        "1.3e-06",
        "7.0e-05",
        "100.00%",
        "96.31%",
        "int8, batch 8, any size",
    ):
        assert part in text
    assert text.splitlines()[-1] == "next: slimmer profile runs/x"
    for part in ("1.0e-06", "slim.onnx (unchanged); calibrated on 256 images"):
        assert part in text


def test_the_profile_shows_the_headline_first_and_every_table():
    text = shown(show_profile, PROFILE)
    assert text.startswith(
        "batch 1: slim is 1.65 times as fast as dense (95 % interval 1.60 to 1.70), undisturbed; "
        "FLOPs reduced"
    )
    for part in (
        "1.65 (1.60 to 1.70)",
        "CPUExecutionProvider",
        "0.412",
        "0.612",
        "4000",
        "Timed on one thread.",
        "11.50",
    ):
        assert part in text
    assert "conv1" not in text  # layer by layer it stands in report.md


def test_the_inspection_shows_every_group_and_every_reason():
    cost = {
        "dense": 1000,
        "least": 10,
        "least_ratio": 0.01,
        "out_of_reach": 5,
        "out_of_reach_ratio": 0.005,
    }
    found = {
        "arch": "net",
        "classes": None,
        "inputs": "one image of 3x32x32",
        "notes": ["its size is a guess"],
        "flops": {**cost, "convention": "fvcore"},
        "params": {**cost, "convention": "all elements"},
        "groups": [
            {
                "name": "a",
                "size": 8,
                "made_by": ["conv1"],
                "read_by": ["conv2", "fc"],
                "members": [],
            }
        ],
        "layers": [
            {"name": "conv1", "channels": 8, "flops": 600, "groups": ["a"], "stays": []},
            {
                "name": "fc",
                "channels": 10,
                "flops": 40,
                "groups": [],
                "stays": [{"channels": 10, "reason": "output"}],
            },
        ],
        "held": [{"module": "fc", "flops": 5, "ratio": 0.6, "reasons": ["output"]}],
    }
    text = shown(show_inspection, found)
    for part in (
        "one image of 3x32x32",
        "10 to 1,000 (1.00% to 100%)",
        "5 (0.50%)",
        "conv1",
        "conv2",
        "60.0%",
        "10 kept: output",
        "its size is a guess",
    ):
        assert part in text
    assert "Most of them" not in text
    high = {**cost, "least_ratio": 0.7, "convention": "fvcore"}
    text = shown(show_inspection, {**found, "flops": high})
    assert "At least 70.0% of the FLOPs remain" in text
    assert "fc: 60.0% of dense (output)" in text
