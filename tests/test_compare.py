"""The comparison of runs: figures by hand, one table in every form, and what can't be compared."""

import csv
import io
import json
import statistics
from pathlib import Path

import pytest
import run_samples
from main_job import slimmer, tree
from PIL import Image
from rich.console import Console

import slimmer as package
from slimmer.cli.tables import show_comparison
from slimmer.errors import RunError
from slimmer.profiling.results import SCHEMA
from slimmer.recipe import read_recipe
from slimmer.reports.compare_runs import compare_runs, merge, partition
from slimmer.reports.comparison_columns import columns
from slimmer.reports.comparison_table import to_csv, to_markdown, write_comparison
from slimmer.reports.figures.tradeoff import draw_tradeoff
from slimmer.reports.finished_runs import read_entry

DENSE = {"flops": 1000, "params": 200}


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def make(name, settings=(), *, seed=0, slim=0.9, flops=0.49, finished=True, **changes):
    """A run directory written by hand: a recipe and the report that the figures make."""
    laid = {
        "data.name": "digits",
        "method.name": "taylor",
        "budget.flops": 0.5,
        "seed": seed,
        **dict(settings),
    }
    recipe = read_recipe(None, sorted(laid.items()))
    limits = {"flops": recipe.budget.flops, "params": recipe.budget.params}
    ratios = {"flops": flops, "params": 0.4}
    costs = {
        cost: {
            "convention": "by hand",
            "dense": dense,
            "slim": round(dense * ratios[cost]),
            "ratio": ratios[cost],
            "sparsity": 1 - ratios[cost],
            "limit": limits[cost] and limits[cost] * dense,
            "limit_ratio": limits[cost],
        }
        for cost, dense in DENSE.items()
    }
    method, accuracy = (
        recipe.method.name.replace("auto", "taylor"),
        {"dense": 0.95, "removed": 0.5, "slim": slim},
    )
    told = {"seed": seed, "method": method, "epochs": recipe.finetune.epochs, "accuracy": accuracy}
    report = run_samples.report(**{**told, **costs, **changes})
    folder = Path(name)
    folder.mkdir(parents=True)
    (folder / "recipe.yaml").write_text(recipe.to_yaml())
    if finished:
        (folder / "report.json").write_text(json.dumps(report))
    return folder


def add_profile(folder, dense, slim, provider="CPUExecutionProvider"):
    timings = [
        run_samples.timing(value, model=name) for name, value in (("dense", dense), ("slim", slim))
    ]
    profile = run_samples.profile(timings, [run_samples.comparison(dense / slim)], provider)
    (folder / "profile.json").write_text(json.dumps(profile))


# What a row says


def test_a_row_has_the_latencies_of_the_float32_files_alone():
    run = make("runs/a")
    names = {"dense": 4.0, "slim": 2.0, "slim.int8": 1.0}
    timings = [run_samples.timing(value, model=name) for name, value in names.items()]
    found = run_samples.profile(
        timings, [run_samples.comparison(4.0 / names[name], model=name) for name in list(names)[1:]]
    )
    (run / "profile.json").write_text(json.dumps(found))
    [row] = compare_runs([run])["rows"]
    [latency] = row["profiled"].values()
    assert {key: (each["mean"], each["n"]) for key, each in latency.items()} == {
        "dense_ms": (4.0, 1),
        "slim_ms": (2.0, 1),
        "speedup": (2.0, 1),
    }


def test_runs_that_differ_only_by_their_seed_share_a_row():
    slim = [0.90, 0.92, 0.97]
    runs = [make(f"runs/{seed}", seed=seed, slim=top1) for seed, top1 in enumerate(slim)]
    other = make("runs/other", {"budget.flops": 0.3}, flops=0.29)
    first, second = compare_runs([*runs, other])["rows"]
    assert first["runs"] == [str(run) for run in runs]
    assert first["seeds"] == [0, 1, 2]
    # The sample's standard deviation by hand: mean 0.93, squares 9 + 1 + 16 of 1e-4, over n - 1 =
    # 2.
    assert first["accuracy"]["slim"]["mean"] == pytest.approx(0.93)
    assert first["accuracy"]["slim"]["std"] == pytest.approx((26e-4 / 2) ** 0.5)
    assert first["accuracy"]["slim"]["n"] == 3
    assert (second["runs"], second["accuracy"]["slim"]) == (
        ["runs/other"],
        {"mean": 0.9, "std": None, "n": 1},
    )


