"""What the documentation says can be done: its commands are run or parsed, its tables are those of
the code.
"""

import ast
import os
import re
import shlex
import subprocess
import sys
from contextlib import chdir
from dataclasses import dataclass
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

import slimmer
from slimmer import demo
from slimmer.atomic_files import read_json
from slimmer.cli import main
from slimmer.recipe import Recipe
from slimmer.recipe.method_entries import AUTO, built_in

ROOT = Path(__file__).parents[1]
ELSEWHERE = {
    "decisions.md",
    "extending.md",
}  # the examples of the latter are those of test_extending.py
GUIDES = sorted(page for page in ROOT.glob("docs/*.md") if page.name not in ELSEWHERE)
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "tests" / "README.md", *GUIDES]
BLOCK = re.compile(r"(<!-- run -->\n)?```(\w*)\n(.*?)```", re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its text, and whether it is marked to be run."""

    page: str
    language: str
    text: str
    run: bool


BLOCKS = [
    Block(str(page.relative_to(ROOT)), language, text, bool(mark))
    for page in PAGES
    for mark, language, text in BLOCK.findall(page.read_text(encoding="utf-8"))
]
LINES = [
    (block, shlex.split(line, comments=True))
    for block in BLOCKS
    if block.language == "bash"
    for line in block.text.splitlines()
    if line.strip()
]


def parse(arguments):
    """The parameters that `slimmer` reads from the arguments; click's error where it can't."""
    command = main.commands[arguments[0]]
    parent = click.Context(
        main, **main.context_settings
    )  # the main command's own, since options keep their help
    context = command.make_context(arguments[0], list(arguments[1:]), parent=parent)
    return context.params


def targets():
    """What `make` can make."""
    return set(
        re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    )


def test_every_block_has_a_language_that_is_checked():
    assert {block.language for block in BLOCKS} == {
        "bash",
        "python",
        "yaml",
    }  # test_sweep.py reads the YAML


def test_readme_leads_with_the_demo_and_the_tests():
    first = [words for block, words in LINES if block.page == "README.md"][:2]
    assert first == [["make", "demo"], ["make", "test"]]


@pytest.mark.parametrize(
    ("block", "words"), LINES, ids=[" ".join(words)[:60] for _, words in LINES]
)
def test_a_command_line_can_be_read(block, words):
    match words:
        case ["slimmer", *arguments]:
            assert parse(arguments)
        case ["torchrun", *options]:
            here = options.index("-m")
            assert options[here + 1] == "slimmer"
            assert parse(options[here + 2 :])
        case ["make", target] | ["SLIMMER_GOLDEN=write", "make", target]:
            assert target in targets()
        case ["python", "-m", "slimmer.demo", file]:
            assert file.endswith(".safetensors")
        case ["pip", "install", what]:
            assert re.fullmatch(r"\.(\[\w+\])?", what)
        case _:
            pytest.fail(f"{block.page}: no test knows {words}")


@pytest.mark.parametrize(
    "block", [block for block in BLOCKS if block.language == "python"], ids=lambda b: b.text[:40]
)
def test_a_python_block_uses_names_that_slimmer_has(block):
    used = [
        node.attr
        for node in ast.walk(ast.parse(block.text))
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "slimmer"
    ]
    assert used
    assert set(used) <= set(slimmer.__all__)


def test_the_makefile_runs_the_demo_that_the_readme_shows():
    recipe = re.search(
        r"^demo:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE
    )[1]
    commands = [
        line.strip().removeprefix("$(BIN)/")
        for line in recipe.splitlines()
        if not line.startswith("\t@")
    ]
    shown = next(block.text for block in BLOCKS if block.page == "README.md" and block.run)
    assert commands == shown.splitlines()


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    """What the README's blocks that are marked print, run in their order in one folder."""
    folder = tmp_path_factory.mktemp("readme")
    (folder / "recipes").symlink_to(ROOT / "recipes")
    printed = {}
    with chdir(folder):
        for block in (block for block in BLOCKS if block.page == "README.md" and block.run):
            if block.language == "python":
                printed["python"] = python(block.text)
                continue
            for line in block.text.splitlines():
                words = shlex.split(line)
                printed[line] = (
                    demo.pretrain(Path(words[3])) if words[0] == "python" else run(words[1:])
                )
    return folder, printed


def run(arguments):
    result = CliRunner().invoke(main, arguments, prog_name="slimmer", catch_exceptions=False)
    assert result.exit_code == 0, result.stderr
    return result.stdout


def python(code):
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env=os.environ
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_demo_keeps_its_budget_and_nearly_all_of_its_accuracy(outputs):
    folder, printed = outputs
    assert printed["python -m slimmer.demo runs/digits_resnet8.safetensors"] > 0.97
    report = read_json(folder / "runs" / "cifar_resnet8-1" / "report.json")
    assert 0.49 < report["flops"]["ratio"] <= 0.5
    assert report["accuracy"]["slim"] > report["accuracy"]["dense"] - 0.02


def test_the_demo_exports_and_profiles_its_run(outputs):
    run_folder = outputs[0] / "runs" / "cifar_resnet8-1"
    exported, profiled = (
        read_json(run_folder / "export.json"),
        read_json(run_folder / "profile.json"),
    )
    assert {path.name for path in run_folder.glob("*.onnx")} == {"dense.onnx", "slim.onnx"}
    assert exported["networks"]["slim"]["parity"]["test"]["top1_agreement"] == 1.0
    assert profiled["comparisons"]


def test_the_readmes_other_examples_do_what_they_say(outputs):
    folder, printed = outputs
    ratio, top1 = map(float, printed["python"].split())
    assert ratio <= 0.5
    assert top1 > 0.5
    one_shot = read_json(folder / "runs" / "one-shot" / "report.json")
    assert one_shot["epochs"] == 0
    assert one_shot["accuracy"]["slim"] == one_shot["accuracy"]["removed"]
    inspected = next(text for line, text in printed.items() if line.startswith("slimmer inspect"))
    assert "3,024,512" in inspected


def keys():
    """The table of every key of a recipe, and one for each method."""
    rows = ["| key | default | description |", "|---|---|---|"]
    for name, field in Recipe.model_fields.items():
        section = hasattr(field.annotation, "model_fields")
        if name != "method":
            fields = {"": field}
            if section:
                fields = {
                    key: field.annotation.model_fields[key] for key in field.annotation.known_keys()
                }
            rows += _rows(fields, name + "." * section)
    named = {}
    for entry in built_in():
        named.setdefault(entry.options, [AUTO] if entry.name == "taylor" else []).append(entry.name)
    for method, names in named.items():
        rows += [
            "",
            f"### `method.name`: {', '.join(f'`{name}`' for name in names)}",
            "",
            " ".join(method.__doc__.split()),
            "",
        ]
        options = {key: field for key, field in method.model_fields.items() if key != "name"}
        rows += ["| key | default | description |", "|---|---|---|", *_rows(options, "method.")]
    return "\n".join(rows) + "\n"


def _rows(fields, prefix):
    rows = []
    for key, entry in fields.items():
        assert entry.description, f"{prefix}{key} has no description"
        shown = "" if entry.default in (None, ()) else f"`{_shown(entry.default)}`"
        rows.append(f"| `{prefix}{key}` | {shown} | {entry.description} |")
    return rows


def _shown(default):
    if isinstance(default, tuple):
        return f"[{', '.join(map(_shown, default))}]"
    return str(default).lower() if isinstance(default, bool) else str(default)


def test_the_page_on_recipes_lists_every_key():
    """Set SLIMMER_GOLDEN=write to take over a change that is meant."""
    page = ROOT / "docs" / "recipes.md"
    head, mark, _ = page.read_text(encoding="utf-8").partition("## Every key\n\n")
    if os.environ.get("SLIMMER_GOLDEN") == "write":
        page.write_text(head + mark + keys(), encoding="utf-8")
    assert page.read_text(encoding="utf-8") == head + mark + keys()


def test_the_page_on_recipes_names_every_recipe():
    text = (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8")
    assert all(f"| `{file.stem}` |" in text for file in ROOT.glob("recipes/*.yaml"))


def test_the_page_on_tests_names_every_file_of_tests():
    text = (ROOT / "tests" / "README.md").read_text(encoding="utf-8")
    assert [
        file.name for file in (ROOT / "tests").glob("test_*.py") if f"`{file.name}`" not in text
    ] == []


def test_links_between_pages_lead_somewhere():
    links = [
        (page, link)
        for page in PAGES
        for link in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8"))
    ]
    assert links
    missing = [
        (page.name, link)
        for page, link in links
        if "://" not in link and not (page.parent / link).exists()
    ]
    assert missing == []
