"""bin/room-actors on machines of all kinds, with a small checkout in place of ours.

The checkout has our launcher, a command line that prints how it was called, and one
tiny package to install from a folder, so that no test needs the network.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pytest
from attrs import evolve, frozen

ROOT: Final = Path(__file__).resolve().parents[2]
PATIENCE: Final = 140.0
"""Seconds for one installation; it takes three, but a busy disk has made it eighty."""

COMMAND_LINE: Final = """
import json, os, signal, sys
import tiny
signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
print(json.dumps({
    "arguments": sys.argv[1:], "cwd": os.getcwd(), "pid": os.getpid(),
    "environment": sys.prefix, "tiny": tiny.VERSION, "python": sys.version_info[:2],
}), flush=True)
if sys.argv[1:] == ["wait"]:
    signal.pause()
"""


@frozen
class Checkout:
    """A small checkout, and the environment variables it is called with."""

    root: Path
    variables: Mapping[str, str]

    @classmethod
    def at(cls, root: Path, home: Path) -> Checkout:
        return cls(
            root,
            {
                "PATH": os.environ["PATH"],
                "HOME": str(home),
                "PIP_NO_INDEX": "1",
                "PIP_FIND_LINKS": (root / "wheels").as_uri(),
            },
        )

    @property
    def launcher(self) -> Path:
        return self.root / "bin" / "room-actors"

    def begin(self, *arguments: str, at: Path | None = None, **more: Any) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [str(at or self.launcher), *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=dict(self.variables) | more.pop("variables", {}),
            **more,
        )

    def run(self, *arguments: str, at: Path | None = None, **more: Any) -> Run:
        return Run.wait(self.begin(*arguments, at=at, **more))

    def require(self, version: str) -> None:
        """Lock another version of the tiny package."""
        wheel = self.root / "wheels" / f"tiny-{version}-py3-none-any.whl"
        digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
        lock = f"tiny=={version} \\\n    --hash=sha256:{digest}\n"
        (self.root / "requirements.lock").write_text(lock)


@frozen
class Run:
    code: int
    out: str
    err: str

    @classmethod
    def wait(cls, process: subprocess.Popen[str]) -> Run:
        out, err = process.communicate(timeout=PATIENCE)
        return cls(process.returncode, out, err)

    @property
    def result(self) -> dict[str, Any]:
        assert self.code == 0, self.err
        return json.loads(self.out)


def make_wheel(folder: Path, version: str) -> None:
    folder.mkdir(exist_ok=True)
    info = f"tiny-{version}.dist-info"
    with zipfile.ZipFile(folder / f"tiny-{version}-py3-none-any.whl", "w") as archive:
        archive.writestr("tiny.py", f"VERSION = {version!r}\n")
        archive.writestr(
            f"{info}/METADATA", f"Metadata-Version: 2.1\nName: tiny\nVersion: {version}\n"
        )
        tags = "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        archive.writestr(f"{info}/WHEEL", tags)
        archive.writestr(f"{info}/RECORD", "")


def make_checkout(root: Path, home: Path) -> Checkout:
    shutil.copytree(ROOT / "bin", root / "bin")
    (root / "actors").mkdir()
    (root / "bridge" / "cli").mkdir(parents=True)
    (root / "bridge" / "output").mkdir()
    for name in ("__init__.py", "output/__init__.py", "output/progress.py"):
        shutil.copy(ROOT / "bridge" / name, root / "bridge" / name)
    (root / "bridge" / "cli" / "__main__.py").write_text(COMMAND_LINE)
    for version in ("1.0", "2.0"):
        make_wheel(root / "wheels", version)
    home.mkdir()
    checkout = Checkout.at(root, home)
    checkout.require("1.0")
    return checkout


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A checkout, in a folder with a space in its name, that two launchers prepared at once.

    One for all processes of tests: preparing takes seconds of a core.
    """
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    with (folder / "prepared.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return prepared_checkout(folder / "prepared")


def prepared_checkout(folder: Path) -> Checkout:
    checkout = Checkout.at(folder / "a checkout", folder / "home")
    if not (folder / "first.json").exists():
        make_checkout(checkout.root, folder / "home")
        with (checkout.root / ".venv.lock").open("a") as preparing:
            fcntl.flock(preparing, fcntl.LOCK_EX)
            first = [checkout.begin(), checkout.begin()]
            waiting = [first_line(process) for process in first]
        ended = [Run.wait(process) for process in first]
        results = [[r.code, r.out, line + r.err] for line, r in zip(waiting, ended, strict=True)]
        (folder / "first.json").write_text(json.dumps(results))
    return checkout


def first_line(process: subprocess.Popen[str]) -> str:
    """The first line of standard error, of one that writes no second one yet."""
    assert process.stderr is not None
    return process.stderr.readline()


@pytest.fixture
def fresh(tmp_path: Path) -> Checkout:
    return make_checkout(tmp_path / "checkout", tmp_path / "home")


def with_python(folder: Path, **programs: str) -> str:
    """A PATH with what the launcher itself needs, and `programs` for the rest."""
    folder.mkdir()
    for name in ("sh", "dirname", "readlink", "cmp"):
        found = shutil.which(name)
        assert found is not None
        (folder / name).symlink_to(found)
    for name, text in programs.items():
        program = folder / name.replace("_", ".")
        program.write_text(f"#!/bin/sh\n{text}\n")
        program.chmod(0o755)
    return str(folder)


THIS_PYTHON: Final = f'exec "{sys.executable}" "$@"'


def test_later_starts_say_nothing_and_run_no_other_python(prepared: Checkout, tmp_path: Path):
    """They are quick: the shell replaces itself by the environment's own Python."""
    run = prepared.run(variables={"PATH": with_python(tmp_path / "path")})
    assert run.err == ""
    assert run.result["environment"] == str(prepared.root / ".venv")


def test_a_colon_in_a_path_is_told_and_nothing_is_prepared(tmp_path: Path):
    """Python takes paths apart at their colons, and makes no environment in such a folder."""
    checkout = make_checkout(tmp_path / "a:b", tmp_path / "home")
    run = checkout.run("--version")
    assert (run.code, run.out) == (2, "")
    assert run.err == (
        f"room-actors: {checkout.root} has a colon in it, which Python cannot take: "
        "move the checkout\n"
    )
    assert not (checkout.root / ".venv").exists()
    plain = make_checkout(tmp_path / "plain", tmp_path / "other home")
    elsewhere = str(tmp_path / "c:d")
    run = plain.run(variables={"ROOM_ACTORS_VENV": elsewhere})
    assert (run.code, run.out) == (2, "")
    assert run.err == (
        f"room-actors: {elsewhere} has a colon in it, which Python cannot take: "
        "name another folder by ROOM_ACTORS_VENV\n"
    )


def test_arguments_arrive_as_they_were_given(prepared: Checkout):
    arguments = ["demo", "--rooms", "2", "", "two words", "new\nline", "*", "$HOME", "-"]
    assert prepared.run(*arguments).result["arguments"] == arguments


def test_it_works_from_another_folder_and_stays_there(prepared: Checkout, tmp_path: Path):
    assert prepared.run(cwd=tmp_path).result["cwd"] == str(tmp_path)


def test_it_works_by_a_relative_path(prepared: Checkout):
    run = prepared.run(at=Path("bin/room-actors"), cwd=prepared.root)
    assert run.result["cwd"] == str(prepared.root)


def test_it_works_through_symlinks_of_symlinks(prepared: Checkout, tmp_path: Path):
    (tmp_path / "one").symlink_to(prepared.launcher)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "two").symlink_to("../one")
    run = prepared.run(at=tmp_path / "folder" / "two", cwd=tmp_path)
    assert run.result["environment"] == str(prepared.root / ".venv")


