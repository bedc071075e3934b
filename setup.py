"""Builds the installable package: the module `p59`, and all else in a package `_p59`.

In the repository `models`, `coders`, `datasets` and `utils` are packages of their own; installed so, they would stand
in the way of a user's own `utils` and of other projects' `datasets`. What is installed is the same files, with the
rooms' names in import statements put below `_p59`.
"""

import re
import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent
ROOMS = ("models", "coders", "datasets", "utils")
PACKAGE = "_p59"
#: What is read at run time, beside the modules; the float weights, for further training, stay in the repository.
DATA = ("*.safetensors", "*.jinja")
IMPORT_OF_ROOM = re.compile(rf"^(\s*from )({'|'.join(ROOMS)})(?=[. ])", re.MULTILINE)


class BuildPackage(build_py):
    """Copies the files instead of looking for packages."""

    def run(self):
        if self.editable_mode:
            raise SystemExit("the package cannot be installed as editable; put the repository on PYTHONPATH instead")
        package = Path(self.build_lib) / PACKAGE
        shutil.rmtree(package, ignore_errors=True)  # of an earlier build
        for source, target in self._files():
            target.parent.mkdir(parents=True, exist_ok=True)
            if source.suffix == ".py":
                text = source.read_text(encoding="utf-8")
                target.write_text(IMPORT_OF_ROOM.sub(rf"\1{PACKAGE}.\2", text), encoding="utf-8")
            else:
                shutil.copyfile(source, target)
        (package / "__init__.py").touch()

    def get_source_files(self):
        return [str(source.relative_to(ROOT)) for source, _ in self._files()]

    def get_outputs(self, include_bytecode=True):
        return [str(Path(self.build_lib) / PACKAGE / "__init__.py"), *(str(target) for _, target in self._files())]

    def _files(self):
        """(source, target) of each file but the package's own __init__.py."""
        library = Path(self.build_lib)
        yield ROOT / "p59.py", library / "p59.py"
        inside = [ROOT / "main.py", *sorted(ROOT.glob("configs/*.json"))]
        for room in ROOMS:
            inside += sorted(path for kind in ("*.py", *DATA) for path in (ROOT / room).rglob(kind))
        for source in inside:
            yield source, library / PACKAGE / source.relative_to(ROOT)


setup(packages=[PACKAGE], py_modules=["p59"], cmdclass={"build_py": BuildPackage})
