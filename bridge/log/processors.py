"""The processors of the log: each takes an event as a dict and changes one thing in it.

    drop_payload       takes out what a data message says
    format_exception   a traceback as text
    plain_values       every value as JSON knows it
    remove_secrets     no configured secret and no token in any text
    render_text, render_json

They run in this order, as structlog runs them.  Secrets are removed last before rendering: by then
every value is text, a number or a list of these, so none can bring a secret in later.
"""

from __future__ import annotations

import json
import math
import re
import sys
import time
import traceback
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from functools import lru_cache
from typing import Any, Final, TypeAlias, final

from actors.session.texts import length_before_cut
from actors.session.time_text import rfc3339
from bridge.log.wording import line_of
from bridge.output.harmless import harmless
from bridge.output.redact import redact

EventFields: TypeAlias = MutableMapping[str, Any]
Processor: TypeAlias = "Callable[[Any, str, EventFields], Any]"
"""Called with the logger and the method's name, which nothing here needs, and the event."""

JSON_LIMIT: Final = 4096
"""Characters of one string in a JSON line, a traceback aside."""
TRACE_LIMIT: Final = 16384
SHORTEST_SECRET: Final = 8
"""A shorter secret (LiveKit's development server has "secret") is taken out only where it
stands as a word: as a part of others it would be cut out of ordinary lines."""
DEEPEST: Final = 6
"""Levels of a nested value that are shown as such; what is deeper becomes text."""

MASK: Final = "<secret>"
_SECRET_KEYS: Final = frozenset(
    ("api_secret", "secret", "token", "http_token", "password", "authorization", "database_url")
)
_OWN_WORDS: Final = ("event", "level")
"""Keys whose values are words of this program: a short secret may be one of them."""
_FIRST_KEYS: Final = ("time", "level", "event", "room", "room_sid", "job_id", "identity")


def never_fail(process: Processor) -> Processor:
    """The same processor, which replaces an event that it fails on.

    An event that cannot be shown (a broken `__str__`) must not take its sender down.
    """

    def run(logger: Any, method: str, event: EventFields) -> Any:
        try:
            return process(logger, method, event)
        except Exception as error:  # noqa: BLE001 - a broken __str__ or __repr__ of anything
            failure: EventFields = {
                "level": "error",
                "event": "log_event_failed",
                "about": str(event.get("event"))[:80],
                "error": type(error).__name__,
            }
            return process(logger, method, failure)

    return run


def drop_payload(_logger: Any, _method: str, event: EventFields) -> EventFields:
    """A data message's content is logged only on demand."""
    if event.get("event") == "data_message":
        event.pop("content", None)
    return event


def format_exception(_logger: Any, _method: str, event: EventFields) -> EventFields:
    """`exc_info` becomes the key `exception`: the traceback as text."""
    exc_info = event.pop("exc_info", None)
    event.pop("stack_info", None)
    if exc_info is True:
        exc_info = sys.exc_info()
    error = exc_info[1] if isinstance(exc_info, tuple) else exc_info
    if isinstance(error, BaseException):
        event["exception"] = "".join(traceback.format_exception(error))
    return event


def plain_values(_logger: Any, _method: str, event: EventFields) -> EventFields:
    """Text, numbers, booleans, None, and lists and objects of these."""
    return {str(key): _plain_value(value, DEEPEST) for key, value in event.items()}


def _plain_value(value: Any, depth: int) -> Any:
    if value is None or isinstance(value, str | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, bytes | bytearray | memoryview):
        return f"{len(value)} bytes"
    if isinstance(value, BaseException):
        text = str(value)
        return f"{type(value).__name__}: {text}" if text else type(value).__name__
    if depth and isinstance(value, Mapping):
        return {str(key): _plain_value(one, depth - 1) for key, one in value.items()}
    if depth and isinstance(value, Sequence | set | frozenset):
        return [_plain_value(one, depth - 1) for one in value]
    return str(value)


@final
class SecretRemover:
    """Replaces the configured secrets and every token in the texts of plain values."""

    def __init__(self, secrets: Sequence[str]) -> None:
        # The longest first: one secret may contain another.
        words = sorted(set(secrets), key=len, reverse=True)
        self._long = tuple(word for word in words if len(word) >= SHORTEST_SECRET)
        short = "|".join(re.escape(word) for word in words if len(word) < SHORTEST_SECRET)
        self._short = re.compile(rf"(?<!\w)(?:{short})(?!\w)") if short else None

    def __call__(self, _logger: Any, _method: str, event: EventFields) -> EventFields:
        cleaned = {
            key: MASK if key in _SECRET_KEYS and value else self._clean(value)
            for key, value in event.items()
        }
        cleaned |= {key: self._without_long(str(event[key])) for key in _OWN_WORDS if key in event}
        return cleaned

    def _clean(self, value: Any) -> Any:
        if isinstance(value, str):
            return self._clean_text(value)
        if isinstance(value, dict):
            return {self._clean_text(key): self._clean(one) for key, one in value.items()}
        if isinstance(value, list):
            return [self._clean(one) for one in value]
        return value

    def _clean_text(self, text: str) -> str:
        text = self._without_long(text)
        return text if self._short is None else self._short.sub(MASK, text)

    def _without_long(self, text: str) -> str:
        for secret in self._long:
            if secret in text:
                text = text.replace(secret, MASK)
        return redact(text)


# ---------------------------------------------------------------- rendering


def render_text(_logger: Any, _method: str, event: EventFields) -> str:
    """For people: one line, or several lines of one event, each with its time."""
    stamp = text_stamp(time.time())
    rest = {k: v for k, v in event.items() if k not in ("event", "level", "at", "exception")}
    line = line_of(str(event.get("event")), str(event.get("level", "info")), rest)
    lines = [stamp + part for part in line.split("\n")]
    # A traceback quotes what people typed (KeyError: '...'): no line of it may look like a line
    # of the log.
    trace = str(event.get("exception") or "")
    lines += [f"    | {harmless(part, 400)}" for part in trace.splitlines()]
    return "\n".join(lines)


def render_json(_logger: Any, _method: str, event: EventFields) -> str:
    """For machines: one object in one line of ASCII."""
    event["time"] = rfc3339(time.time())
    first = {key: event[key] for key in _FIRST_KEYS if key in event}
    shown = {key: _for_json(key, value) for key, value in {**first, **event}.items()}
    return _encode(shown).replace("\x7f", "\\u007f")


_encode: Final = json.JSONEncoder(allow_nan=False, separators=(",", ":")).encode


def _for_json(key: str, value: Any) -> Any:
    if isinstance(value, str):
        limit = TRACE_LIMIT if key == "exception" else JSON_LIMIT
        if len(value) <= limit:
            return value
        return f"{value[:limit]}... ({length_before_cut(value) or f'{len(value)} characters'})"
    if isinstance(value, dict):
        return {k: _for_json(k, v) for k, v in value.items()}
    if isinstance(value, list):
        return [_for_json("", item) for item in value]
    is_moment = key == "at" or key.endswith("_at")
    return rfc3339(value) if is_moment and type(value) in (int, float) else value


# ---------------------------------------------------------------- times


def text_stamp(seconds: float) -> str:
    """The begin of each line of the text log: local time and a space."""
    return _local_second(int(seconds))


@lru_cache(maxsize=8)
def _local_second(whole: int) -> str:
    return time.strftime("%Y/%m/%d %H:%M:%S ", time.localtime(whole))
