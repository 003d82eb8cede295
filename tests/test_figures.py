"""The pictures of runs: what they show is counted by hand here, and nothing in them covers anything
else.
"""

import subprocess
import sys

import pytest
import torch
from PIL import Image

from slimmer.errors import RunError
from slimmer.reports.figures import draw_run, draw_runs
from slimmer.reports.figures.canvas import LONGEST, shorten
from slimmer.reports.figures.one_run import (
    masks_figure,
    sparsity_figure,
    training_figure,
    widths_figure,
)
from slimmer.reports.figures.series import mask_moments, over_epochs, removal, sparsity
from slimmer.reports.figures.several_runs import by_group_figure, over_time_figure
from slimmer.reports.run_report import FIGURES, to_markdown
from slimmer.runs.directory import Run
from slimmer.runs.event_log import read_events
from slimmer.training.mask_events import mask_event

NAMES = ("masks.png", "sparsity.png", "training.png", "widths.png")


def masks(step, zeros, ones):
    """A record at `step`, ten steps an epoch: so many masks of a hundred at 0 and at 1, the others
    near 0.5.
    """
    histogram = [zeros, *[0] * 9, 100 - zeros - ones, *[0] * 8, ones]
    widths = [(100 - zeros) // 2, (100 - zeros) - (100 - zeros) // 2]
    return {
        "event": "masks",
        "step": step,
        "epoch": step / 10,
        "histogram": histogram,
        "widths": widths,
    }


def recorded(*, decay=1.0, groups=2, limits=(0.5, None)):
    """The events and the report of a run of 80 steps, the first 40 of them under masks."""
    events = [{"event": "begun", "run": "runs/net-1"}]
    for step in range(1, 81):
        row = {"event": "step", "step": step, "epoch": step / 10, "loss": 2 / step}
        if step <= 40:
            gone = min(0.6, 0.02 * step * decay)
            row |= {"flops": 1 - gone, "params": 1 - gone / 2}
        events.append(row)
        if step <= 40 and step % 4 == 0:
            events.append(
                {
                    **masks(step, 40 + step // 4, step // 4),
                    "flops": row["flops"],
                    "params": row["params"],
                }
            )
        if step == 40:
            events.append(
                {"event": "removed", "step": 40, "accuracy": 0.7, "flops": 0.5, "params": 0.75}
            )
        if step > 40 and step % 10 == 0:
            events.append(
                {"event": "epoch", "step": step, "epoch": step / 10, "accuracy": 0.8 + step / 800}
            )
    cost = {
        "limit": None,
        "dense": 1000,
        "slim": 500,
        "ratio": 0.5,
        "sparsity": 0.5,
        "convention": "by hand",
    }
    report = {
        "epochs": 8.0,
        "accuracy": {"dense": 0.95, "removed": 0.7, "slim": 0.9},
        "flops": {**cost, "limit_ratio": limits[0]},
        "params": {**cost, "limit_ratio": limits[1]},
        "groups": [
            {"name": f"layer{n}.conv1", "dense": 16, "slim": 4 if n % 2 else 12}
            for n in range(groups)
        ],
    }
    return events, report


def one_shot():
    """The same run with its channels removed before the first step."""
    events, report = recorded()
    trained = [
        {k: v for k, v in e.items() if k not in ("flops", "params")}
        for e in events
        if e["event"] == "step"
    ]
    removed = {"event": "removed", "step": 0, "accuracy": 0.7, "flops": 0.5, "params": 0.75}
    return [removed, *trained, *(e for e in events if e["event"] == "epoch")], report


def lines(figure):
    """The lines of a figure by what the legend calls them."""
    return {line.get_label(): line for axes in figure.axes for line in axes.lines}


def heights(axes):
    return [bar.get_height() for bar in axes.patches if hasattr(bar, "get_height")]


# What is recorded


def test_a_record_of_the_masks_counts_values_and_what_is_alive():
    mask = torch.tensor([0.0, 0.0, 0.049, 0.051, 0.5, 0.999, 1.0, 1.0])
    event = mask_event(mask, [3, 5])
    assert event == {"histogram": [3, 1, *[0] * 8, 1, *[0] * 8, 3], "widths": [1, 5]}


def test_no_mask_is_lost_from_the_counts():
    mask = torch.cat(
        [
            torch.rand(1000, generator=torch.Generator().manual_seed(0)) * 3 - 1,
            torch.tensor([0.0, 1.0]),
        ]
    )
    event = mask_event(mask.requires_grad_(), [2, 1000])
    assert sum(event["histogram"]) == 1002
    assert sum(event["widths"]) == int((mask > 0).sum())


def test_events_come_back_as_recorded_and_torn_lines_are_passed_over(tmp_path):
    run = Run(tmp_path)
    assert run.read_events() == []
    begun = {"event": "begun", "run": "ä", "time": 0.1}
    resumed = {"event": "resumed", "limits": {"flops": 0.5}, "time": 0.2}
    run.record(begun)
    with run.events.open("ab") as file:
        file.write(b'{"event": "step", "st')
    run.record({"event": "lost with the torn line that it stands behind"})
    run.record(resumed)
    with run.events.open("ab") as file:
        file.write(b'{"event": "step", "name": "\xc3')
    assert run.read_events() == read_events(run.events) == [begun, resumed]


# What the events say over time


def test_sparsity_is_what_is_gone_under_masks_and_at_the_removal():
    epochs, values = sparsity(recorded()[0], "flops")
    assert epochs == sorted(epochs)
    assert (epochs[0], epochs[-1]) == pytest.approx((0.1, 4.0))
    assert values[-2:] == pytest.approx([0.6, 0.5])  # the masks' own, then the exact projection
    assert sparsity(one_shot()[0], "flops").epochs == []


def test_a_resumed_run_counts_every_step_once():
    events, _ = recorded()
    again = [event for event in events if event.get("step", 0) > 30]
    torn = events[: events.index(again[3])]
    for key in ("loss", "flops"):
        found = over_epochs([*torn, {"event": "resumed"}, *again], ("step",), key)
        assert found == over_epochs(events, ("step",), key)
    assert mask_moments([*torn, *again]) == mask_moments(events)


def test_three_moments_before_the_last_are_spread_from_the_first_on():
    events = [masks(step, step, 0) for step in range(10)]
    assert [event["step"] for event in mask_moments(events)] == [0, 3, 6, 9]
    assert [event["step"] for event in mask_moments(events[:2])] == [0, 1]
    assert [event["step"] for event in mask_moments(events[:1])] == [0]
    assert mask_moments([{"event": "begun"}]) == []


def test_the_removal_is_placed_by_the_pace_of_the_steps():
    assert removal(recorded()[0]) == pytest.approx(4.0)
    assert removal(one_shot()[0]) == 0
    assert removal([{"event": "begun"}]) is None


# What the pictures show


def test_bars_show_the_masks_at_the_end_and_lines_three_moments_before():
    (axes,) = masks_figure(recorded()[0]).axes
    assert heights(axes) == [50, *[0] * 9, 40, *[0] * 8, 10]
    stairs = [
        patch.get_data().values[0] for patch in axes.patches if not hasattr(patch, "get_height")
    ]
    assert list(stairs) == [41, 44, 47]
    assert "50.0% of them exactly 0" in axes.get_xlabel()


def test_sparsity_is_drawn_with_its_targets_to_the_end_of_the_run():
    drawn = lines(sparsity_figure(*recorded(limits=(0.5, 0.8))))
    assert drawn["FLOPs"].get_xdata()[-1] == 8
    assert drawn["FLOPs"].get_ydata()[-1] == pytest.approx(50)
    assert drawn["parameters"].get_ydata()[-1] == pytest.approx(25)
    assert drawn["FLOPs: target 50%"].get_ydata()[0] == pytest.approx(50)
    assert drawn["parameters: target 20%"].get_ydata()[0] == pytest.approx(20)
    assert drawn["channels removed"].get_xdata()[0] == pytest.approx(4)
    assert "parameters: target 20%" not in lines(sparsity_figure(*recorded()))


def test_accuracy_starts_at_the_removal():
    drawn = lines(training_figure(*recorded()))
    slim = drawn["slim 90.00% at the end"]
    assert slim.get_xdata() == pytest.approx([4, 5, 6, 7, 8])
    assert slim.get_ydata() == pytest.approx([70, 86.25, 87.5, 88.75, 90])
    assert drawn["dense 95.00%"].get_ydata()[0] == pytest.approx(95)


def test_widths_are_drawn_in_network_order_with_the_share_that_is_gone():
    (axes,) = widths_figure(recorded()[1]).axes
    assert heights(axes) == [16, 16, 12, 4]
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["layer0.conv1", "layer1.conv1"]
    assert [text.get_text().lstrip("−") for text in axes.texts] == ["25%", "75%"]  # noqa: RUF001


def test_runs_are_drawn_side_by_side_under_their_names():
    runs = {f"decay {decay}": recorded(decay=decay) for decay in (0.5, 1.0, 2.0)}
    over_time, by_group = over_time_figure(runs), by_group_figure(runs)
    drawn = lines(over_time)
    assert list(drawn) == [*runs, "target"]
    assert len({line.get_color() for line in drawn.values()}) == 4
    assert [drawn[name].get_ydata()[-2] for name in runs] == pytest.approx([40, 60, 60])
    assert [heights(axes)[2:] for axes in by_group.axes] == [[25, 75]] * 3
    assert [axes.get_title(loc="left").split("  ")[0] for axes in by_group.axes] == list(runs)


def test_each_limited_cost_has_its_panel_and_only_common_targets_are_drawn():
    runs = {
        "a": recorded(limits=(0.5, 0.7)),
        "b": recorded(limits=(0.5, 0.6)),
        "one shot": one_shot(),
    }
    flops, params = over_time_figure(runs).axes
    assert [line.get_label() for line in flops.lines] == ["a", "b", "target"]
    assert [line.get_label() for line in params.lines] == ["a", "b"]
    assert over_time_figure({"one shot": one_shot()}) is None


def test_runs_of_other_networks_are_refused(tmp_path):
    with pytest.raises(RunError) as error:
        draw_runs({"a": recorded(), "b": recorded(groups=3)}, tmp_path)
    assert (error.value.where, error.value.found) == ("b", "has different channel groups from a")
    assert list(tmp_path.iterdir()) == []


# What is written


def test_a_run_under_masks_has_every_picture_and_the_same_run_the_same_bytes(tmp_path):
    paths = draw_run(*recorded(), tmp_path / "figures")
    assert [path.name for path in paths] == list(NAMES)
    assert sorted(paths) == sorted((tmp_path / "figures").iterdir())
    for path, again in zip(paths, draw_run(*recorded(), tmp_path / "again"), strict=True):
        assert path.read_bytes() == again.read_bytes()
        with Image.open(path) as image:
            assert image.width == 1200
            colours = image.convert("RGB").getcolors(1 << 16)
        assert (255, 255, 255) in [colour for _, colour in colours]
        assert (0, 114, 178) in [
            colour for _, colour in colours
        ]  # the first of Okabe and Ito's, not on every pixel


@pytest.mark.parametrize(
    ("without", "names"), [("masks", NAMES[2:]), ("data", NAMES[3:]), ("groups", NAMES[2:3])]
)
def test_only_what_there_are_data_for_is_drawn(without, names, tmp_path):
    events, report = one_shot()
    if without == "data":
        events, report = events[:1], {**report, "accuracy": None, "epochs": 0.0}
    if without == "groups":
        report = {**report, "groups": []}
    assert [path.name for path in draw_run(events, report, tmp_path)] == list(names)


def test_several_runs_have_two_pictures(tmp_path):
    names = ["sparsity_over_time.png", "sparsity_by_group.png"]
    assert [path.name for path in draw_runs({"a": recorded(), "b": one_shot()}, tmp_path)] == names
    assert draw_runs({}, tmp_path / "none") == []


def boxes(figure):
    """Where the texts beside, above and below every panel lie, panel by panel, and where the legend
    does.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw(renderer)
    for axes in figure.axes:
        ticks = [
            tick.label1
            for axis in (axes.xaxis, axes.yaxis)
            for tick in axis.get_major_ticks()
            if min(axis.get_view_interval()) <= tick.get_loc() <= max(axis.get_view_interval())
        ]
        texts = [*ticks, *axes.texts, axes.xaxis.label, axes.yaxis.label, axes.title]
        texts += [text for text in (axes._left_title,) if text.get_text()]
        yield [
            text.get_window_extent(renderer)
            for text in texts
            if text.get_text() and text.get_visible()
        ]
    yield [
        text.get_window_extent(renderer) for legend in figure.legends for text in legend.get_texts()
    ]


CROWDED = {
    "masks": lambda: masks_figure(recorded()[0]),
    "sparsity": lambda: sparsity_figure(*recorded(limits=(0.5, 0.333))),
    "training": lambda: training_figure(*recorded()),
    **{
        f"widths {n}": lambda n=n: widths_figure(recorded(groups=n)[1])
        for n in (1, 20, 21, 57, 400)
    },
    "over time": lambda: over_time_figure(
        {f"lambda={n},mask_decay=0.{n:02d}": recorded() for n in range(9)}
    ),
    "two panels": lambda: over_time_figure(
        {"method=maskconvnet,seed=0": recorded(limits=(0.5, 0.6))}
    ),
    "by group": lambda: by_group_figure({f"run {n}": recorded(groups=60) for n in range(6)}),
}


@pytest.mark.parametrize("name", CROWDED)
def test_no_text_covers_another_or_leaves_the_picture(name):
    figure = CROWDED[name]()
    width, height = figure.get_size_inches() * figure.dpi
    panels = list(boxes(figure))
    assert any(panels)
    found = [box for panel in panels for box in panel]
    for number, box in enumerate(found):
        assert box.x0 >= -1
        assert box.y0 >= -1
        assert box.x1 <= width + 1
        assert box.y1 <= height + 1
        assert not [other for other in found[number + 1 :] if box.overlaps(other)]


def test_long_names_keep_their_end():
    short = shorten("features.denseblock1.denselayer2.a.very.long.one.conv1")
    assert len(short) == LONGEST
    assert short.endswith("one.conv1")


FRESH = """
import sys
from pathlib import Path
from slimmer.reports.figures import draw_runs, draw_run
assert not {"matplotlib", "torch"} & set(sys.modules)
import matplotlib
def settings():  # asking for the backend would choose one
    return {key: matplotlib.rcParams[key] for key in matplotlib.rcParams if key != "backend"}
before = settings()
cost = {"limit_ratio": 0.5, "sparsity": 0.5}
groups = [{"name": "conv1", "dense": 8, "slim": 4}]
report = {"epochs": 1, "accuracy": None, "groups": groups, "flops": cost, "params": cost}
assert draw_run([], report, Path(sys.argv[1])) and draw_runs({"a": ([], report)}, Path(sys.argv[1]))
assert settings() == before
assert "matplotlib.pyplot" not in sys.modules
"""


def test_only_drawing_imports_matplotlib_and_it_leaves_no_global_state(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", FRESH, tmp_path], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


# In the report


def test_the_report_shows_the_pictures_that_the_run_has(tmp_path):
    events, report = recorded()
    report |= {
        "arch": "net",
        "slimmer": "0",
        "date": "",
        "method": "maskconvnet",
        "seed": 0,
        "recipe_hash": "r",
    }
    report |= {
        "plan_hash": "p",
        "inputs": "one image of 3x32x32",
        "recount": {"fvcore": 1, "torch": 2},
        "fixed": [],
    }
    assert "## Figures" not in to_markdown(report)
    paths = [
        path.relative_to(tmp_path).as_posix()
        for path in draw_run(events, report, tmp_path / "figures")
    ]
    text = to_markdown({**report, "figures": paths})
    shown = [line for line in text.splitlines() if line.startswith("![")]
    assert [line.split("](")[1].rstrip(")") for line in shown] == [
        f"figures/{name}" for name in NAMES
    ]
    assert [line[2:].split("]")[0] for line in shown] == list(FIGURES.values())
    assert all((tmp_path / path).is_file() for path in paths)
    assert text.index("## Figures") < text.index("## Widths")