def test_a_network_that_was_not_trained_before_is_no_dense_accuracy_to_compare_with(tmp_path):
    scratch = {"model.scratch": True, "model.arch": "cifar_resnet8", "finetune.distill": 0.0}
    make("a", scratch)
    comparison = compare_runs([Path("a")])
    assert comparison["rows"][0]["accuracy"]["dense"] is None
    assert "dense %" not in to_markdown(comparison)
    assert draw_tradeoff(comparison, tmp_path / "points.png").is_file()


def test_the_miss_is_the_limit_less_what_is_left_and_only_for_named_budgets():
    [row] = compare_runs([make("run", {"budget.params": 0.6}, flops=0.47)])["rows"]
    assert row["flops"]["miss"]["mean"] == pytest.approx(0.03)
    assert row["params"]["miss"]["mean"] == pytest.approx(0.2)
    [row] = compare_runs([make("other")])["rows"]
    assert (row["params"]["budget"], row["params"]["limit_ratio"], row["params"]["miss"]) == (
        None,
        None,
        None,
    )
    assert row["params"]["sparsity"]["mean"] == pytest.approx(0.6)


def test_settings_that_rows_differ_in_are_told_and_no_others():
    masks = {"method.name": "maskconvnet", "method.lambda_v": [4]}
    runs = [
        make("a", {**masks, "method.lambda_m": [1]}),
        make("b", {**masks, "method.lambda_m": [3]}),
        make("c", {"finetune.distill": 0.0, "finetune.epochs": 9.0, "budget.flops": 0.3}),
    ]
    told = [row["settings"] for row in compare_runs(runs)["rows"]]
    assert told == [
        {"method.lambda_m": [1], "finetune.distill": 0.9},
        {"method.lambda_m": [3], "finetune.distill": 0.9},
        {"finetune.distill": 0.0},
    ]


def test_auto_is_the_method_that_it_stood_for():
    runs = [make("named"), make("auto", {"method.name": "auto"}, seed=1)]
    [row] = compare_runs(runs)["rows"]
    assert (row["method"], row["seeds"]) == ("taylor", [0, 1])


def test_latencies_are_those_that_profile_left():
    runs = [make(f"{seed}", seed=seed) for seed in range(3)]
    add_profile(runs[0], 4.0, 2.0)
    add_profile(runs[1], 6.0, 2.0)
    [row] = compare_runs(runs)["rows"]
    assert list(row["profiled"]) == ["cpu, batch 1"]
    found = row["profiled"]["cpu, batch 1"]
    assert (found["dense_ms"]["mean"], found["slim_ms"]["mean"], found["speedup"]["mean"]) == (
        5.0,
        2.0,
        2.5,
    )
    assert found["speedup"]["n"] == 2


def test_latencies_on_several_threads_are_kept_apart_and_other_runtimes_left_out():
    run = make("one")
    timings, comparisons = [], []
    for threads, runtime, dense, slim in (
        (1, "onnxruntime", 8.0, 4.0),
        (1, "torch", 90.0, 9.0),
        (2, "onnxruntime", 6.0, 2.0),
    ):
        case = {"runtime": runtime, "threads": threads, "batch": 1}
        timings += [
            run_samples.timing(ms, **case, model=name)
            for name, ms in (("dense", dense), ("slim", slim))
        ]
        within = run_samples.comparison(dense / slim, **case, against_runtime=runtime)
        across = run_samples.comparison(0.5, **case, against="slim")
        comparisons += [within, *([across] if runtime == "torch" else [])]
    profile = run_samples.profile(timings, comparisons)
    (run / "profile.json").write_text(json.dumps(profile))
    [row] = compare_runs([run])["rows"]
    told = {
        place: (found["dense_ms"]["mean"], found["slim_ms"]["mean"])
        for place, found in row["profiled"].items()
    }
    assert told == {"cpu, 1 thread, batch 1": (8.0, 4.0), "cpu, 2 threads, batch 1": (6.0, 2.0)}


