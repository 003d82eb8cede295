"""What the documentation says can be done: its commands and programs are run, or at least read."""

import ast
import os
import re
import shlex
import shutil
import subprocess
import sys
from contextlib import chdir
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

import slimmer
from slimmer import demo
from slimmer.atomic_files import read_json
from slimmer.cli import main

ROOT = Path(__file__).parents[1]
ELSEWHERE = {
    "decisions.md",
    "extending.md",
}  # the examples of the latter are those of test_extending.py
GUIDES = sorted(page for page in ROOT.glob("docs/*.md") if page.name not in ELSEWHERE)
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "tests" / "README.md", *GUIDES]
RUN_IN_ORDER = ["docs/getting-started.md", "docs/reports.md", "docs/deploy.md"]
BLOCK = re.compile(r"(?:<!-- run(?: with (\w+))?( -->)\n)?```(\w*)\n(.*?)```", re.DOTALL)
LANGUAGES = {"bash", "cpp", "javascript", "math", "python", "yaml"}


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its text, whether it is marked to be run, and the package that
    running it needs.
    """

    page: str
    language: str
    text: str
    run: bool
    needs: str


BLOCKS = [
    Block(str(page.relative_to(ROOT)), language, text, bool(mark), needs)
    for page in PAGES
    for needs, mark, language, text in BLOCK.findall(page.read_text(encoding="utf-8"))
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
    name, *rest = arguments
    if isinstance(command, click.Group):
        parent, name, *rest = click.Context(command, parent=parent), *rest
        command = command.commands[name]
    return command.make_context(name, list(rest), parent=parent).params


def targets():
    """What `make` can make."""
    return set(
        re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    )


def test_every_block_has_a_language_that_is_checked():
    """test_sweep.py reads the YAML, test_site.py the formulas."""
    assert {block.language for block in BLOCKS} == LANGUAGES


def test_the_readme_leads_with_the_demo_and_three_commands():
    first = [words[:2] for block, words in LINES if block.page == "README.md"]
    assert first[:2] == [["make", "demo"], ["pip", "install"]]
    assert [words[1] for words in first[2:]] == ["prune", "export", "profile"]


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) < 120


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
        case ["trtexec", "--onnx=slim.onnx", *options]:
            ranges = [each.partition("=input:")[0] for each in options if "=" in each]
            assert ranges == ["--minShapes", "--optShapes", "--maxShapes"]
        case _:
            pytest.fail(f"{block.page}: no test knows {words}")


def is_file(block):
    """Whether a block is a whole file of the user's, which test_task_page.py runs."""
    return block.page == "docs/tasks.md" and "import slimmer" not in block.text


@pytest.mark.parametrize(
    "block",
    [each for each in BLOCKS if each.language == "python" and not (each.run or is_file(each))],
    ids=lambda b: b.text[:40],
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


def test_the_makefile_runs_the_demo_that_the_first_page_shows():
    recipe = re.search(
        r"^demo:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE
    )[1]
    commands = [
        line.strip().removeprefix("$(BIN)/")
        for line in recipe.splitlines()
        if not line.startswith("\t@")
    ]
    shown = next(block.text for block in BLOCKS if block.page == RUN_IN_ORDER[0] and block.run)
    assert commands == shown.splitlines()


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    """What the blocks that are marked print, run in their order in one folder; by line, and for
    programs by their first import.
    """
    folder = tmp_path_factory.mktemp("pages")
    (folder / "recipes").symlink_to(ROOT / "recipes")
    printed = {}
    with chdir(folder):
        for block in sorted(
            (block for block in BLOCKS if block.run), key=lambda b: RUN_IN_ORDER.index(b.page)
        ):
            if block.needs and find_spec(block.needs) is None:
                continue
            if block.language == "python":
                printed[block.text.split()[1]] = python(block.text)
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


def test_the_other_examples_do_what_they_say(outputs):
    folder, printed = outputs
    ratio, top1 = map(float, printed["slimmer"].split())
    assert ratio <= 0.5
    assert top1 > 0.5
    one_shot = read_json(folder / "runs" / "one-shot" / "report.json")
    assert one_shot["epochs"] == 0
    assert one_shot["accuracy"]["slim"] == one_shot["accuracy"]["removed"]
    inspected = next(text for line, text in printed.items() if line.startswith("slimmer inspect"))
    assert "3,024,512" in inspected


def test_the_exported_network_answers_in_onnx_runtime(outputs):
    answers = ast.literal_eval(outputs[1]["json"])
    assert len(answers) == 4
    assert set(answers) <= set("0123456789")


@pytest.mark.skipif(find_spec("openvino") is None, reason="openvino is not installed")
def test_the_exported_network_answers_in_openvino(outputs):
    assert outputs[1]["numpy"].strip() == "(4, 10)"


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
def test_the_program_for_browsers_can_be_read(tmp_path):
    (block,) = [block for block in BLOCKS if block.language == "javascript"]
    (tmp_path / "classify.mjs").write_text(block.text)
    checked(["node", "--check", str(tmp_path / "classify.mjs")])


@pytest.mark.skipif(shutil.which("g++") is None, reason="g++ is not installed")
def test_the_program_in_cpp_can_be_read(tmp_path):
    """By ONNX Runtime's own headers if ONNXRUNTIME_INCLUDE is their folder, else by a stand-in."""
    (block,) = [block for block in BLOCKS if block.language == "cpp"]
    (tmp_path / "classify.cpp").write_text(block.text)
    headers = os.environ.get("ONNXRUNTIME_INCLUDE", str(ROOT / "tests" / "onnxruntime_headers"))
    checked(["g++", "-std=c++17", "-fsyntax-only", "-I", headers, str(tmp_path / "classify.cpp")])


def checked(command):
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
