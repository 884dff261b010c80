"""The orders of `say` and `play`, and the wait for their end."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, TextIO

from actors.publishing.announcement_bounds import FILE_SIZE, TEXT_LENGTH
from bridge.cli.command import FAILED, INTERRUPTED, Flags, complain
from bridge.cli.worker_api import WorkerApi, local_url, quoted
from bridge.config.http_address import HttpAddress
from bridge.config.settings import SettingsError, read_settings
from bridge.output.harmless import harmless

EVERY: Final = 0.2
"""Seconds between two questions whether it is over."""
TYPES: Final[Mapping[str, str]] = {
    ".ogg": "audio/ogg",
    ".opus": "audio/ogg",
    ".mp3": "audio/mpeg",
    ".flac": "audio/flac",
}
"""By the end of a file's name; `audio/wav` for all others.  The worker looks at the content."""


def worker_of(flags: Flags) -> WorkerApi:
    """The worker that the flags and settings name.  Raises `SettingsError`."""
    own = ("api", "token", "room", "text", "file", "voice", "no-wait", "json")
    read = read_settings({name: value for name, value in flags.items() if name not in own})
    for name in ("http", "http-token"):
        # The worker itself needs a token elsewhere than on loopback; here --token may have it.
        if name in read.problems and not (name == "http-token" and "token" in flags):
            raise SettingsError(read.problems[name])
    token = flags.get("token") or read.values.get("http-token")
    address: HttpAddress | None = read.values["http"]
    url = flags.get("api") or (None if address is None else local_url(address))
    if url is None:
        raise SettingsError("--http is off, so no worker can be asked; name one by --api")
    return WorkerApi(str(url), None if token is None else str(token))


def say_order(flags: Flags) -> tuple[bytes, str]:
    """The body of an order to say a text, and its type."""
    text = str(flags["text"])
    if text == "-":
        text = sys.stdin.read(4 * TEXT_LENGTH)
    text = text.strip()
    if not 0 < len(text) <= TEXT_LENGTH:
        raise SettingsError(f"TEXT must have 1 to {TEXT_LENGTH} characters")
    order = {"text": text, "voice": str(flags.get("voice") or "")}
    return json.dumps(order).encode(), "application/json"


def file_order(flags: Flags) -> tuple[bytes, str]:
    """The body of an order to play a file, and its type."""
    path = Path(str(flags["file"]))
    try:
        with path.open("rb") as file:
            content = file.read(FILE_SIZE + 1)
    except OSError as error:
        raise SettingsError(
            f"FILE {harmless(str(path), 200)} cannot be read: {error.strerror}"
        ) from None
    if not 0 < len(content) <= FILE_SIZE:
        raise SettingsError(
            f"FILE {harmless(str(path), 200)} must have 1 to {FILE_SIZE // 10**6} MB"
        )
    return content, TYPES.get(path.suffix.lower(), "audio/wav")


def announce(flags: Flags, body: bytes, kind: str, output: TextIO) -> int:
    """Order it, wait, and say what became of it.  Ctrl-C stops the announcement.

    Raises `WorkerUnreachable` and `OrderRefused`.
    """
    worker = worker_of(flags)
    record = worker.post(f"/api/v1/rooms/{quoted(str(flags['room']))}/announcements", body, kind)
    try:
        while "no-wait" not in flags and not record["over"]:
            time.sleep(EVERY)
            record = worker.get(f"/api/v1/announcements/{record['id']}")
    except KeyboardInterrupt:
        worker.post(f"/api/v1/announcements/{record['id']}/stop")
        return INTERRUPTED
    if "json" in flags:
        output.write(f"{json.dumps(record)}\n")
    elif "no-wait" in flags:
        output.write(f"ordered: {record['id']}\n")
    return _report(record, None if "json" in flags or "no-wait" in flags else output)


def _report(record: Mapping[str, Any], output: TextIO | None) -> int:
    code = 0
    for part in record["rooms"]:
        room = harmless(part["room"], 200)
        if part["state"] == "failed":
            complain(f"{room}: {part['error']}")
            code = FAILED
        elif output is not None:
            output.write(f"{room}: {part['state']}, {record['seconds']:.1f} s\n")
    return code