def test_runs_that_were_timed_in_another_runtime_alone_are_compared_under_its_name():
    run = make("one")
    case = {"runtime": "tflite", "threads": 1, "batch": 8}
    timings = [
        run_samples.timing(ms, **case, model=name) for name, ms in (("dense", 9.0), ("slim", 3.0))
    ]
    comparisons = [run_samples.comparison(3.0, **case, against_runtime="tflite")]
    (run / "profile.json").write_text(json.dumps(run_samples.profile(timings, comparisons)))
    [row] = compare_runs([run])["rows"]
    told = {
        place: (found["dense_ms"]["mean"], found["slim_ms"]["mean"])
        for place, found in row["profiled"].items()
    }
    assert told == {"tflite, cpu, 1 thread, batch 8": (9.0, 3.0)}


def test_a_seed_that_is_there_twice_and_several_machines_are_said():
    runs = [
        make("a", environment={**run_samples.ENVIRONMENT, "cpu": "one"}),
        make("b", environment={**run_samples.ENVIRONMENT, "cpu": "other"}),
    ]
    first, second = compare_runs(runs)["notes"]
    assert first == "seed 0 occurs 2 times in one row: a, b"
    assert "different machines" in second


# Which runs


def test_a_directory_stands_for_all_finished_runs_below_it():
    make("runs/deep/b", seed=1)
    make("runs/a")
    make("runs/c", seed=2, finished=False)
    found = compare_runs([Path("runs"), Path("runs/a")])
    assert found["rows"][0]["runs"] == ["runs/a", "runs/deep/b"]
    assert found["notes"] == ["skipped, not finished: runs/c"]


def test_runs_below_a_directory_come_in_the_order_of_the_numbers_in_their_names():
    for share in (0.5, 10, 2):
        make(f"runs/lr={share:g}", {"finetune.lr": share})
    rows = compare_runs([Path("runs")])["rows"]
    assert [row["settings"]["finetune.lr"] for row in rows] == [0.5, 2, 10]


def test_data_are_the_same_by_name_and_by_path():
    runs = [make("a"), make("b", {"data.name": None, "data.path": "digits"}, seed=1)]
    assert len(compare_runs(runs)["rows"]) == 2  # the recipes differ, but may be compared


def refused(*arguments):
    before = tree(".")
    result = slimmer("compare", *arguments, "--out", "table")
    assert result.exit_code == 2, result.output
    assert not result.stdout
    assert "Traceback" not in result.output
    assert tree(".") == before
    return result.stderr


def test_what_is_no_finished_run_is_refused():
    make("begun", finished=False)
    Path("empty").mkdir()
    assert "RUN" in refused()
    assert "begun: is not finished" in refused("begun")
    assert "nowhere: does not exist" in refused("nowhere")
    assert "empty: is not a run and contains none" in refused("empty")
    Path("all/begun").mkdir(parents=True)
    Path("all/begun/recipe.yaml").write_text("version: 1\n")
    assert "no finished run found" in refused("all")


@pytest.mark.parametrize(
    ("changes", "settings", "parts"),
    [
        (
            {},
            {"data.name": None, "data.path": "cifar-10"},
            ["different data", "digits: one", "cifar-10: other"],
        ),
        ({}, {"data.size": 8}, ["different data", "digits at 8 pixels: other"]),
        (
            {"arch": "cifar_resnet20"},
            {},
            [
                "different dense networks",
                "cifar_resnet20 with 1,000 FLOPs and 200 parameters: other",
            ],
        ),
        ({"accuracy": None}, {"data.name": None}, ["different data", "no data: other"]),
    ],
)
def test_runs_of_several_kinds_are_refused(changes, settings, parts):
    make("one")
    make("other", settings, **changes)
    said = refused("one", "other")
    assert all(part in said for part in parts), said


def test_a_profile_of_another_version_whose_speed_ups_are_of_another_kind_is_left_out():
    runs = make("one"), make("two", {"seed": 1})
    for run in runs:
        add_profile(run, 2.0, 1.0)
    old = json.loads((runs[0] / "profile.json").read_text()) | {"schema": SCHEMA - 1}
    (runs[0] / "profile.json").write_text(json.dumps(old))
    [row] = compare_runs(runs)["rows"]
    assert {place: found["speedup"]["n"] for place, found in row["profiled"].items()} == {
        "cpu, batch 1": 1
    }


