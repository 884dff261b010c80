"""The distribution `trio-actors`, as somebody else installs it: with trio and attrs alone.

The examples of docs/actors.md and the programs of docs/examples run there, in a folder that has
a folder `actors` of its own.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from importlib import metadata
from pathlib import Path
from typing import Final

import pytest
from attrs import frozen

ROOT: Final = Path(__file__).resolve().parents[2]
LIBRARY: Final = ROOT / "library"
PAGE: Final = (ROOT / "docs/actors.md").read_text()
BLOCKS: Final = re.compile(r"^```(\w+) title=(\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PROGRAMS: Final = {name: code for kind, name, code in BLOCKS.findall(PAGE) if kind == "python"}
OUTPUTS: Final = {name: text for kind, name, text in BLOCKS.findall(PAGE) if kind == "text"}
NEEDS: Final = ("trio", "attrs")
TESTS_NEED: Final = ("pytest", "pytest-trio")
NOT_THERE: Final = ("structlog", "livekit", "actors", "bridge")
"""Packages that the environment of the tests has, and that of the library must not have."""


@frozen
class Place:
    """Somebody else's environment and folder."""

    python: Path
    folder: Path

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        keep = {name: value for name, value in os.environ.items() if not name.startswith("PY")}
        return subprocess.run(
            [str(self.python), *arguments],
            cwd=self.folder,
            env=keep,
            capture_output=True,
            text=True,
            check=False,
        )


def pip(*arguments: str) -> None:
    command = [sys.executable, "-m", "pip", *arguments, "--no-index", "--no-deps", "--quiet"]
    environment = os.environ | {"PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def with_dependencies(names: tuple[str, ...]) -> set[str]:
    """The installed distributions among `names` and what they need here, by normal name."""
    found, left = set[str](), [*names]
    while left:
        name = re.sub(r"[-_.]+", "-", left.pop()).lower()
        if name in found:
            continue
        try:
            requirements = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            continue  # For another system or Python.
        found.add(name)
        plain = [one for one in requirements if "extra ==" not in one]
        left += [re.split(r"[^\w.-]", one, maxsplit=1)[0] for one in plain]
    return found


def link_distribution(name: str, site: Path) -> None:
    """Put an installed distribution into another environment, without a download."""
    distribution = metadata.distribution(name)
    tops = {file.parts[0] for file in distribution.files or () if ".." not in file.parts}
    for top in tops - {"__pycache__"}:
        (site / top).symlink_to(Path(str(distribution.locate_file(top))))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, made by pip as a user makes it."""
    folder = tmp_path_factory.mktemp("wheel")
    pip("wheel", str(LIBRARY), "--wheel-dir", str(folder))
    (wheel,) = folder.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def place(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Place:
    home = tmp_path_factory.mktemp("place")
    venv.create(home / "env", with_pip=False, symlinks=True)
    python = home / "env/bin/python"
    (site,) = (home / "env").glob("lib/python*/site-packages")
    for name in with_dependencies(NEEDS + TESTS_NEED):
        link_distribution(name, site)
    pip("--python", str(python), "install", str(wheel))
    folder = home / "work"
    (folder / "actors").mkdir(parents=True)
    (folder / "actors/__init__.py").write_text("MINE = True\n")
    for name, code in PROGRAMS.items():
        (folder / name).write_text(code)
    for file in (ROOT / "docs/examples").glob("*.py"):
        shutil.copy(file, folder)
    return Place(python, folder)


def test_the_wheel_has_the_runtime_and_the_harness_under_its_own_name_alone(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        texts = {name: archive.read(name).decode() for name in archive.namelist()}
    modules = {
        f"trio_actors/{file.relative_to(ROOT / 'actors').as_posix()}"
        for folder in ("runtime", "testing")
        for file in (ROOT / "actors" / folder).glob("*.py")
    }
    assert modules < texts.keys()
    assert {name.split("/")[0] for name in texts} == {"trio_actors", f"{wheel.name[:17]}.dist-info"}
    for name in modules:
        assert not re.search(r"\b(?<!\.)actors\.[a-z]|\bbridge\b|import actors", texts[name]), name
    assert texts[f"{wheel.name[:17]}.dist-info/licenses/LICENSE"] == (ROOT / "LICENSE").read_text()


def test_the_sdist_makes_the_same_wheel(wheel: Path, tmp_path: Path) -> None:
    script = str(LIBRARY / "build_library.py")
    for folder in (tmp_path, tmp_path / "twice"):
        subprocess.run([sys.executable, script, str(folder)], check=True, capture_output=True)
    sdist = f"{wheel.name[:17]}.tar.gz"
    assert (tmp_path / sdist).read_bytes() == (tmp_path / "twice" / sdist).read_bytes()
    with tarfile.open(tmp_path / f"{wheel.name[:17]}.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    script = str(tmp_path / wheel.name[:17] / "build_library.py")
    subprocess.run([sys.executable, script, str(tmp_path / "again")], check=True)
    assert (tmp_path / "again" / wheel.name).read_bytes() == wheel.read_bytes()


def test_it_needs_trio_and_attrs_alone(place: Place) -> None:
    script = (
        "import importlib.util as util, actors, trio_actors.runtime, trio_actors.testing\n"
        "assert actors.MINE\n"
        f"there = [name for name in {NOT_THERE} if name != 'actors' and util.find_spec(name)]\n"
        "assert not there, there\n"
        "import importlib.metadata as metadata\n"
        "needs = [one for one in metadata.requires('trio-actors') if 'extra' not in one]\n"
        "print(*sorted(one.split('>')[0] for one in needs))\n"
    )
    done = place.run("-W", "error", "-c", script)
    assert done.stdout.split() == sorted(NEEDS), done.stderr


@pytest.mark.parametrize("name", OUTPUTS)
def test_each_program_of_the_page_prints_what_the_page_says(place: Place, name: str) -> None:
    done = place.run("-W", "error", name)
    shown = (done.stdout + done.stderr).replace(f"{place.folder}/", "")
    assert (shown, done.returncode) == (OUTPUTS[name], 0)


def test_each_python_example_of_the_page_is_run() -> None:
    tests = {name for name in PROGRAMS if name.startswith("test_")}
    assert len(tests) == 1
    assert PROGRAMS.keys() == OUTPUTS.keys() | tests
    assert PAGE.count("```python") == len(PROGRAMS)


def test_the_readme_of_the_distribution_has_a_program_that_runs(place: Place) -> None:
    (code,) = re.findall(
        r"^```python\n(.*?)^```$", (LIBRARY / "README.md").read_text(), re.MULTILINE | re.DOTALL
    )
    assert place.run("-c", code).stdout == "2\n"


@pytest.mark.parametrize("name", ["rate_limiter.py", "chat_rooms.py"])
def test_a_program_of_the_examples_runs(place: Place, name: str) -> None:
    done = place.run("-W", "error", name)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("\n") >= 4


def test_the_tests_of_the_page_and_of_the_examples_pass(place: Place) -> None:
    done = place.run(
        *("-W", "error", "-m", "pytest", "-q", "-p", "trio_actors.testing.plugin"),
        *("-p", "no:cacheprovider"),
    )
    assert done.returncode == 0, done.stdout
    assert re.search(r"^\d\d passed in", done.stdout, re.MULTILINE), done.stdout
