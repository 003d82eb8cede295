"""The examples of docs/extending.md are packages that install, and their commands do what the page
says.
"""

import json
import re
import shlex
import shutil
import sys
import tomllib
from contextlib import chdir
from dataclasses import replace
from pathlib import Path

import plugins
import pytest
import torch
from main_job import slimmer

import slimmer as package
from slimmer.errors import RecipeError
from slimmer.exporting.onnx import read_metadata
from slimmer.recipe import costs, method_entries, read_recipe
from slimmer.registry import Registry
from slimmer.runs.schemas import TAKEN

PAGE = (Path(__file__).parents[1] / "docs" / "extending.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", PAGE, re.DOTALL | re.MULTILINE))
METHODS = ["A criterion", "A trained method"]


def blocks(section, language):
    """The section's code in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", SECTIONS[section], re.DOTALL | re.MULTILINE)


def install(section, where, patch):
    """Install the section's package; returns its entry points, group -> name -> value."""
    (code,), (metadata,) = blocks(section, "python"), blocks(section, "toml")
    points = tomllib.loads(metadata)["project"]["entry-points"]
    ((_, entries),) = points.items()
    (value,) = entries.values()
    plugins.install(where, patch, value.partition(":")[0], code, points)
    return points


@pytest.fixture
def fresh_costs(monkeypatch):
    """The registry of costs as it is before anybody has looked up a name."""
    new = Registry("cost", RecipeError, entry_points="slimmer.costs", kind=costs.CostKind)
    for kind in costs.BUILT_IN:
        new.add(kind.name, kind)
    for module in [
        each for each in sys.modules.values() if getattr(each, "COSTS", None) is costs.COSTS
    ]:
        monkeypatch.setattr(module, "COSTS", new)
    return monkeypatch


@pytest.fixture
def fresh(monkeypatch):
    """The registries of methods as they are before anybody has looked up a name."""
    for attribute in ("CRITERIA", "METHODS"):
        group, entries = f"slimmer.{attribute.lower()}", f"BUILT_IN_{attribute}"
        new = Registry(attribute, RecipeError, entry_points=group)
        for entry in getattr(method_entries, entries):
            new.add(entry.name, entry)
        monkeypatch.setattr(method_entries, attribute, new)
    return monkeypatch


@pytest.mark.parametrize("section", METHODS)
def test_an_installed_method_is_used_by_its_name(section, tmp_path, fresh, checkpoint):
    (entries,) = install(section, tmp_path / "site", fresh).values()
    (name,) = entries
    shutil.copy(checkpoint, tmp_path / "digits_resnet8.safetensors")
    for line in blocks(section, "console"):
        with chdir(tmp_path):
            result = slimmer(*shlex.split(line)[1:], "--out", "run")
        assert result.exit_code == 0, result.output
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert report["method"] == name
    assert report["flops"]["ratio"] <= 0.5
    assert name in (tmp_path / "run" / "report.md").read_text()


def test_a_recipe_knows_the_options_of_an_installed_method(tmp_path, fresh):
    install("A trained method", tmp_path / "site", fresh)
    recipe = read_recipe(None, [("method.name", "structure_selection"), ("method.strength", 0.5)])
    assert recipe.method.strength == 0.5
    assert "structure_selection" in recipe.to_yaml()
    assert (
        read_recipe(None, [("method", {"name": "structure_selection", "strength": 0.5})]) == recipe
    )


@pytest.fixture
def peak_memory(tmp_path, fresh_costs, checkpoint):
    """The page's cost installed, and the dense network beside it."""
    install("A cost", tmp_path / "site", fresh_costs)
    shutil.copy(checkpoint, tmp_path / "digits_resnet8.safetensors")
    fresh_costs.chdir(tmp_path)
    return tmp_path


def largest_output(network, size):
    """The bytes of the largest output of a convolution or linear layer, in its exported program."""
    program = torch.export.export(network.eval(), (torch.zeros(1, *size),))
    made = [node for node in program.graph.nodes if node.target in LAYERS]
    return max(4 * node.meta["val"].numel() for node in made)


LAYERS = (torch.ops.aten.conv2d.default, torch.ops.aten.linear.default)