def test_it_works_when_found_on_path(prepared: Checkout, tmp_path: Path):
    (tmp_path / "room-actors").symlink_to(prepared.launcher)
    path = f"{tmp_path}:{prepared.variables['PATH']}"
    run = subprocess.run(
        ["sh", "-c", "room-actors"],
        env=dict(prepared.variables) | {"PATH": path},
        capture_output=True,
        check=True,
    )
    assert json.loads(run.stdout)["tiny"] == "1.0"


def test_modules_in_the_folder_it_is_called_in_are_not_taken(prepared: Checkout, tmp_path: Path):
    (tmp_path / "bridge").mkdir()
    for name in ("tiny.py", "json.py", "bridge/__init__.py"):
        (tmp_path / name).write_text("raise SystemExit('taken from the wrong folder')")
    variables = {"PYTHONPATH": str(tmp_path), "PYTHONHOME": str(tmp_path)}
    assert prepared.run(cwd=tmp_path, variables=variables).result["tiny"] == "1.0"


def test_it_becomes_the_program_so_that_signals_reach_it(prepared: Checkout):
    process = prepared.begin("wait")
    assert process.stdout is not None
    assert json.loads(process.stdout.readline())["pid"] == process.pid
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=PATIENCE)
    assert process.returncode == 7


def test_two_at_once_install_once(prepared: Checkout):
    """Both wait for one that prepares the environment already, but does not end."""
    first = json.loads((prepared.root.parent / "first.json").read_text())
    runs = sorted((Run(*run) for run in first), key=lambda run: len(run.err))
    assert [run.result["tiny"] for run in runs] == ["1.0", "1.0"]
    waiting = "room-actors: waiting for another one that prepares the environment"
    assert runs[0].err.splitlines() == [waiting]
    waited, preparing, *_, ready = runs[1].err.splitlines()
    assert waited == waiting
    assert preparing == f"room-actors: preparing the environment in {prepared.root}/.venv (once)"
    assert "room-actors: ready after" in ready


