"""What all tests share: one thread, and the zoo's names as parameters."""

import os
from tempfile import TemporaryDirectory

import pytest
import torch
import zoo

STATE = TemporaryDirectory(prefix="slimmer-state-")  # what a test trusts stays among the tests
os.environ["XDG_STATE_HOME"] = STATE.name
os.environ.pop("COLUMNS", None)  # the workers of pytest-xdist have it, a user's pipe has not
from main_job import checkpoint, main_job  # noqa: E402 - it hands the environment on

__all__ = ["checkpoint", "main_job"]  # fixtures


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    """Two workers with two threads each run at a tenth of their speed."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _still_one_thread():
    """A test that leaves more threads changes the last bits of what the tests after it compute."""
    yield
    found = torch.get_num_threads()
    torch.set_num_threads(1)
    assert found == 1, f"the test leaves {found} threads"


@pytest.fixture(params=zoo.PATTERNS)
def pattern(request):
    """The name of a tiny network of the zoo."""
    return request.param


@pytest.fixture(params=zoo.ARCHITECTURES)
def architecture(request):
    """The name of a real architecture."""
    return request.param


@pytest.fixture(params=[*zoo.PATTERNS, *zoo.ARCHITECTURES])
def network(request):
    """The name of any network of the zoo."""
    return request.param
