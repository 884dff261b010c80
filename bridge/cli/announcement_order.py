"""The orders of `say`, `play` and `show`, and the wait for their end."""

from __future__ import annotations

import base64
import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final, TextIO

import msgspec

from actors.pictures.image_files import LARGEST_FILE
from actors.pictures.pattern_names import PATTERNS
from actors.publishing.announcement_bounds import FILE_SIZE, LONGEST_PICTURE, TEXT_LENGTH
from bridge.cli.api_connection import ApiConnection, path_of
from bridge.cli.command import FAILED, INTERRUPTED, Flags, complain
from bridge.config.http_address import HttpAddress
from bridge.config.settings import SettingsError, read_settings
from bridge.http.api.answer_types import AnnouncementView
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

IMAGE_SUFFIXES: Final = (".png", ".webp", ".jpg", ".jpeg", ".gif", ".bmp", ".svg")
"""Ends of names that are never a text.  The worker refuses the formats that it cannot show."""


def worker_of(flags: Flags) -> ApiConnection:
    """The worker that the flags and settings name.  Raises `SettingsError`."""
    own = (
        "api", "token", "room", "text", "file", "voice", "picture", "pattern", "seconds",
        "no-wait", "json",
    )  # fmt: skip
    read = read_settings({name: value for name, value in flags.items() if name not in own})
    for name in ("http", "http-token"):
        # The worker itself needs a token elsewhere than on loopback; here --token may have it.
        if name in read.problems and not (name == "http-token" and "token" in flags):
            raise SettingsError(read.problems[name])
    token = flags.get("token") or read.values.get("http-token")
    address: HttpAddress | None = read.values["http"]
    url = flags.get("api") or (None if address is None else _local_url(address))
    if url is None:
        raise SettingsError("--http is off, so no worker can be asked; name one by --api")
    return ApiConnection(str(url), None if token is None else str(token))


def _local_url(address: HttpAddress) -> str:
    """The URL of a worker of this machine that listens at `address`."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address.host, address.host)  # noqa: S104
    return f"http://{HttpAddress(host, address.port)}"


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
    content = _content("FILE", path, FILE_SIZE)
    return content, TYPES.get(path.suffix.lower(), "audio/wav")


def show_order(flags: Flags) -> tuple[bytes, str]:
    """The body of an order to show a picture, and its type.  The picture is an image file where
    there is one of this name, else a text."""
    picture, pattern = flags.get("picture"), flags.get("pattern")
    if (picture is None) == (pattern is None):
        raise SettingsError("show needs one of these: IMAGE, TEXT or --pattern PATTERN")
    order: dict[str, object] = {"seconds": _seconds(str(flags.get("seconds", "10")))}
    if pattern is not None:
        if pattern not in PATTERNS:
            raise SettingsError(
                f"--pattern: '{harmless(str(pattern), 80)}' is not known; "
                f"give one of {', '.join(PATTERNS)}"
            )
        order["pattern"] = pattern
        return json.dumps(order).encode(), "application/json"
    name = str(picture)
    image = _image(name)
    if image is not None:
        order["image"] = base64.b64encode(image).decode()
    elif not 0 < len(name.strip()) <= TEXT_LENGTH:
        raise SettingsError(f"TEXT must have 1 to {TEXT_LENGTH} characters")
    else:
        order["card"] = name
    return json.dumps(order).encode(), "application/json"


def _image(name: str) -> bytes | None:
    """The content of the image file of this name; None where the name is a text to show.

    A name that looks like a file's is never shown as a text: people in the room would read a
    path of this machine.
    """
    path = Path(name)
    try:
        is_file = path.is_file()
    except OSError:  # the name is longer than a file's may be
        is_file = False
    if not is_file:
        if path.suffix.lower() not in IMAGE_SUFFIXES:
            return None
        raise SettingsError(
            f"IMAGE {harmless(name, 200)} is no file; a TEXT must not end in {path.suffix}"
        )
    return _content("IMAGE", path, LARGEST_FILE)


def _content(word: str, path: Path, most: int) -> bytes:
    """The content of a file of at most `most` bytes; `word` names it in an error."""
    shown = f"{word} {harmless(str(path), 200)}"
    try:
        with path.open("rb") as file:
            content = file.read(most + 1)
    except OSError as error:
        raise SettingsError(f"{shown} cannot be read: {error.strerror}") from None
    if not 0 < len(content) <= most:
        raise SettingsError(f"{shown} must have 1 byte to {most // 10**6} MB")
    return content


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= LONGEST_PICTURE:
        raise SettingsError(
            f"--seconds: '{harmless(text, 80)}' is out of range; "
            f"give more than 0 and at most {LONGEST_PICTURE:.0f}"
        )
    return seconds


def announce(flags: Flags, body: bytes, kind: str, output: TextIO) -> int:
    """Order it, wait, and say what became of it.  Ctrl-C stops the announcement.

    Raises `ApiTrouble`.
    """
    worker = worker_of(flags)
    order = f"/api/v1/rooms{path_of(str(flags['room']))}/announcements"
    record = worker.post(order, AnnouncementView, body, kind)
    own = f"/api/v1/announcements{path_of(record.id)}"
    try:
        while "no-wait" not in flags and not record.over:
            time.sleep(EVERY)
            record = worker.get(own, AnnouncementView)
    except KeyboardInterrupt:
        worker.post(f"{own}/stop", AnnouncementView)
        return INTERRUPTED
    if "json" in flags:
        output.write(f"{msgspec.json.encode(record).decode()}\n")
    elif "no-wait" in flags:
        output.write(f"ordered: {record.id}\n")
    return _report(record, None if "json" in flags or "no-wait" in flags else output)


def _report(record: AnnouncementView, output: TextIO | None) -> int:
    code = 0
    for part in record.rooms:
        room = harmless(part.room, 200)
        if part.state == "failed":
            complain(f"{room}: {part.error}")
            code = FAILED
        elif output is not None:
            output.write(f"{room}: {part.state}, {record.seconds or 0.0:.1f} s\n")
    return code