def test_an_installed_cost_is_a_budget_from_the_command_line_to_report_compare_and_inspect(
    peak_memory,
):
    (line,) = blocks("A cost", "console")
    words = shlex.split(line)[1:]
    result = slimmer(*words, "--out", "run")
    assert result.exit_code == 0, result.output
    report = json.loads(Path("run/report.json").read_text())
    told = report["peak_memory"]
    assert (
        told["slim"]
        == largest_output(package.load("run"), report["input_size"])
        <= 5 * 1024
        == told["limit"]
    )
    assert told["dense"] > told["limit"]
    assert report["flops"]["ratio"] <= 0.6
    assert report["recount"]["largest output"] == told["slim"]
    row = f"| peak memory (bytes) | {told['dense']:,} | {told['slim']:,} |"
    text = Path("run/report.md").read_text()
    assert row in text
    assert "at most 5 KiB" in text
    assert (
        "peak memory: largest output of a convolution or linear layer, float32, one image" in text
    )
    assert "peak memory (bytes)" in result.stdout
    assert "peak memory " in result.stderr

    assert slimmer("prune", *words[1:], "--seed", 1, "--out", "other").exit_code == 0
    compared = slimmer("compare", "run", "other", "--out", "compared")
    assert compared.exit_code == 0, compared.output
    table = Path("compared/compare.md").read_text()
    assert "peak memory left %" in table
    assert "peak memory 5KiB" in table
    assert f"peak memory {told['dense'] / 1024:.4g} KiB" in table
    assert "peak_memory.ratio.mean" in Path("compared/compare.csv").read_text()

    inspected = slimmer("inspect", "digits_resnet8.safetensors")
    assert "peak memory (bytes)" in inspected.stdout
    exported = slimmer("export", "run")
    assert exported.exit_code == 0, exported.output
    assert (
        json.loads(Path("run/export.json").read_text())["networks"]["slim"]["peak_memory"]
        == told["slim"]
    )
    assert row in Path("run/report.md").read_text()


def test_an_installed_cost_is_a_key_of_the_recipes_budget(peak_memory):
    Path("recipe.yaml").write_text("budget: {peak_memory: 0.5}\nfinetune: {epochs: 0}\n")
    result = slimmer(
        "prune", "digits_resnet8.safetensors", "--recipe", "recipe.yaml", "--out", "run"
    )
    assert result.exit_code == 0, result.output
    assert json.loads(Path("run/report.json").read_text())["peak_memory"]["ratio"] <= 0.5
    again = read_recipe(Path("run/recipe.yaml"))
    assert again.budget.amounts()["peak_memory"].value == 0.5
    assert again == read_recipe(Path("run/recipe.yaml"))
    result = package.prune("digits_resnet8.safetensors", budgets={"peak_memory": "50%"}, epochs=0)
    assert result.report["peak_memory"]["ratio"] <= 0.5


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (
            ["--budget", "peak_memoy=0.5"],
            "budget.peak_memoy: is not known; did you mean 'peak_memory'?",
        ),
        (["--budget", "peak_memory=lots"], "budget.peak_memory: 'lots' is not a valid amount"),
        (["--budget", "peak_memory=5GHz"], "budget.peak_memory: '5GHz' is not a valid amount"),
        (["--set", "budget.flops=2MiB"], "budget.flops: '2MiB' is not a valid amount"),
        (["--budget", "flops=0.5", "--flops", "0.6"], "budget.flops: is given twice"),
        (["--budget", "flops"], "'flops' is not NAME=AMOUNT"),
        (
            ["--budget", "peak_memory=1KiB", "--budget", "params=2"],
            "budget.params: '2' is too large for a ratio",
        ),
        (["--budget", "peak_memory=100"], "too large for a ratio"),
    ],
)
def test_a_budget_that_cannot_be_read_is_refused_at_the_recipe(peak_memory, options, told):
    result = slimmer("prune", "no_such_file.pth", *options, "--out", "run")
    assert result.exit_code == 2
    assert told in " ".join(result.output.split())
    assert "no_such_file" not in result.output  # the recipe comes first
    assert not Path("run").exists()


def test_what_an_installed_cost_says_in_a_report_is_checked_when_it_is_read(peak_memory):
    assert (
        slimmer(
            "prune", "digits_resnet8.safetensors", "--budget", "peak_memory=0.5", "--out", "run"
        ).exit_code
        == 0
    )
    report = json.loads(Path("run/report.json").read_text())
    report["peak_memory"]["slim"] = "small"
    Path("run/report.json").write_text(json.dumps(report))
    result = slimmer("compare", "run")
    assert result.exit_code == 2
    assert "is damaged" in result.output