def test_a_damaged_report_or_profile_is_refused():
    run = make("one")
    add_profile(run, 2.0, 1.0)
    broken = {"schema": SCHEMA, "provider": "x", "timings": [], "comparisons": [{"batch": 1}]}
    (run / "profile.json").write_text(json.dumps(broken))
    assert "one/profile.json: is damaged: date_utc: Field required" in refused("one")
    (run / "profile.json").write_text(
        json.dumps({**run_samples.profile([], []), "comparisons": [run_samples.comparison(2.0)]})
    )
    assert "one/profile.json: is damaged: it: Value error, slim or dense is compared" in refused(
        "one"
    )
    (run / "profile.json").unlink()
    (run / "report.json").write_text('{"arch": "x"}')
    assert "one/report.json: is damaged" in refused("one")
    (run / "report.json").write_text("{")
    assert "can't be read" in refused("one")


def test_a_file_is_no_place_for_a_comparison():
    run = make("one")
    Path("table").write_text("mine")
    result = slimmer("compare", run, "--out", "table")
    assert result.exit_code == 2
    assert Path("table").read_text() == "mine"


# Its forms


@pytest.fixture
def comparison():
    masks = {"method.name": "maskconvnet", "method.lambda_v": [4], "budget.params": 0.6}
    runs = [make(f"taylor-{seed}", seed=seed, slim=0.9 + seed / 100) for seed in range(2)]
    runs += [
        make(f"masks-{base}", {**masks, "method.lambda_m": [base]}, flops=0.45) for base in (1, 3)
    ]
    add_profile(runs[0], 4.0, 2.0)
    return compare_runs(runs)


def test_markdown_holds_every_figure(comparison):
    lines = to_markdown(comparison, {"top-1 against FLOPs": "compare.png"}).splitlines()
    table = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in lines
        if line.startswith("|")
    ]
    head, _, *rows = table
    assert all(len(row) == len(head) for row in rows)
    taylor, masks, _ = (dict(zip(head, row, strict=True)) for row in rows)
    std = 100 * statistics.stdev([0.90, 0.91])
    assert taylor == {
        "method": "taylor",
        "settings": "",
        "runs": "2",
        "FLOPs left %": "49.00",
        "FLOPs removed %": "51.00",
        "FLOPs limit %": "50.00",
        "FLOPs miss %": "1.00",
        "params left %": "40.00",
        "params removed %": "60.00",
        "params limit %": "",
        "params miss %": "",
        "top-1 dense %": "95.00",
        "top-1 removed %": "50.00",
        "top-1 slim %": f"90.50 ± {std:.2f}",
        "epochs": "3",
        "seconds": "60",
        "ms dense > slim cpu, batch 1": "4 > 2 (2.00x)",
    }
    assert (masks["settings"], masks["params limit %"], masks["params miss %"]) == (
        "lambda_m=1",
        "60.00",
        "20.00",
    )
    assert "![top-1 against FLOPs](compare.png)" in lines
    assert "- maskconvnet, lambda_m=3, FLOPs 0.5, params 0.6: masks-3" in lines


def test_csv_holds_what_json_holds(comparison):
    rows = list(csv.DictReader(io.StringIO(to_csv([comparison]))))
    assert [row["method"] for row in rows] == ["taylor", "maskconvnet", "maskconvnet"]
    for row, told in zip(rows, comparison["rows"], strict=True):
        assert float(row["accuracy.slim.mean"]) == told["accuracy"]["slim"]["mean"]
        assert float(row["flops.miss.mean"]) == told["flops"]["miss"]["mean"]
        assert row["runs"].split() == told["runs"]
    assert rows[0]["profiled.cpu, batch 1.speedup.mean"] == "2.0"
    assert rows[1]["accuracy.slim.std"] == ""


@pytest.mark.parametrize("width", [80, 120, 250])
def test_the_table_fits_the_terminal_and_says_what_it_leaves_out(comparison, width):
    file = io.StringIO()
    show_comparison(comparison, Console(file=file, width=width, highlight=False, markup=False))
    title, *lines = file.getvalue().splitlines()
    table = lines[: next(number for number, line in enumerate(lines) if line.startswith("FLOPs: "))]
    assert max(map(len, table)) <= width
    assert "…" not in file.getvalue()
    text = "\n".join(table)
    assert all(
        part in text
        for part in ("taylor", "maskconvnet", "lambda_m=1", "lambda_m=3", "90.50 ± 0.71", "49.00")
    )
    assert "top-1 dense 95.00 %" in title
    assert ("Columns not shown" in file.getvalue()) == (width < 250)
    if width == 250:
        heads = {
            word for each in columns(comparison) if each.constant is None for word in each.head
        }
        assert all(word in text for word in heads)


