"""What all tests share: one thread, and the zoo's names as parameters."""

import pytest
import torch
import zoo
from main_job import checkpoint, main_job

__all__ = ["checkpoint", "main_job"]  # fixtures


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    """Two workers with two threads each run at a tenth of their speed."""
    torch.set_num_threads(1)


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
