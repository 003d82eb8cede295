"""A test that asserts nothing can't fail, so there is none."""

import ast
from pathlib import Path

CHECKS = ("raises", "warns")


def called(function):
    """The last names of what a function calls."""
    calls = [node.func for node in ast.walk(function) if isinstance(node, ast.Call)]
    return {
        call.attr if isinstance(call, ast.Attribute) else getattr(call, "id", "") for call in calls
    }


def checks_itself(function):
    return any(isinstance(node, ast.Assert) for node in ast.walk(function)) or any(
        name in CHECKS or name.startswith("assert_") for name in called(function)
    )


def without_a_check(sources):
    """The test functions that neither assert nor expect an error, nor call a function of these
    sources that does.
    """
    functions = [
        node
        for source in sources
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef)
    ]
    checking = {function.name for function in functions if checks_itself(function)}
    while more := {f.name for f in functions if f.name not in checking and called(f) & checking}:
        checking |= more
    return sorted(
        f.name for f in functions if f.name.startswith("test_") and f.name not in checking
    )


def test_every_test_asserts_something():
    files = sorted(Path(__file__).parent.rglob("*.py"))
    assert len(files) > 5
    assert without_a_check([file.read_text(encoding="utf-8") for file in files]) == []


def test_a_test_without_a_check_is_found():
    source = """
def equal(a, b):
    assert a == b

def test_asserts(): assert 1
def test_expects():
    with pytest.raises(ValueError): int("x")
def test_calls(): equal(1, 1)
def test_runs(): print(1)
"""
    assert without_a_check([source]) == ["test_runs"]
