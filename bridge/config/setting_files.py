"""Files that settings come from: TOML, `.env` files, secrets, and LiveKit's own key file.

All are small.  The user may name a wrong file: a device that never ends, a pipe that nobody writes
to, a directory.  So reading is bounded in bytes and in time.  An error text has nothing of a file's
content but the name of a variable.
"""

from __future__ import annotations

import os
import re
import select
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from bridge.config.values import BadValue
from bridge.output.harmless import harmless

MOST: Final = 1 << 20
"""Bytes of one file."""
PATIENCE: Final = 5.0
"""Seconds in which a pipe must bring something."""
_PIECE: Final = 1 << 16

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_ESCAPES: Final = {"n": "\n", "t": "\t", '"': '"', "\\": "\\", "$": "$"}


def read_text(path: Path, most: int = MOST) -> str:
    """A small file whole, as UTF-8.  Raises `BadValue`; the text names the file."""
    where = harmless(str(path))
    try:
        content = _read(path, most)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "its name is malformed"
        raise BadValue(f"{where} cannot be read: {why}") from None
    if content is None:
        raise BadValue(f"{where} cannot be read: nothing came within {PATIENCE:g} s")
    if len(content) > most:
        raise BadValue(f"{where} is too large: at most {most >> 10} KiB are read")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise BadValue(f"{where} is not UTF-8 text") from None


def _read(path: Path, most: int) -> bytes | None:
    """Up to one byte more than `most`; None where nothing came in time."""
    # Not blocking: a pipe without a writer would block for ever.
    file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        content = bytearray()
        while len(content) <= most:
            if not select.select([file], [], [], PATIENCE)[0]:
                return None
            piece = os.read(file, min(_PIECE, most + 1 - len(content)))
            if not piece:
                break
            content += piece
        return bytes(content)
    finally:
        os.close(file)


def others_can_read(path: Path) -> bool:
    """True if every user of this machine may read this file."""
    try:
        status = path.stat()
    except OSError:
        return False
    return stat.S_ISREG(status.st_mode) and bool(status.st_mode & stat.S_IROTH)


def read_secret(path: Path) -> str:
    """The content of a file with one secret, without the line's end.  Raises `BadValue`."""
    content = read_text(path).strip()
    if not content:
        raise BadValue(f"{harmless(str(path))} is empty")
    return content


def read_env_file(path: Path) -> Mapping[str, str]:
    """A `.env` file: `NAME=value` lines, `export`, comments, quotes.  Raises `BadValue`.

    It is read as by most programs: text in single quotes stays as it is, double quotes know
    `\\n`, `\\t`, `\\"`, `\\$` and `\\\\`, and without quotes ` #` begins a comment.  Nothing is
    substituted.
    """
    pairs: dict[str, str] = {}
    for number, line in enumerate(read_text(path).splitlines(), 1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        name, equals, value = text.removeprefix("export ").partition("=")
        if not equals or not _NAME.fullmatch(name.strip()):
            raise BadValue(f"{harmless(str(path))}, line {number}: give NAME=value")
        try:
            pairs[name.strip()] = _unquoted(value.strip())
        except ValueError:
            raise BadValue(
                f"{harmless(str(path))}, line {number}: the quotes of {name.strip()} do not close"
            ) from None
    return pairs


def _unquoted(value: str) -> str:
    if value[:1] == "'":
        content, rest = _up_to(value[1:], re.compile(r"([^']*)'(.*)", re.DOTALL))
    elif value[:1] == '"':
        content, rest = _up_to(value[1:], re.compile(r'((?:[^"\\]|\\.)*)"(.*)', re.DOTALL))
        content = re.sub(r"\\(.)", lambda m: _ESCAPES.get(m[1], m[0]), content)
    else:
        return re.split(r"\s+#|^#", value, maxsplit=1)[0].strip()
    if rest.strip() and not rest.lstrip().startswith("#"):
        raise ValueError(value)
    return content


def _up_to(text: str, form: re.Pattern[str]) -> tuple[str, str]:
    match = form.fullmatch(text)
    if match is None:
        raise ValueError(text)
    return match[1], match[2]


def read_key_file(path: Path) -> Mapping[str, str]:
    """LiveKit's key file: a `key: secret` a line.  By key.  Raises `BadValue`."""
    pairs: dict[str, str] = {}
    for number, line in enumerate(read_text(path).splitlines(), 1):
        text = line.strip()
        if not text or text.startswith("#") or text == "---":
            continue
        key, colon, rest = text.partition(":")
        try:
            pair = _unquoted(key.strip()), _unquoted(rest.strip())
        except ValueError:
            pair = "", ""
        if not (colon and rest[:1].isspace() and all(pair)):
            raise BadValue(f"{harmless(str(path))}, line {number}: give 'key: secret'")
        pairs[pair[0]] = pair[1]
    if not pairs:
        raise BadValue(f"{harmless(str(path))} has no 'key: secret' in it")
    return pairs
