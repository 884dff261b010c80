"""livekit-server-sdk for node, as somebody's receiver would use it.

`tests.npm` installs it, at the versions and checksums of `node/package-lock.json`.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from bridge.livekit.tokens import ApiKey
from tests.npm import installed, node

HERE: Final = Path(__file__).parent / "node"
ENDS_WITHIN: Final = 120.0


def receive(key: ApiKey, requests: Sequence[tuple[str, str]]) -> list[dict[str, Any]]:
    """The receiver's result for each body and its `Authorization`: `event`, or `error`."""
    asked = [{"body": body, "authorization": token} for body, token in requests]
    done = subprocess.run(
        [node(), HERE / "receive.mjs", installed(HERE, "webhook-receiver")],
        input=json.dumps({"key": key.key, "secret": key.secret, "requests": asked}),
        capture_output=True,
        check=False,
        encoding="utf-8",
        timeout=ENDS_WITHIN,
    )
    assert done.returncode == 0, done.stderr
    results: list[dict[str, Any]] = json.loads(done.stdout)
    return results