def test_an_installation_that_was_cut_off_is_begun_again(fresh: Checkout):
    with socket.create_server(("127.0.0.1", 0)) as index:
        url = f"http://127.0.0.1:{index.getsockname()[1]}/index"
        silent = {"PIP_INDEX_URL": url, "PIP_NO_INDEX": "0", "PIP_FIND_LINKS": ""}
        cut_off = fresh.begin(variables=silent)
        asked, _ = index.accept()  # pip asks for the package: it will get no answer.
        cut_off.kill()
        second = fresh.begin()
        # The first one's pip is not dead yet: nobody may write under its hands.
        assert "waiting for another one" in first_line(second)
        asked.close()
    out, err = second.communicate(timeout=PATIENCE)
    assert json.loads(out)["tiny"] == "1.0"
    assert "preparing the environment in" in err
    cut_off.communicate(timeout=PATIENCE)


def test_sigterm_while_it_installs_ends_pip_too(fresh: Checkout):
    with socket.create_server(("127.0.0.1", 0)) as index:
        url = f"http://127.0.0.1:{index.getsockname()[1]}/index"
        silent = {"PIP_INDEX_URL": url, "PIP_NO_INDEX": "0", "PIP_FIND_LINKS": ""}
        process = fresh.begin(variables=silent)
        asked, _ = index.accept()
        process.send_signal(signal.SIGTERM)
        with asked:
            while asked.recv(4096):  # Ends with the connection, and that with pip.
                pass
        process.communicate(timeout=PATIENCE)
    assert process.returncode == 128 + signal.SIGTERM


def test_another_lock_is_installed_anew(prepared: Checkout, tmp_path: Path):
    root = tmp_path / "checkout"
    shutil.copytree(prepared.root, root, symlinks=True)
    copy = evolve(prepared, root=root)
    assert copy.run().result["tiny"] == "1.0"
    copy.require("2.0")
    run = copy.run()
    assert run.result["tiny"] == "2.0"
    assert "preparing the environment" in run.err


def test_no_network_is_said_in_one_line(fresh: Checkout):
    offline = {
        "PIP_INDEX_URL": "http://127.0.0.1:9/index",
        "PIP_NO_INDEX": "0",
        "PIP_FIND_LINKS": "",
        "PIP_RETRIES": "1",
    }
    run = fresh.run(variables=offline)
    assert run.code == 1
    last = run.err.splitlines()[-1]
    assert "the package index cannot be reached: connect to the network" in last
    assert str(fresh.root / ".venv" / "install.log") in last
    assert "Traceback" not in run.err


