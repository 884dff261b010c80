"""`.ci/run` on machines with and without a browser, with small scripts in place of theirs."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Final

import pytest
from attrs import frozen

ROOT: Final = Path(__file__).resolve().parents[2]
TOOLS: Final = ("sh", "dirname", "tail", "timeout")


@frozen
class Machine:
    """A checkout, and all the programs that there are."""

    root: Path

    @property
    def programs(self) -> Path:
        return self.root / "programs"

    def has(self, name: str, does: str = "") -> None:
        """A program that notes how it was called."""
        path = self.programs / name
        path.write_text(f'#!/bin/sh\necho "{name} $*" >>"{self.root}/called"\n{does}\n')
        path.chmod(0o755)

    def run(self) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(self.root / ".ci" / "run")],
            env={"PATH": str(self.programs)},
            capture_output=True,
            text=True,
            check=False,
        )

    @property
    def called(self) -> list[str]:
        return (self.root / "called").read_text().splitlines()


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """Debian's, for root; its tests fail with 3."""
    for folder in (".ci", "bin", "programs"):
        (tmp_path / folder).mkdir()
    shutil.copy2(ROOT / ".ci" / "run", tmp_path / ".ci" / "run")
    machine = Machine(tmp_path)
    for name in TOOLS:
        found = shutil.which(name)
        assert found is not None
        (machine.programs / name).symlink_to(found)
    machine.has("id", "echo 0")
    machine.has("apt-get")
    machine.has("../bin/test", "exit 3")
    return machine


def test_a_browser_is_installed_where_there_is_none(machine: Machine):
    done = machine.run()
    assert (done.returncode, done.stdout, done.stderr) == (3, ".ci/run: installs chromium\n", "")
    asked = [line for line in machine.called if line.startswith("apt-get")]
    assert [line.split()[-1] for line in asked] == ["update", "chromium", "chromium"]
    assert ["--download-only" in line for line in asked] == [False, True, False]
    assert machine.called[-1] == "../bin/test "


@pytest.mark.parametrize("browser", ["chromium", "chromium-browser", "google-chrome"])
def test_one_that_is_there_will_do(machine: Machine, browser: str):
    machine.has(browser)
    done = machine.run()
    assert (done.returncode, done.stdout, done.stderr) == (3, "", "")
    assert machine.called == ["../bin/test "]


def test_who_is_not_root_is_not_asked(machine: Machine):
    machine.has("id", "echo 1000")
    assert machine.run().returncode == 3
    assert machine.called == ["id -u", "../bin/test "]


def test_another_system_is_left_as_it_is(machine: Machine):
    (machine.programs / "apt-get").unlink()
    done = machine.run()
    assert (done.returncode, done.stdout, done.stderr) == (3, "", "")


def test_an_installation_that_fails_is_said_and_the_tests_run(machine: Machine):
    machine.has("apt-get", 'echo "E: no mirror" >&2; exit 100')
    done = machine.run()
    assert done.returncode == 3
    assert done.stderr == "E: no mirror\n.ci/run: chromium could not be installed\n"
    assert machine.called[-1] == "../bin/test "
