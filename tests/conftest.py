"""Options and fixtures of all tests."""

from __future__ import annotations

import json
import signal

import pytest
import torch

from coders import native
from coders.gpu import networks, steps
from tests.helpers import GOLDEN, shared_directory

WITHOUT_CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--regenerate-golden", action="store_true", help="write recorded values anew instead of comparing")


def pytest_configure() -> None:
    torch.set_num_threads(1)  # small tensors; threads only wait for each other
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):  # may be ignored, as in the background and under nohup
        if getattr(signal, name, None) and signal.getsignal(getattr(signal, name)) is signal.SIG_IGN:
            signal.signal(getattr(signal, name), signal.default_int_handler if name == "SIGINT" else signal.SIG_DFL)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tests marked `slow` run only where a marker expression such as `-m slow` asks for them."""
    if not config.option.markexpr:
        for item in items:
            if "slow" in item.keywords:
                item.add_marker(pytest.mark.skip(reason="slow; run with -m slow"))


@pytest.fixture
def regenerate(request: pytest.FixtureRequest) -> bool:
    """Whether recorded values are to be written anew."""
    return request.config.getoption("--regenerate-golden")


@pytest.fixture
def recorded(regenerate: bool):
    """recorded(name, value) compares with the value in tests/golden/recorded.json; a missing one fails."""
    path = GOLDEN / "recorded.json"
    values = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}

    def compare(name: str, value: str) -> None:
        if regenerate:
            values[name] = value
            path.write_text(json.dumps(values, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        assert name in values, f"nothing is recorded for {name!r}; see --regenerate-golden"
        assert value == values[name]

    return compare


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


GPU = [pytest.mark.gpu, WITHOUT_CUDA]


def _without_kernel(monkeypatch) -> None:
    monkeypatch.setattr(networks, "fusable", lambda *case: False)


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=GPU), pytest.param("cuda without kernel", marks=GPU)])
def device(request, monkeypatch) -> str:
    if "without" in request.param:
        _without_kernel(monkeypatch)
    return request.param.split()[0]


@pytest.fixture
def without_kernel(monkeypatch) -> None:
    """Networks are computed by models.frozen.FrozenNet on every device."""
    _without_kernel(monkeypatch)


@pytest.fixture(params=["native", "python"])
def host(request, monkeypatch) -> str:
    """The host's part in compiled code, and without it."""
    if request.param == "python":
        monkeypatch.setattr(steps.native, "unavailable_reason", lambda: "a test does without it")
    elif (reason := native.unavailable_reason()) is not None:
        pytest.skip(reason)
    return request.param
