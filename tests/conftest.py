"""Options and fixtures of all tests."""

from __future__ import annotations

import pytest
import torch

from tests.helpers import shared_directory


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--regenerate-golden", action="store_true", help="write recorded values anew instead of comparing")


@pytest.fixture
def regenerate(request: pytest.FixtureRequest) -> bool:
    """Whether recorded values are to be written anew."""
    return request.config.getoption("--regenerate-golden")


@pytest.fixture(scope="session")
def shared():
    """The directory of data that is not part of the repository; skips where it is absent."""
    directory = shared_directory()
    if directory is None:
        pytest.skip("needs the directory `shared` beside the repository, which is absent")
    return directory


@pytest.fixture
def torch_threads():
    """A function that sets PyTorch's number of threads, which is set back afterwards."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)