def test_the_command_prints_json_and_writes_files_and_a_figure(comparison):
    runs = [run for row in comparison["rows"] for run in row["runs"]]
    result = slimmer("compare", *runs, "--json", "--out", "table")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout) == json.loads(json.dumps(comparison))
    assert json.loads(Path("table/compare.json").read_text()) == [json.loads(result.stdout)]
    assert (
        Path("table/compare.md").read_text().rstrip()
        == to_markdown(comparison, {"top-1 against FLOPs": "compare.png"}).rstrip()
    )
    assert Path("table/compare.csv").read_text() == to_csv([comparison])
    with Image.open("table/compare.png") as picture:
        colours = {colour for _, colour in picture.convert("RGB").getcolors(1 << 20)}
    assert {(0, 114, 178), (213, 94, 0)} <= colours  # one line for each of the methods
    assert {path.name for path in Path("table").iterdir()} == {
        f"compare.{end}" for end in ("md", "csv", "json", "png")
    }


def test_a_sweep_over_several_networks_has_a_table_and_a_figure_for_each():
    entries = [
        read_entry(make("one")),
        read_entry(make("two", arch="other")),
        read_entry(make("three", seed=1)),
    ]
    comparisons = [merge(part) for part in partition(entries)]
    assert [[row["runs"] for row in each["rows"]] for each in comparisons] == [
        [["one", "three"]],
        [["two"]],
    ]
    names = [path.name for path in write_comparison(Path("table"), comparisons, ["# Both", ""])]
    assert names == ["compare.md", "compare.csv", "compare.json", "compare-1.png", "compare-2.png"]
    text = Path("table/compare.md").read_text()
    assert [line for line in text.splitlines() if line.startswith("#")] == [
        "# Both",
        "## cifar_resnet8, digits; dense: 1.00 K FLOPs, 200 parameters",
        "## other, digits; dense: 1.00 K FLOPs, 200 parameters",
    ]
    table = csv.DictReader(io.StringIO(Path("table/compare.csv").read_text()))
    assert [row["arch"] for row in table] == ["cifar_resnet8", "other"]


def test_rows_under_masks_are_drawn_side_by_side():
    groups = [{"name": "conv1", "dense": 8, "slim": 4}]
    for name, start in (("one", 0.0), ("two", 0.2)):
        settings = {"method.name": "maskconvnet", "method.mask_start": start}
        left = {"flops": 0.55 + start, "params": 0.7}
        run = make(name, settings, groups=groups, before_projection=left)
        rest = {
            "event": "step",
            "steps": 10,
            "loss": 1.0,
            "batch_accuracy": 0.5,
            "images_per_s": 9.0,
            "params": 1.0,
        }
        steps = [
            {**rest, "time": n, "step": n, "epoch": n / 10, "flops": 1 - n / 20}
            for n in range(1, 11)
        ]
        masks = {
            "event": "masks",
            "time": 10.5,
            "step": 10,
            "epoch": 1.0,
            "histogram": [4, *[0] * 18, 4],
            "widths": [4],
        }
        Path(run, "events.jsonl").write_text(
            "".join(json.dumps(event) + "\n" for event in [*steps, masks])
        )
    result = slimmer("compare", "one", "two", "--out", "table")
    assert result.exit_code == 0, result.output
    text = Path("table/compare.md").read_text()
    assert "FLOPs masks %" in text
    assert "| 55.00 |" in text
    assert "| 75.00 |" in text
    for picture in ("masks/sparsity_over_time.png", "masks/sparsity_by_group.png"):
        assert f"]({picture})" in text
        with Image.open(Path("table", picture)) as image:
            assert image.width > 500


def test_without_accuracy_there_is_no_figure_and_no_column():
    run = make("one", {"data.name": None}, accuracy=None)
    result = slimmer("compare", run, "--out", "table")
    assert result.exit_code == 0, result.output
    assert "top-1" not in result.stdout
    assert not list(Path("table").glob("*.png"))


def test_python_gives_the_same(comparison):
    runs = [run for row in comparison["rows"] for run in row["runs"]]
    assert package.compare(*runs, out="table") == comparison
    assert Path("table/compare.md").is_file()
    with pytest.raises(RunError, match="no finished run"):
        package.compare()
