"""The log: structlog on stderr, for people (`text`) or machines (`json`).

Whoever logs says `log.info("event_name", key=value, ...)`.

**Text**: `YYYY/MM/DD HH:MM:SS ` in local time, then the line of `bridge.log.wording`.

**JSON**: one object a line, ASCII only.  Always there, and first: `time` (RFC 3339,
UTC, milliseconds), `level` (`info`, `warning`, `error`), `event`.  Then, where the
event is about one: `room`, `room_sid`, `job_id`, `identity`; then the event's own
keys (for a session's entries those of `actors.session.timeline_entry.ENTRY_KEYS`).  Every
`at` and every key that ends in `_at` is RFC 3339 too; durations are seconds.
Strings over 4096 characters are cut and say so, bytes are given as their number.
Records of other libraries are the event `library_log` with `logger` and `message`.

In both, tokens and the configured secrets are taken out of every value, and what a
data message says is left out unless `--log-payloads` asks for it.
"""

from __future__ import annotations

import json
import logging
import math
import re
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Generator, Mapping, MutableMapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final, Protocol

import structlog

from actors.session.texts import length_before_cut
from actors.session.timeline_entry import TimelineEntry
from bridge.log.sink import Sink
from bridge.log.wording import line_of
from bridge.output.harmless import harmless
from bridge.output.redact import redact

JSON_LIMIT: Final = 4096
"""Characters of one string in a JSON line, a traceback aside."""
TRACE_LIMIT: Final = 16384
SHORTEST_SECRET: Final = 8
"""A shorter secret (LiveKit's development server has "secret") is taken out only where it
stands as a word: as a part of others it would be cut out of ordinary lines."""

_SECRET_KEYS: Final = frozenset(
    ("api_secret", "secret", "token", "http_token", "password", "authorization", "database_url")
)
_OURS: Final = ("event", "level")
_FIRST_KEYS: Final = ("time", "level", "event", "room", "room_sid", "job_id", "identity")
_ENTRY_LEVELS: Final = {"speakers_changed": "debug", "track_subscribed": "debug"}
"""Too frequent for a log that people read; the timeline has them."""


class LogSettings(Protocol):
    """The part of `Settings` that the log needs."""

    @property
    def log_format(self) -> str: ...
    @property
    def log_payloads(self) -> bool: ...
    @property
    def secrets(self) -> tuple[str, ...]: ...


class Logger(Protocol):
    """What `structlog.get_logger()` gives, as far as we use it."""

    def info(self, event: str, **fields: Any) -> Any: ...
    def warning(self, event: str, **fields: Any) -> Any: ...
    def exception(self, event: str, **fields: Any) -> Any: ...


def configure_logging(settings: LogSettings, *, fd: int = 2) -> Sink:
    """Send structlog's, the libraries' and the interpreter's own complaints to `fd`.

    May be called again; the last call holds.  Flush the sink before leaving.
    """
    renderer = _Renderer(settings)
    sink = Sink(fd, lost_line=lambda count: renderer.render(_lost_event(count)))

    def emit(event: Mapping[str, Any]) -> None:
        sink.write(renderer.render(event))

    structlog.configure(
        processors=[_for_library_use(renderer)],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=lambda *_: _SinkLogger(sink),
        cache_logger_on_first_use=False,
    )
    _take_over_stdlib(emit)
    _take_over_hooks(emit)
    return sink


FLUSH_SECONDS: Final = 2.0
"""How long the end of a run waits for a slow reader of the log."""


@contextmanager
def running_log(settings: LogSettings) -> Generator[tuple[Logger, Sink], None, None]:
    """The log of one run; what still waits for a reader is flushed at its end."""
    sink = configure_logging(settings)
    try:
        yield structlog.get_logger(), sink
    finally:
        sink.flush(FLUSH_SECONDS)


def log_entry(log: Logger, entry: TimelineEntry, **about: Any) -> None:
    """One entry of a session's timeline; `about` is room, room_sid and job_id."""
    method: Callable[..., Any] = getattr(log, _ENTRY_LEVELS.get(entry.event, "info"))
    method(entry.event, **{**entry.data, **about, "at": entry.at})


