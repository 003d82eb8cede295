"""The HTML page of a run: its totals are those of report.json, every text is escaped, it is small
and loads nothing.
"""

import json
import random
import re
import shlex
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import jinja2
import pytest
import torch
from click.testing import CliRunner
from hypothesis import example, given, settings
from hypothesis import strategies as st
from run_samples import comparison, profile, report, timing

import slimmer
from slimmer.cli import main
from slimmer.models import build
from slimmer.pipeline.stages import resume
from slimmer.recipe import read_recipe
from slimmer.reports.page import render, write_page
from slimmer.reports.page.charts.columns import bands
from slimmer.reports.page.charts.scale import full_scale, round_scale
from slimmer.reports.page.charts.scatter import pareto
from slimmer.reports.page.compare_page import compare_page
from slimmer.reports.page.contents import SECTIONS
from slimmer.reports.page.render import page
from slimmer.reports.page.run_files import RunFiles, read_files
from slimmer.reports.page.section import Section
from slimmer.reports.page.sections.reproduce import view
from slimmer.runs.directory import Run

MARKUP = "<img src=x onerror=alert(1)>&\"'</script><!--"
LARGEST = 2_000_000  # bytes
VOID = {"meta", "link", "path", "img", "br", "input"}


class Page(HTMLParser):
    """A page's tags, its texts by section, and the JSON that it carries."""

    def __init__(self, html):
        super().__init__(convert_charrefs=True)
        self.open, self.tags, self.attributes = [], [], []
        self.texts, self.scripts, self.section = {}, {}, ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.tags.append(tag)
        self.attributes += [(tag, *each) for each in attrs]
        if tag not in VOID:
            self.open.append((tag, found))
        if tag == "section":
            self.section = found.get("id", "")

    def handle_endtag(self, tag):
        if tag in VOID:
            return
        opened, _ = self.open.pop()
        assert opened == tag, f"</{tag}> closes <{opened}>"
        if tag == "section":
            self.section = ""

    def handle_data(self, data):
        if self.open and self.open[-1][0] in ("script", "style"):
            self.scripts[self.open[-1][1].get("id", "")] = data
        elif data.strip():
            self.texts.setdefault(self.section, []).append(data.strip())

    def said(self, section):
        return " ".join(self.texts.get(section, ())).replace("\N{NO-BREAK SPACE}", " ")

    @property
    def data(self):
        return json.loads(self.scripts["data"])


def files(tmp_path, events=(), exported=None, found=None, **changes):
    """The files of a run with this report."""
    recipe = read_recipe(None, [("budget.flops", 0.5)])
    tmp_path.joinpath("slim.onnx").touch()
    return RunFiles(Run(tmp_path), recipe, report(**changes), events, exported, found)


def groups(number, dense=16, slim=9):
    return [{"name": f"layer{n}.conv", "dense": dense, "slim": slim} for n in range(number)]


@pytest.fixture
def profiled():
    timings = [timing(2.0), timing(1.6, model="slim")]
    return profile(timings, [comparison(1.25, low=1.2, high=1.3, promise=2.0, efficiency=0.625)])


def test_the_sentence_says_costs_accuracy_and_speedup(tmp_path, profiled):
    costs = report()["flops"] | {"limit": 500.0, "limit_ratio": 0.5, "ratio": 0.499}
    found = Page(page(files(tmp_path, found=profiled, flops=costs)))
    said = found.said("")
    assert "cifar_resnet8: 49.9 % of the FLOPs, 90.0 % top-1 (−5.0 points)" in said  # noqa: RUF001
    assert "1.25x faster on one" in said


def test_another_metric_is_named_and_keeps_its_direction(tmp_path):
    metric = {"name": "MSE", "higher_is_better": False, "percent": False}
    values = {"dense": 2.0, "removed": 8.5, "slim": 2.5}
    found = Page(page(files(tmp_path, metric=metric, accuracy=values)))
    assert "2.5 MSE (+0.5)" in found.said("")
    assert "lower is better" in found.said("accuracy")
    assert "top-1" not in found.said("accuracy")
    assert ("span", "class", "change bad") in found.attributes  # a larger error is worse