def test_a_package_that_is_not_the_locked_one_is_refused(fresh: Checkout):
    lock = fresh.root / "requirements.lock"
    lock.write_text("tiny==1.0 --hash=sha256:" + "0" * 64 + "\n")
    run = fresh.run()
    assert run.code == 1
    assert "a package is not the one that was locked" in run.err.splitlines()[-1]


def test_no_python_is_said_in_one_line(prepared: Checkout, tmp_path: Path):
    old = 'case $2 in -c) exec false ;; esac; echo "Python 3.9.1"'
    path = with_python(tmp_path / "path", python3=old)
    fresh_place = {"PATH": path, "ROOM_ACTORS_VENV": str(tmp_path / "venv")}
    run = prepared.run(variables=fresh_place)
    assert run.code == 2
    assert run.err == (
        "room-actors: no Python 3.11, 3.12 or 3.13 found: install one, "
        "or set ROOM_ACTORS_PYTHON to where it is\n"
    )


def test_a_python_beside_one_that_is_too_old_is_found(prepared: Checkout, tmp_path: Path):
    path = with_python(tmp_path / "path", python3="exit 1", python3_12=THIS_PYTHON)
    # A place that only a Python finds fault with: one was found.
    run = prepared.run(variables={"PATH": path, "ROOM_ACTORS_VENV": str(tmp_path)})
    assert f"{tmp_path} was not made by room-actors" in run.err


def test_a_python_without_the_venv_module_is_named_with_the_package_to_install(
    prepared: Checkout, tmp_path: Path
):
    bare = f'case "$*" in *ensurepip*) exit 1 ;; esac; {THIS_PYTHON}'
    path = with_python(tmp_path / "path", python3=bare)
    run = prepared.run(variables={"PATH": path, "ROOM_ACTORS_VENV": str(tmp_path / "venv")})
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    assert run.code == 2
    assert run.err == (
        "room-actors: python3 cannot make a virtual environment: install its venv module "
        f"(Debian, Ubuntu: apt install python{version}-venv)\n"
    )


def test_a_wrong_room_actors_python_is_named(prepared: Checkout):
    run = prepared.run(variables={"ROOM_ACTORS_PYTHON": "/nowhere/python"})
    assert run.code == 2
    assert run.err.startswith("room-actors: ROOM_ACTORS_PYTHON names /nowhere/python, which is no")
    assert len(run.err.splitlines()) == 1


def test_the_python_asked_for_is_checked_and_kept(prepared: Checkout):
    run = prepared.run(variables={"ROOM_ACTORS_PYTHON": sys.executable})
    assert run.result["python"] == list(sys.version_info[:2])
    assert run.err == ""


def test_a_folder_that_cannot_be_written_to_is_named_with_a_way_out(prepared: Checkout):
    run = prepared.run(variables={"ROOM_ACTORS_VENV": "/dev/null/venv"})
    assert run.code == 2
    assert "cannot write to /dev/null" in run.err
    assert "ROOM_ACTORS_VENV" in run.err
    assert len(run.err.splitlines()) == 1


def test_an_environment_that_is_not_ours_is_left_alone(prepared: Checkout, tmp_path: Path):
    precious = tmp_path / "venv" / "precious"
    precious.parent.mkdir()
    precious.write_text("data")
    run = prepared.run(variables={"ROOM_ACTORS_VENV": str(precious.parent)})
    assert run.code == 2
    assert f"{precious.parent} was not made by room-actors" in run.err
    assert precious.read_text() == "data"


def test_a_relative_place_for_the_environment_is_taken_from_here(prepared: Checkout):
    here, there = prepared.root.parent, f"{prepared.root.name}/.venv"
    run = prepared.run(cwd=here, variables={"ROOM_ACTORS_VENV": there})
    assert run.err == "", "it is there already"
    assert run.result["environment"] == str(prepared.root / ".venv")