# ---------------------------------------------------------------- rendering


def _for_library_use(renderer: _Renderer) -> structlog.types.Processor:
    def process(_logger: Any, level: str, event: MutableMapping[str, Any]) -> str:
        event["level"] = level
        return renderer.render(event)

    return process


class _SinkLogger:
    """What structlog writes to: every level goes to the one sink."""

    def __init__(self, sink: Sink) -> None:
        self.debug = self.info = self.warning = self.error = self.critical = sink.write
        self.msg = self.log = self.exception = self.fatal = self.warn = sink.write


class _Renderer:
    """An event's fields to one line (or several lines of one event)."""

    def __init__(self, settings: LogSettings) -> None:
        # The longest first: one secret may hold another.
        words = sorted(set(settings.secrets), key=len, reverse=True)
        self._secrets = tuple(word for word in words if len(word) >= SHORTEST_SECRET)
        short = "|".join(re.escape(word) for word in words if len(word) < SHORTEST_SECRET)
        self._short_secrets = re.compile(rf"(?<!\w)(?:{short})(?!\w)") if short else None
        self._payloads = settings.log_payloads
        self._as_text = settings.log_format != "json"

    def render(self, event: Mapping[str, Any]) -> str:
        """Never raises: what cannot be shown must not take its sender down."""
        now = time.time()
        try:
            fields = self._fields(event)
            return self._text(now, fields) if self._as_text else self._json(now, fields)
        except Exception as error:  # noqa: BLE001 - a broken __str__ or __repr__ of anything
            lost = {
                "level": "error",
                "event": "log_event_failed",
                "about": str(event.get("event"))[:80],
                "error": type(error).__name__,
            }
            return self._text(now, lost) if self._as_text else self._json(now, lost)

    def _fields(self, event: Mapping[str, Any]) -> dict[str, Any]:
        fields = {
            str(key): "<secret>" if key in _SECRET_KEYS and value else self._clean(value)
            for key, value in event.items()
            if key not in ("exc_info", "stack_info")
        }
        # A short secret may be one of our own words.
        fields |= {key: self._without_long(str(event[key])) for key in _OURS if key in event}
        if fields.get("event") == "data_message" and not self._payloads:
            fields.pop("content", None)
        trace = _traceback(event.get("exc_info"))
        if trace:
            fields["exception"] = self._secretless(trace)
        return fields

    def _clean(self, value: Any, depth: int = 6) -> Any:
        """Plain data without secrets: what JSON knows, and nothing nested without end."""
        if isinstance(value, str):
            return self._secretless(value)
        if value is None or isinstance(value, int):
            return value
        if isinstance(value, float):
            return value if math.isfinite(value) else None
        if isinstance(value, bytes | bytearray | memoryview):
            return f"{len(value)} bytes"
        if isinstance(value, BaseException):
            return self._secretless(_error_text(value))
        if depth and isinstance(value, Mapping):
            return {self._secretless(str(k)): self._clean(v, depth - 1) for k, v in value.items()}
        if depth and isinstance(value, Sequence | set | frozenset):
            return [self._clean(item, depth - 1) for item in value]
        return self._secretless(str(value))

    def _secretless(self, text: str) -> str:
        text = self._without_long(text)
        return text if self._short_secrets is None else self._short_secrets.sub("<secret>", text)

    def _without_long(self, text: str) -> str:
        for secret in self._secrets:
            if secret in text:
                text = text.replace(secret, "<secret>")
        return redact(text)

    def _text(self, now: float, fields: dict[str, Any]) -> str:
        stamp = time.strftime("%Y/%m/%d %H:%M:%S ", time.localtime(now))
        rest = {k: v for k, v in fields.items() if k not in ("event", "level", "at", "exception")}
        line = line_of(str(fields.get("event")), str(fields.get("level", "info")), rest)
        lines = [stamp + part for part in line.split("\n")]
        # A traceback holds what people typed (KeyError: '...'): no line of it may look
        # like a line of the log.
        trace = str(fields.get("exception") or "")
        lines += [f"    | {harmless(part, 400)}" for part in trace.splitlines()]
        return "\n".join(lines)

    def _json(self, now: float, fields: dict[str, Any]) -> str:
        fields["time"] = rfc3339(now)
        first = {key: fields[key] for key in _FIRST_KEYS if key in fields}
        shown = {key: _for_json(key, value) for key, value in (first | fields).items()}
        return _encode(shown).replace("\x7f", "\\u007f")