def test_the_page_carries_its_data_and_every_total_is_a_sum_of_the_report(main_job):
    run = main_job.run
    found = Page(write_page(run).read_text(encoding="utf-8"))
    saved = json.loads(run.report.read_text())
    assert found.data["report"] == saved
    each = [group.get("channels_each", 1) for group in saved["groups"]]
    rows = saved.get("layers") or saved["groups"]
    if not saved.get("layers"):
        rows = [
            {"dense": row["dense"] * n, "slim": row["slim"] * n}
            for row, n in zip(rows, each, strict=True)
        ]
    dense, slim = sum(row["dense"] for row in rows), sum(row["slim"] for row in rows)
    assert f"{slim:,} of {dense:,} channels remain ({100 * slim / dense:.1f} %)" in found.said(
        "network"
    )
    for name in ("flops", "params"):
        cost = saved[name]
        assert cost["ratio"] == cost["slim"] / cost["dense"]
        assert f"{100 * cost['ratio']:.1f} %" in found.said("budgets")
        if cost["limit"] is not None:
            assert f"{100 * (cost['limit_ratio'] - cost['ratio']):.2f} % to spare" in found.said(
                "budgets"
            )
    change = 100 * (saved["accuracy"]["slim"] - saved["accuracy"]["dense"])
    assert f"{abs(change):.1f} points" in found.said("accuracy")
    assert found.said("not-pruned").count(saved["fixed"][0]["reason"]) >= 1


def named(name, folder):
    """The page of a run in whose report and profile everything has this name."""
    changes = {
        "arch": f"nets.py:{name}",
        "run": name,
        "method": name,
        "groups": [{"name": name, "dense": 8, "slim": 4}],
        "fixed": [{"layer": name, "channels": 1, "of": 2, "reason": name}],
        "environment": report()["environment"] | {"cpu": name},
        "metric": {"name": name, "higher_is_better": True, "percent": True},
        "uncounted": [name],
        "fine_tuned_outside": name,
    }
    timings = [timing(2.0), timing(1.6, model=name)]
    found = profile(timings, [comparison(1.25, model=name)])
    found["notes"] = [name]
    found["subjects"][1]["name"] = name
    return Page(page(files(folder, found=found, **changes)))


def test_markup_in_names_and_paths_is_text(tmp_path):
    tmp_path.joinpath("<b>&.onnx").touch()
    plain, found = named("name", tmp_path), named(MARKUP, tmp_path)
    assert found.tags == plain.tags
    assert found.data["report"]["fixed"][0]["reason"] == MARKUP
    assert MARKUP in found.said("not-pruned")
    assert {name for _, name, _ in found.attributes if name.startswith("on")} == set()
    assert "<b>&.onnx" in found.said("reproduce")


def test_the_page_loads_nothing(main_job):
    html = write_page(main_job.run).read_text(encoding="utf-8")
    found = Page(html)
    for tag, name, value in found.attributes:
        if name in ("src", "href", "srcset", "action", "data", "poster"):
            assert value.startswith(("#", "./", "data:")), (tag, value)
    policy = next(
        value for _, name, value in found.attributes if name == "content" and "-src" in value
    )
    assert policy.startswith("default-src 'none'")
    assert not re.search(r"@import|url\(", html)


def test_links_lead_to_files_of_the_run(main_job):
    found = Page(write_page(main_job.run).read_text(encoding="utf-8"))
    links = [value for tag, name, value in found.attributes if (tag, name) == ("a", "href")]
    linked = {value.removeprefix("./") for value in links if value.startswith("./")}
    assert linked >= {"slim.onnx", "report.md", "report.json", "recipe.yaml", "slim.safetensors"}
    assert all((main_job.run.path / name).is_file() for name in linked)
    anchors = {value[1:] for value in links if value.startswith("#")}
    assert anchors <= {value for _, name, value in found.attributes if name == "id"}


