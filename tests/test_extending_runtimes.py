"""A runtime of another package: the page's example is installed, runs the networks, and is called
by its name.
"""

import json
import shlex
import shutil
import sys
from contextlib import chdir

import numpy as np
import pytest
from main_job import QUICK, slimmer
from plugins import install
from test_extending import blocks
from test_extending import install as install_example

from slimmer.errors import RecipeError, RuntimeUnavailableError
from slimmer.profiling.runtimes.known import RUNTIMES, check_runtimes
from slimmer.profiling.runtimes.onnxruntime import open_session
from slimmer.profiling.runtimes.runtime import FunctionSession, Request, Runtime
from slimmer.profiling.runtimes.session_options import DEFAULTS, Options
from slimmer.recipe import read_recipe
from slimmer.recipe.runtimes import BUILT_IN, GROUP


@pytest.fixture
def fresh(monkeypatch):
    """The registry of runtimes as it is before anybody has looked up a name."""
    monkeypatch.setattr(RUNTIMES, "_entries", {name: RUNTIMES[name] for name in BUILT_IN})
    monkeypatch.setattr(RUNTIMES, "_group", GROUP)
    return monkeypatch


@pytest.fixture
def reference(tmp_path, fresh):
    """The page's example, installed."""
    install_example("A runtime", tmp_path / "site", fresh)


@pytest.fixture
def run(main_job, tmp_path):
    """A copy of a finished, exported run."""
    shutil.copytree(main_job.run.path, tmp_path / "run")
    return tmp_path / "run"


def test_the_names_that_a_recipe_knows_are_those_of_the_registry():
    assert tuple(RUNTIMES)[: len(BUILT_IN)] == tuple(BUILT_IN)
    assert all(name == entry.name for name, entry in RUNTIMES.items())


def test_an_installed_runtime_profiles_a_run_under_its_own_name(reference, run, tmp_path, fresh):
    import onnx
    from onnx.reference import ReferenceEvaluator

    calls, true_run = [], ReferenceEvaluator.run

    def counted(self, *arguments, **options):
        calls.append(self)
        return true_run(self, *arguments, **options)

    fresh.setattr(ReferenceEvaluator, "run", counted)
    (line,) = blocks("A runtime", "console")
    with chdir(tmp_path):
        told = slimmer(*shlex.split(line)[1:], width=160)
    assert told.exit_code == 0, told.output
    found = json.loads((run / "profile.json").read_text())
    assert {one["runtime"] for one in found["timings"]} == {"onnx-reference"}
    assert [one["model"] for one in found["timings"]] == ["dense", "slim"]
    assert found["runtimes"] == {
        "onnx-reference": {"label": "ONNX reference evaluator", "version": onnx.__version__}
    }
    assert found["traces"] == found["fresh"] == []  # which are ONNX Runtime's alone
    assert len(set(calls)) == 2  # one session a network
    assert len(calls) >= sum(one["samples"] for one in found["timings"]) >= 4
    assert "onnx-reference" in told.output
    report = (run / "report.md").read_text()
    assert f"ONNX reference evaluator {onnx.__version__}" in report
    assert "| onnx-reference |" in report


def test_an_installed_runtime_computes_what_onnx_runtime_computes(reference, main_job):
    path = main_job.run.onnx("slim")
    x = np.random.default_rng(0).standard_normal((2, 1, 16, 16), dtype=np.float32)
    session = RUNTIMES["onnx-reference"].open_file(path, Request())
    expected = open_session(path, provider="cpu", threads=1).run(x)
    np.testing.assert_allclose(session.run(x), expected, rtol=1e-3, atol=1e-4)
    assert session.copies(x) == {}


def test_a_recipe_names_an_installed_runtime_beside_slimmers_own(reference, run):
    recipe = read_recipe(None, [("profile.runtimes", ["onnxruntime", "onnx-reference"])])
    assert recipe.profile.runtimes == ("onnxruntime", "onnx-reference")
    assert "reference_runtime" not in sys.modules  # a recipe is read without loading it
    told = slimmer("profile", run, "--runtime", "onnxruntime,onnx-reference", *QUICK)
    assert told.exit_code == 0, told.output
    found = json.loads((run / "profile.json").read_text())
    cases = [(one["runtime"], one["model"]) for one in found["timings"]]
    assert cases == [
        (name, model) for name in recipe.profile.runtimes for model in ("dense", "slim")
    ]
    assert {one["runtime"] for one in found["traces"]} == {"onnxruntime"}
    assert set(found["runtimes"]) == {"onnxruntime", "onnx-reference"}


def test_an_unknown_runtime_is_refused_with_the_nearest(reference):
    with pytest.raises(RecipeError, match="did you mean 'onnx-reference'"):
        read_recipe(None, [("profile.runtimes", ["onnx-referenc"])])
    with pytest.raises(RecipeError, match="did you mean 'torch-compiled'"):
        RUNTIMES["torch-compile"]


@pytest.mark.parametrize("provider", ["cuda", "npu"])
def test_a_runtime_of_the_cpu_refuses_another_provider_before_anything_is_opened(
    reference, run, provider
):
    before = (run / "profile.json").read_bytes()
    told = slimmer("profile", run, "--runtime", "onnx-reference", "--provider", provider, *QUICK)
    assert told.exit_code == 2
    assert f"{provider!r} is not known" in told.output
    assert (run / "profile.json").read_bytes() == before


def test_options_that_no_runtime_takes_are_refused_and_not_dropped(reference):
    for names in (["onnx-reference"], ["torch"]):
        with pytest.raises(
            RuntimeUnavailableError, match=r"(?s)takes no such options: strict, tf32.*onnxruntime"
        ):
            check_runtimes(names, "cpu", Options(strict=True, tf32=True))
    assert check_runtimes(["onnx-reference", "onnxruntime"], "cpu", Options(strict=True)) == {
        "onnx-reference": "cpu",
        "onnxruntime": "cpu",
    }


def test_a_runtime_that_is_not_available_here_says_why(tmp_path, fresh):
    code = (
        "from slimmer.profiling.runtimes.runtime import Runtime\n"
        "ABSENT = Runtime('absent', 'Absent', print, unavailable=lambda: 'libabsent.so is missing')"
    )
    install(
        tmp_path / "site",
        fresh,
        "absent_runtime",
        code,
        {GROUP: {"absent": "absent_runtime:ABSENT"}},
    )
    with pytest.raises(RuntimeUnavailableError, match=r"runtime absent: libabsent\.so is missing"):
        check_runtimes(["absent"], "cpu", DEFAULTS)


@pytest.mark.parametrize("opens", [{}, {"open_file": print, "open_module": print}])
def test_a_runtime_opens_files_or_modules(opens):
    with pytest.raises(ValueError, match="runtime 'x' opens either files or modules"):
        Runtime("x", "X", **opens)


def test_a_function_is_a_session():
    seen = []
    session = FunctionSession("doubled", lambda x: seen.append(len(x)) or 2 * x)
    x = np.ones((3, 1), np.float32)
    assert (session.run(x) == 2).all()
    session.prepare(x)()
    assert seen == [3, 3]