_encode: Final = json.JSONEncoder(allow_nan=False).encode


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


def rfc3339(seconds: float) -> str | None:
    """Unix seconds as RFC 3339 in UTC with milliseconds; None for no possible date."""
    try:
        whole = math.floor(seconds)
        micros = round((seconds - whole) * 1e6)
        return f"{_second(whole + micros // 1_000_000)}.{micros // 1_000 % 1_000:03}Z"
    except (ValueError, OverflowError, OSError):
        return None


@lru_cache(maxsize=8)
def _second(whole: int) -> str:
    """Most lines are of the second of the line before."""
    return datetime.fromtimestamp(whole, UTC).isoformat().removesuffix("+00:00")


def _error_text(error: BaseException) -> str:
    text = str(error)
    name = type(error).__name__
    return f"{name}: {text}" if text else name


def _traceback(exc_info: Any) -> str:
    if exc_info is True:
        exc_info = sys.exc_info()
    error = exc_info[1] if isinstance(exc_info, tuple) else exc_info
    if not isinstance(error, BaseException):
        return ""
    return "".join(traceback.format_exception(error))


def _lost_event(count: int) -> dict[str, Any]:
    return {"event": "log_lines_dropped", "level": "warning", "count": count}


# ---------------------------------------------------------------- others that log


class _Handler(logging.Handler):
    """stdlib records (the LiveKit SDK, httpx2, trio-websocket, asyncio) as our events."""

    def __init__(self, emit: Callable[[Mapping[str, Any]], None]) -> None:
        super().__init__(logging.WARNING)
        self._emit = emit

    def emit(self, record: logging.LogRecord) -> None:
        try:
            message = record.getMessage()
        except Exception:  # noqa: BLE001 - wrong arguments in somebody else's log call
            message = str(record.msg)
        self._emit(
            {
                "event": "library_log",
                "level": record.levelname.lower(),
                "logger": record.name,
                "message": message,
                "exc_info": record.exc_info,
            }
        )


def _take_over_stdlib(emit: Callable[[Mapping[str, Any]], None]) -> None:
    root = logging.getLogger()
    for old in root.handlers[:]:
        if isinstance(old, _Handler | logging.StreamHandler):
            root.removeHandler(old)
    root.addHandler(_Handler(emit))
    root.setLevel(logging.WARNING)
    # Set their own level on import, or warn of what is none of the user's business:
    # ours on the livekit logger stays whether the SDK is imported before or after.
    logging.getLogger("livekit").setLevel(logging.WARNING)
    logging.captureWarnings(True)
    # PyJWT on a secret under 32 bytes, once per kind of token: LiveKit's development
    # server has "secret".  `check` says it where it helps.
    warnings.filterwarnings("ignore", message="The HMAC key is")


def _take_over_hooks(emit: Callable[[Mapping[str, Any]], None]) -> None:
    """Threads and finalizers that fail would print a raw traceback to stderr."""

    def thread_failed(args: threading.ExceptHookArgs) -> None:
        where = args.thread.name if args.thread else "unknown"
        emit(_failure("thread_failed", args.exc_value, thread=where))

    def unraisable(args: sys.UnraisableHookArgs) -> None:
        emit(_failure("unraisable_error", args.exc_value, during=args.err_msg))

    threading.excepthook = thread_failed
    sys.unraisablehook = unraisable


def _failure(event: str, error: BaseException | None, **fields: Any) -> dict[str, Any]:
    return {"event": event, "level": "error", "error": error, "exc_info": error, **fields}
