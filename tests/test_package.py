"""The installable package, built as pip builds it: the repository's files below names that are P59's own."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import distributions
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import p59
from tests.helpers import ROOT, random_image
from utils.evaluation.machine import commit_of

ROOMS = ("models", "coders", "datasets", "utils")
TAKEN = ("setup.py", "pyproject.toml", "README.md", "LICENSE", "p59.py", "main.py", "configs", *ROOMS)
CALL_MAIN = "import sys; from _p59.main import main; sys.exit(main())"


def run_python(*arguments: str, cwd: Path, path: list[Path] | None = None) -> subprocess.CompletedProcess:
    environment = os.environ | ({"PYTHONPATH": os.pathsep.join(map(str, path))} if path else {})
    return subprocess.run([sys.executable, *arguments], cwd=cwd, env=environment, capture_output=True, text=True)


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    """A copy of what is installed, since building leaves files where it is done."""
    copy = tmp_path_factory.mktemp("source")
    for name in TAKEN:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__", "*.pth.tar"))
        else:
            shutil.copyfile(ROOT / name, copy / name)
    return copy


@pytest.fixture(scope="module")
def site(source, tmp_path_factory) -> Path:
    """Where the wheel, built from the source distribution, is unpacked."""
    place = tmp_path_factory.mktemp("installed")
    packed = run_python("-c", f"from setuptools import build_meta; build_meta.build_sdist({str(place)!r})", cwd=source)
    assert packed.returncode == 0, packed.stderr
    (archive,) = place.glob("*.tar.gz")
    build = ("-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", ".", archive.name)
    built = run_python(*build, cwd=place)
    assert built.returncode == 0, built.stderr
    (wheel,) = place.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(place / "site")
    return place / "site"


@pytest.fixture(scope="module")
def path(site, tmp_path_factory) -> list[Path]:
    """Import path with modules before the installed package that have the rooms' names and must not be imported."""
    others = tmp_path_factory.mktemp("others")
    for name in (*ROOMS, "main"):
        (others / f"{name}.py").write_text("raise AssertionError('this is not part of P59')")
    return [others, site]


def test_only_names_that_are_its_own_are_installed(site):
    assert sorted(entry.name for entry in site.iterdir()) == ["_p59", f"p59-{p59.__version__}.dist-info", "p59.py"]


def test_nothing_is_left_out(site):
    wanted = [ROOT / "main.py", *ROOT.glob("configs/*.json")]
    wanted += [
        path for room in ROOMS for kind in ("py", "safetensors", "jinja") for path in ROOT.glob(f"{room}/**/*.{kind}")
    ]
    installed = {str(path.relative_to(site / "_p59")) for path in (site / "_p59").rglob("*") if path.is_file()}
    assert installed == {str(path.relative_to(ROOT)) for path in wanted} | {"__init__.py"}


def test_no_room_is_imported_by_the_name_it_has_in_the_repository(site):
    for path in site.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
            assert not {name.split(".")[0] for name in names} & {*ROOMS, "main"}, path


def test_it_writes_the_bytes_of_the_repository(path, tmp_path):
    image = random_image(40, 50)
    np.save(tmp_path / "image.npy", image)
    code = (
        "import numpy as np, p59; image = np.load('image.npy'); data = p59.encode(image, adapt_steps=2);"
        "assert np.array_equal(p59.decode_array(data), image); open('image.p59', 'wb').write(data); print(p59.__file__)"
    )
    done = run_python("-c", code, cwd=tmp_path, path=path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(str(path[1]))
    assert (tmp_path / "image.p59").read_bytes() == p59.encode(image, adapt_steps=2)


def test_the_command_finds_the_shipped_configurations(path, tmp_path):
    image = random_image(40, 50)
    Image.fromarray(image).save(tmp_path / "photo.png")
    (distribution,) = [each for each in distributions(path=[str(path[1])]) if each.name == "p59"]
    (command,) = distribution.entry_points
    assert (command.name, command.value) == ("p59", "_p59.main:main")

    def command_line(*arguments: str) -> subprocess.CompletedProcess:
        return run_python("-c", CALL_MAIN, *arguments, cwd=tmp_path, path=path)

    assert command_line("--help").stdout.startswith("usage: p59 [-h] [--version] config")
    assert command_line("--version").stdout == f"P59 {p59.__version__}\n"
    encoded = command_line("encode_diagonal", "test_data=photo.png", "bitstream_path=encoded/")
    assert encoded.returncode == 0, encoded.stderr
    decoded = command_line("decode.json", "bitstream_path=encoded/", "output_path=decoded/")
    assert decoded.returncode == 0, decoded.stderr
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "decoded/photo.png")), image)
    unknown = command_line("nothing")
    assert unknown.returncode == 2
    assert "give a JSON file, or one of analyze, compare, " in unknown.stderr


@pytest.mark.skipif(os.name != "posix", reason="Windows has no such signals")
def test_an_interrupt_amid_the_command_s_imports_ends_it_without_a_word(path, tmp_path):
    """And later it is an exception as ever."""
    code = (
        "import signal; import _p59.main as command; print(signal.getsignal(signal.SIGINT) == signal.SIG_DFL);"
        "command.main(['nothing']); print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)"
    )
    done = run_python("-c", code, cwd=tmp_path, path=path)
    assert done.stdout.split() == ["True", "True"], done.stderr


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_the_commit_of_a_project_that_it_is_installed_in_is_not_taken_for_its_own(tmp_path):
    identity = ("-c", "user.name=a", "-c", "user.email=a@example.org")
    for arguments in (("init", "--quiet"), (*identity, "commit", "--quiet", "--allow-empty", "--message", "first")):
        subprocess.run(("git", "-C", tmp_path, *arguments), check=True)
    (tmp_path / "inside").mkdir()
    assert len(commit_of(tmp_path)) == 10
    assert commit_of(tmp_path / "inside") == "unknown"


def test_an_editable_installation_is_refused(source, tmp_path):
    refused = run_python(
        "-c", f"from setuptools import build_meta; build_meta.build_editable({str(tmp_path)!r})", cwd=source
    )
    assert refused.returncode != 0
    assert "put the repository on PYTHONPATH instead" in refused.stderr


def test_its_requirements_are_those_of_the_repository():
    """The package asks for what requirements.txt pins, or newer."""
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = [each for extra in project["optional-dependencies"].values() for each in extra]
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    pinned = dict(line.split("#")[0].split(";")[0].strip().split("==") for line in lines if "==" in line.split("#")[0])
    for requirement in project["dependencies"] + extras:
        name, least = requirement.split(">=")
        assert f"{pinned[name]}.".startswith(f"{least}."), requirement
