"""What packages and services read of the project: its metadata, on every platform."""

import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


@pytest.mark.parametrize(
    ("system", "machine", "package"),
    [
        ("linux", "x86_64", "onnxruntime-gpu"),
        ("win32", "AMD64", "onnxruntime-gpu"),
        ("linux", "aarch64", "onnxruntime"),
        ("win32", "ARM64", "onnxruntime"),
        ("darwin", "arm64", "onnxruntime"),
        ("darwin", "x86_64", "onnxruntime"),
    ],
)
def test_each_platform_gets_the_one_onnx_runtime_that_has_a_wheel_for_it(system, machine, package):
    platform = {"sys_platform": system, "platform_machine": machine}
    required = [Requirement(line) for line in PROJECT["dependencies"]]
    runtimes = [each for each in required if each.name.startswith("onnxruntime")]
    assert [each.name for each in runtimes if each.marker.evaluate(platform)] == [package]


def test_the_licence_is_named_and_lies_in_the_repository():
    assert PROJECT["license"] == "MIT"
    assert (ROOT / "LICENSE").read_text(encoding="utf-8").startswith("MIT License")


def test_the_citation_has_the_version_of_the_package_and_every_reproduced_method():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert cited["version"] == PROJECT["version"]
    notes = " ".join(each["notes"] for each in cited["references"])
    assert all(
        f"`{name}`" in notes for name in ("maskconvnet", "network_slimming", "l1", "bar", "taylor")
    )


def test_pre_commit_and_hosted_ci_run_the_checks_of_this_repository():
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"][
        0
    ]["hooks"]
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert [hook["id"] for hook in hooks] == [
        "ruff-format",
        "ruff-check",
        "mypy",
        "import-contracts",
    ]
    assert all(
        hook["entry"].replace(".venv/bin", "$(BIN)").split()[0] in makefile for hook in hooks
    )
    hosted = yaml.safe_load((ROOT / ".github/workflows/check.yml").read_text(encoding="utf-8"))
    assert hosted["jobs"]["check"]["steps"][-1]["run"] == "bash .ci/run"
    versions = hosted["jobs"]["check"]["strategy"]["matrix"]["python"]
    assert all(
        f"Programming Language :: Python :: {version}" in PROJECT["classifiers"]
        for version in versions
    )
