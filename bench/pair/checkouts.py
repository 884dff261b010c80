"""The checkouts: where each lies, and the environment that it runs in."""

from __future__ import annotations

import hashlib
import io
import shlex
import subprocess
import sys
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from attrs import frozen

from bench.errors import BenchError
from bench.rooms.sides import OURS
from bench.scale.observers import OBSERVERS, Observer

ROOT: Final = Path(__file__).resolve().parent.parent.parent
TREE: Final = "working tree"
_LOCK: Final = "requirements.lock"


@frozen
class Side:
    """One of those that are compared."""

    label: str
    observer: Observer
    program: tuple[str, ...] = ()
    """For a checkout: how it is started."""
    environment: Path | None = None
    """For a checkout: the virtual environment that it runs in."""

    @property
    def checkout(self) -> bool:
        return self.environment is not None


@frozen
class Checkouts:
    """Makes sides of commits and of the working tree. `folder` is for the commits' files."""

    folder: Path

    def commit(self, revision: str) -> Side:
        """The files of a commit, without its history. Raises `BenchError`.

        An archive and not a `git worktree`: that one leaves an entry in the repository where
        the bench is killed.
        """
        commit = _git(
            "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}"
        )
        name = commit.decode().strip()
        if not name:
            raise BenchError(f"{revision} is no commit of this repository: name one (git log)")
        root = self.folder / name
        if not root.exists():
            with tarfile.open(fileobj=io.BytesIO(_git("archive", name))) as files:
                files.extractall(root, filter="data")
        return _side(revision, root, sys.executable)

    def tree(self, flags: str = "", python: str = "") -> Side:
        """The working tree, with flags of `start`, on another Python. Raises `BenchError`."""
        label = " ".join(filter(None, (TREE, python, flags)))
        return _side(label, ROOT, python or sys.executable, shlex.split(flags))


def _git(*arguments: str) -> bytes:
    """The output of git; nothing where it fails."""
    command = ["git", "-C", str(ROOT), *arguments]
    try:
        found = subprocess.run(command, capture_output=True, check=False)
    except OSError:
        raise BenchError("git cannot be run: install it, the commits come from it") from None
    return found.stdout if found.returncode == 0 else b""


def _side(label: str, root: Path, python: str, flags: Sequence[str] = ()) -> Side:
    launcher, lock = root / "bin" / "room-actors", root / _LOCK
    if not launcher.exists() or not lock.exists():
        raise BenchError(f"{label} has no bin/room-actors or no {_LOCK}: name a later commit")
    same = lock.read_bytes() == (ROOT / _LOCK).read_bytes() and python == sys.executable
    environment = Path(sys.prefix) if same else environment_of(lock, python)
    return Side(label, OBSERVERS[OURS], (str(launcher), "start", *flags), environment)


def environment_of(lock: Path, python: str = sys.executable) -> Path:
    """An environment that holds what a lock file names. It stays for the next time, beside the
    one of this bench. Raises `BenchError`."""
    venv = ROOT / f".venv-bench-{_digest(lock)}-{_version(python)}"
    maker = ROOT / "bin" / "environment.py"
    made = subprocess.run([python, "-I", str(maker), str(venv), str(lock), "-c", ""], check=False)
    if made.returncode:
        raise BenchError(f"the environment {venv.name} could not be made, see above")
    return venv


def _digest(lock: Path) -> str:
    return hashlib.sha256(lock.read_bytes()).hexdigest()[:12]


def _version(python: str) -> str:
    asked = [python, "-I", "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
    try:
        return subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        raise BenchError(f"{python} cannot be run: name a Python, as python3.12") from None