def test_no_key_that_stands_beside_costs_can_be_a_costs_name(main_job):
    """Else a package's cost could take the place of something else in a file."""
    run = main_job.run.path
    found = [json.loads((run / name).read_text()) for name in ("report.json", "dense.json")]
    found += [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
    exported = json.loads((run / "export.json").read_text())["networks"].values()
    found += [*exported, *(read_metadata(Path(each["file"])) for each in exported)]
    found += package.compare(run)["rows"]
    found.append(package.inspect(run / "slim.safetensors"))
    own = {kind.name for kind in costs.BUILT_IN}
    ends = ("_convention", "budget_flops", "budget_params")
    left = {key for each in found for key in each if not key.endswith(ends)} - own - TAKEN
    assert left <= {"limits", "text"}, left


def test_masks_are_trained_toward_a_budget_on_an_installed_cost(peak_memory):
    options = ["--set", "method.name=maskconvnet", "--budget", "peak_memory=0.5", "--flops", "0.7"]
    words = ["--data", "digits", "--epochs", "2", "--out", "run"]
    result = slimmer("prune", "digits_resnet8.safetensors", *words, *options)
    assert result.exit_code == 0, result.output
    report = json.loads(Path("run/report.json").read_text())
    assert report["peak_memory"]["ratio"] <= 0.5
    assert 0 < report["before_projection"]["peak_memory"] <= 1
    assert "of the peak memory" in Path("run/report.md").read_text()
    steps = [
        each
        for each in map(json.loads, Path("run/events.jsonl").read_text().splitlines())
        if "loss" in each
    ]
    assert any(each.get("peak_memory", 0) > 0 for each in steps)
    assert "figures/sparsity.png" in report["figures"]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"name": "groups"}, "cost groups: this name is already a key in the files of a run"),
        ({"build": lambda _: 3}, "cost peak_memory: returned int ''"),
        ({"build": "no_such_module:f"}, "no_such_module:f: can't be loaded: ModuleNotFoundError"),
        ({"count": lambda _: {"by hand": 7}}, "peak_memory were planned, 7 counted"),
    ],
)
def test_an_entry_that_is_wrong_is_one_error_before_anything_is_trained(peak_memory, change, told):
    kind = costs.COSTS._loaded().pop("peak_memory")
    wrong = replace(kind, **change)
    costs.COSTS.add(wrong.name, wrong)
    result = slimmer("prune", "digits_resnet8.safetensors", "--flops", "0.5", "--out", "run")
    assert result.exit_code == 2
    assert told in " ".join(result.output.split())
    assert not Path("run").exists()


def test_a_cost_that_is_not_always_computed_is_there_with_a_budget_on_it_alone(peak_memory):
    kind = costs.COSTS._loaded().pop("peak_memory")
    costs.COSTS.add("peak_memory", replace(kind, always=False, count=None))
    for option, there in (("--flops", False), ("--budget", True)):
        amount = "peak_memory=0.5" if there else "0.5"
        result = slimmer("prune", "digits_resnet8.safetensors", option, amount, "--out", option[2:])
        assert result.exit_code == 0, result.output
        assert ("peak_memory" in json.loads(Path(option[2:], "report.json").read_text())) == there
    compared = slimmer("compare", "flops", "budget", "--json")
    assert compared.exit_code == 0, compared.output
    assert ["peak_memory" in row for row in json.loads(compared.stdout)["rows"]] == [False, True]
    assert slimmer("compare", "flops", "budget").exit_code == 0


def test_a_package_that_cannot_be_imported_is_one_error_and_help_is_still_there(
    tmp_path, fresh_costs
):
    entries = {"slimmer.costs": {"broken": "broken:COST"}}
    plugins.install(tmp_path / "site", fresh_costs, "broken", "import no_such_module", entries)
    result = slimmer("prune", "no_such_file.pth", "--flops", "0.5", "--out", tmp_path / "run")
    assert result.exit_code == 2
    assert (
        "broken 1.0, entry point slimmer.costs:broken: 'broken:COST' can't be loaded"
        in result.output
    )
    assert not (tmp_path / "run").exists()
    assert slimmer("prune", "--help").exit_code == 0
