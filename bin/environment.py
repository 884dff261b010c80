"""Makes a virtual environment hold exactly what a lock file names, then becomes Python in it.

    environment.py [--compile-later] VENV LOCK ARGUMENTS...

Called by environment.sh where the environment is missing, unfinished, or made from
another lock.  Standard library only.  Two at once: one installs, the other waits.
An installation that was cut off is begun again, as the copy of the lock that says
"finished" is written last.  `--compile-later`: each module is compiled when it is first imported,
which is less work where few of the packages are used.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn, TextIO

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from bridge.output.progress import ProgressLine  # noqa: E402

OURS = "made-by-room-actors"
"""Marks an environment that we made, and so may delete."""

STAMP = "installed.lock"

ELSEWHERE = {"PIP_USER", "PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "PIP_REQUIREMENT", "PIP_NO_DEPS"}
"""Settings of pip that would send the packages somewhere else.  Its index, proxy and
certificates stay the user's."""

HINTS = (
    ("No space left", "the disk is full: free some space"),
    (
        "DO NOT MATCH THE HASHES",
        "a package is not the one that was locked: look at the package index in pip's settings",
    ),
    (
        "Retrying (",
        "the package index cannot be reached: connect to the network, or point pip to a mirror",
    ),
    (
        "No matching distribution",
        "a package has no build for this system and Python, or the package index is unreachable",
    ),
)
"""Words of pip's output, and the advice for each; the first that fits counts."""


class PrepareError(Exception):
    """The environment cannot be made; the text says what to do, the code is the exit code."""

    def __init__(self, text: str, code: int = 1) -> None:
        super().__init__(text)
        self.code = code


def main(venv: Path, lock: Path, arguments: list[str], *, compiling: bool = True) -> NoReturn:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # Ends pip too.
    try:
        with ProgressLine(sys.stderr) as progress, exclusive(venv, progress) as held:
            if not is_current(venv, lock):
                prepare(venv, lock, progress, held, compiling=compiling)
                progress.close("ready")
    except PrepareError as error:
        print(f"room-actors: {error}", file=sys.stderr)
        sys.exit(error.code)
    except OSError as error:
        print(f"room-actors: cannot prepare {venv}: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("room-actors: interrupted; the next start begins again", file=sys.stderr)
        sys.exit(130)
    python = str(venv / "bin" / "python")
    os.execv(python, [python, *arguments])


@contextlib.contextmanager
def exclusive(venv: Path, progress: ProgressLine) -> Iterator[int]:
    """Hold the environment's lock; the system frees it however we end.

    Gives the lock's descriptor.  The steps inherit it, so that a pip which outlives us
    (`kill -9`) keeps the next one waiting and does not write under its hands.
    """
    path = venv.with_name(f"{venv.name}.lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        held = path.open("a")
    except OSError as error:
        raise PrepareError(
            f"cannot write to {path.parent} ({error.strerror}): make it writable, or set "
            f"ROOM_ACTORS_VENV to a folder for the environment",
            code=2,
        ) from error
    with held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress.say("waiting for another one that prepares the environment")
            fcntl.flock(held, fcntl.LOCK_EX)
        yield held.fileno()


def is_current(venv: Path, lock: Path) -> bool:
    """True where the environment is finished, from this lock, for the minor version we run."""
    try:
        same_lock = (venv / STAMP).read_bytes() == lock.read_bytes()
    except FileNotFoundError:
        return False
    packages = venv / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}"
    return same_lock and packages.is_dir() and os.access(venv / "bin" / "python", os.X_OK)


def prepare(venv: Path, lock: Path, progress: ProgressLine, held: int, *, compiling: bool) -> None:
    remove_old(venv)
    progress.say(f"preparing the environment in {venv} (once)")
    venv.mkdir()
    (venv / OURS).touch()
    log = venv / "install.log"
    # The real file, not a link whose meaning a system upgrade changes.
    base = os.path.realpath(getattr(sys, "_base_executable", sys.executable))
    python = str(venv / "bin" / "python")
    with log.open("w") as output:
        run([base, "-I", "-m", "venv", str(venv)], output, Pip(progress, 0), held)
        total = sum("==" in line.split(";")[0] for line in lock.read_text().splitlines())
        install = [python, "-I", "-m", "pip", "install", "--no-input", "--progress-bar=off"]
        exact = ["--require-hashes", "--no-deps", "--only-binary=:all:", "--no-compile"]
        quiet = ["--disable-pip-version-check"]
        run([*install, *exact, *quiet, "-r", str(lock)], output, Pip(progress, total), held)
        if compiling:
            progress("preparing the environment: compiling")
        folders = (("0", venv / "lib"), ("1", ROOT / "actors"), ("1", ROOT / "bridge"))
        for jobs, folder in folders if compiling else ():
            # Only speed hangs on it: a checkout that cannot be written to is well.
            compileall = [python, "-I", "-m", "compileall", "-qq", "-j", jobs, str(folder)]
            subprocess.run(compileall, check=False, stdout=output, stderr=output)
    unfinished = venv / f"{STAMP}.new"
    shutil.copyfile(lock, unfinished)
    unfinished.replace(venv / STAMP)


def remove_old(venv: Path) -> None:
    if not venv.exists() and not venv.is_symlink():
        return
    if not (venv / OURS).exists() and (not venv.is_dir() or any(venv.iterdir())):
        raise PrepareError(
            f"{venv} was not made by room-actors: move it away, or set ROOM_ACTORS_VENV "
            f"to another folder for the environment",
            code=2,
        )
    (venv / STAMP).unlink(missing_ok=True)  # First: from here on it is unfinished.
    shutil.rmtree(venv)


class Pip:
    """Reads what pip says, line by line, and shows it as progress."""

    def __init__(self, progress: ProgressLine, total: int) -> None:
        self._progress = progress
        self._total = total
        self._fetched = 0
        self._doing = "making it"
        self.said: list[str] = []

    def read(self, line: str) -> None:
        self.said.append(line)
        if line.startswith("Collecting "):
            self._fetched += 1
            self._doing = f"package {self._fetched} of {self._total}"
        elif line.startswith("Installing "):
            self._doing = f"installing {self._fetched} packages"

    def show(self) -> None:
        self._progress(f"preparing the environment: {self._doing}")


def run(command: list[str], log: TextIO, pip: Pip, held: int) -> None:
    """Run a step, showing its progress; raise `PrepareError` with what to do if it fails."""
    environment = {k: v for k, v in os.environ.items() if k not in ELSEWHERE}
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env=environment | {"PYTHONUNBUFFERED": "1"},
        pass_fds=(held,),
    ) as process:
        assert process.stdout is not None

        def follow(lines: Iterator[str]) -> None:
            for line in lines:
                print(line, end="", file=log, flush=True)
                pip.read(line.strip())

        reader = threading.Thread(target=follow, args=(process.stdout,), daemon=True)
        reader.start()
        try:
            while reader.is_alive():
                pip.show()
                reader.join(0.2)
        except BaseException:
            process.kill()
            raise
    if process.returncode:
        said = "\n".join(pip.said)
        hint = next((hint for sign, hint in HINTS if sign in said), None)
        last = next((line for line in reversed(pip.said) if line.startswith("ERROR")), "")
        raise PrepareError(
            f"the environment could not be installed: {hint or last or command[-1]} "
            f"(all that was said: {log.name})"
        )


if __name__ == "__main__":
    compiling = sys.argv[1] != "--compile-later"
    places = sys.argv[1:] if compiling else sys.argv[2:]
    main(Path(places[0]), Path(places[1]), places[2:], compiling=compiling)