def test_ids_are_unique_and_every_section_has_a_template(main_job):
    found = Page(write_page(main_job.run).read_text(encoding="utf-8"))
    ids = [value for _, name, value in found.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    assert set(found.texts) - {""} <= {section.name for section in SECTIONS}


def test_a_page_of_a_large_and_long_run_is_small(tmp_path):
    draw = random.Random(0)
    number = 400
    events = []
    for step in range(0, 100_000, 2):
        events.append(
            {
                "event": "step",
                "time": 1.0,
                "step": step,
                "steps": 1,
                "epoch": step / 500,
                "loss": draw.random(),
                "batch_accuracy": 0.5,
                "images_per_s": 1000 / 3,
                "flops": draw.random(),
                "params": draw.random(),
            }
        )
        if step % 500 == 0:
            events.append(
                {
                    "event": "masks",
                    "time": 1.0,
                    "step": step,
                    "epoch": step / 500,
                    "histogram": [number // 4 * 16] * 4,
                    "widths": [draw.randrange(17) for _ in range(number)],
                }
            )
            events.append(
                {
                    "event": "epoch",
                    "time": 1.0,
                    "step": step,
                    "epoch": step / 500,
                    "accuracy": draw.random(),
                }
            )
    fixed = [
        {
            "layer": f"layer{n}.conv",
            "channels": 1,
            "of": 1,
            "reason": "is read by an operation that slimmer does not know" * 2,
        }
        for n in range(number)
    ]
    html = page(files(tmp_path, events, groups=groups(number), fixed=fixed, epochs=200.0))
    assert len(html.encode()) < LARGEST


def test_a_section_needs_a_view_a_template_and_a_place_in_the_list(tmp_path, monkeypatch):
    extra = Section("extra", "Extra", lambda found: {"method": found.report["method"]})
    template = jinja2.DictLoader({"extra.html": "<p>by {{ view.method }}</p>"})
    environment = render._environment()
    both = jinja2.ChoiceLoader([environment.loader, template])
    monkeypatch.setattr(environment, "loader", both)
    monkeypatch.setattr(render, "SECTIONS", (*SECTIONS, extra))
    found = Page(page(files(tmp_path, method=MARKUP)))
    assert found.said("extra") == f"Extra by {MARKUP}"
    assert ("a", "href", "#extra") in found.attributes


def test_sections_without_content_are_left_out(tmp_path):
    bare = Page(page(files(tmp_path, accuracy=None, groups=[])))
    assert [name for name in bare.texts if name] == ["budgets", "accuracy", "reproduce"]


def test_report_writes_the_latest_run_and_says_where(main_job):
    main_job.run.page.unlink()
    result = CliRunner().invoke(main, ["report", str(main_job.run.path)])
    assert result.exit_code == 0, result.output
    assert result.stdout.split() == [str(main_job.run.page)]
    assert main_job.run.page.is_file()


def test_resuming_a_finished_run_without_a_page_writes_it(main_job):
    main_job.run.page.unlink()
    resume(main_job.run)
    assert main_job.run.page.is_file()


def test_export_and_profile_write_the_page_again(main_job):
    found = Page(main_job.run.page.read_text(encoding="utf-8"))
    assert found.said("exported")
    assert found.said("latency")
    assert found.data["profile"] is not None


def test_the_commands_on_the_page_make_the_run_again(checkpoint, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first = ["prune", str(checkpoint), "--flops", "0.5", "--epochs", "0", "--out", "a run"]
    assert CliRunner().invoke(main, first).exit_code == 0
    found = view(read_files(Run(Path("a run"))))
    (command,) = found["commands"]
    result = CliRunner().invoke(main, shlex.split(command)[1:])
    assert result.exit_code == 0, result.output
    assert Path("a run-again/plan.json").read_bytes() == Path("a run/plan.json").read_bytes()
    names = {}
    exec(found["python"], names)
    assert isinstance(names["network"], torch.nn.Module)


def test_a_run_with_a_task_from_a_file_is_made_again_by_a_command(tmp_path):
    found = files(tmp_path, trained_by="Shapes", run="runs/shapes")
    asked = read_recipe(None, [("budget.flops", 0.5), ("task.name", "shapes.py:make")])
    shown = view(replace(found, recipe=asked))
    dense, recipe = "runs/shapes/dense.safetensors", "runs/shapes/recipe.yaml"
    command = f"slimmer prune {dense} --recipe {recipe} --out runs/shapes-again"
    assert shown["commands"] == [command]
    assert "slimmer.prune" not in shown["python"]


def test_labels_of_layers_are_left_out_where_they_have_no_room():
    names = ["conv1", *[f"layer3.{number}.conv" for number in range(103)], "fc"]
    assert [(band.text, band.room) for band in bands(names)] == [
        ("conv1", "tiny"),  # 1 of 105 columns: 8 of 850 pixels
        ("layer3", ""),
        ("fc", "tiny"),
    ]
    assert [band.room for band in bands(["conv1"] + ["rest.a"] * 12)] == ["narrow", ""]


def test_a_difference_too_small_to_be_shown_is_neither_better_nor_worse(tmp_path):
    metric = {"name": "MSE", "higher_is_better": False, "percent": False}
    values = {"dense": 0.1456, "removed": 0.1456 + 5e-10, "slim": 0.1625}
    found = Page(page(files(tmp_path, metric=metric, accuracy=values)))
    assert "0.1625 MSE (+0.0169)" in found.said("")
    changes = [value for _, name, value in found.attributes if name == "class"]
    assert changes.count("change bad") == 1


def test_a_run_of_a_module_is_made_again_in_python(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = build("cifar_resnet8")
    slimmer.prune(model, input_size=(3, 16, 16), flops=0.5, out="run")
    found = view(read_files(Run(Path("run"))))
    assert found["commands"] == []
    names = {"model": model}
    exec(found["python"], names)
    assert Path("run-again/plan.json").read_bytes() == Path("run/plan.json").read_bytes()
    assert isinstance(names["network"], torch.nn.Module)


def test_a_comparison_links_to_the_pages_of_its_runs(main_job, tmp_path):
    write_page(main_job.run)
    file = tmp_path / "pages" / "all.html"
    result = CliRunner().invoke(main, ["compare", str(main_job.run.path), "--html", str(file)])
    assert result.exit_code == 0, result.output
    assert str(file) in result.stderr
    found = Page(file.read_text(encoding="utf-8"))
    (link,) = {
        value
        for tag, name, value in found.attributes
        if (tag, name) == ("a", "href") and value != "#content"
    }
    assert (file.parent / unquote(link)).resolve() == main_job.run.page.resolve()
    assert [row["runs"] for row in found.data["rows"]] == [[str(main_job.run.path)]]
    assert "1 row, 1 on a Pareto front" in found.said("")


def test_a_comparison_shows_markup_in_names_as_text(tmp_path):
    folder = tmp_path / "<b>&'\""
    folder.mkdir()
    folder.joinpath("report.json").write_text(json.dumps(report()))
    stat = {"mean": 0.5, "std": None, "n": 1}
    cost = {"budget": MARKUP, "limit_ratio": 0.5, "ratio": stat, "sparsity": stat, "miss": stat}
    row = {
        "method": MARKUP,
        "settings": {MARKUP: MARKUP},
        "runs": [str(folder)],
        "seeds": [0],
        "flops": cost,
        "params": cost,
    }
    row |= {
        "masks_left": None,
        "accuracy": {"dense": stat, "removed": stat, "slim": stat},
        "epochs": 1.0,
    }
    row |= {
        "seconds": stat,
        "profiled": {MARKUP: {"dense_ms": stat, "slim_ms": stat, "speedup": stat}},
    }
    compared = {
        "slimmer": "0.1.0",
        "arch": MARKUP,
        "data": MARKUP,
        "dense": {"flops": 1, "params": 1},
    }
    compared |= {"conventions": {"flops": MARKUP, "params": ""}, "rows": [row], "notes": [MARKUP]}
    found = Page(compare_page(compared, tmp_path))
    assert not {"img", "b'"} & set(found.tags)
    assert found.said("").count(MARKUP) >= 4


@pytest.mark.parametrize(
    ("content", "fault"), [("mine", "is not a page that slimmer wrote"), (None, "is not a file")]
)
def test_a_comparison_replaces_only_pages_of_slimmer(main_job, tmp_path, content, fault):
    file = tmp_path / "mine.html"
    file.mkdir() if content is None else file.write_text(content)
    result = CliRunner().invoke(main, ["compare", str(main_job.run.path), "--html", str(file)])
    assert result.exit_code == 2
    assert fault in result.stderr
    assert file.is_dir() or file.read_text() == content


numbers = st.lists(st.floats(-1e300, 1e300), min_size=1, max_size=20)


@settings(deadline=None)  # the first scale imports matplotlib
@given(numbers)
@example([5e-324])
def test_scales_hold_every_value_between_their_ends(values):
    for scale in (round_scale(values), full_scale(values)):
        assert scale.low < scale.high
        assert all(-0.01 <= scale.at(value) <= 100.01 for value in values)
        assert all(-0.01 <= tick.at <= 100.01 for tick in scale.ticks(str))


points = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1)


@given(points, st.booleans())
def test_the_front_holds_exactly_the_points_that_no_other_beats(found, up):
    sign = 1 if up else -1

    def beats(other, one):
        better_or_equal = other[0] <= one[0] and sign * other[1] >= sign * one[1]
        return better_or_equal and other != one

    expected = {
        place for place, one in enumerate(found) if not any(beats(each, one) for each in found)
    }
    assert set(pareto(found, up=up)) == expected


def test_a_run_that_is_not_finished_is_refused(tmp_path):
    result = CliRunner().invoke(main, ["report", str(tmp_path / "none")])
    assert result.exit_code == 2
    assert "does not exist" in result.stderr


def test_a_profile_of_another_version_is_named(main_job):
    run = main_job.run
    before = run.profile.read_text()
    try:
        run.profile.write_text(json.dumps({"schema": 1}))
        found = read_files(run)
        assert found.outdated
        assert "another version" in Page(page(found)).said("latency")
    finally:
        run.profile.write_text(before)
