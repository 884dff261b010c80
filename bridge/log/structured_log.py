"""The log: structlog on stderr, for people (`text`) or machines (`json`).

Every part of the program logs by `log.info("event_name", key=value, ...)`.

**Text**: `YYYY/MM/DD HH:MM:SS ` in local time, then the line of `bridge.log.wording`.

**JSON**: one object a line, ASCII only.  The first keys are always `time` (RFC 3339, UTC,
milliseconds), `level` (`info`, `warning`, `error`) and `event`.  Then, where the event is about
one: `room`, `room_sid`, `job_id`, `identity`; then the event's own keys (for a session's entries
those of `actors.session.timeline_entry.ENTRY_KEYS`).  Every `at` and every key that ends in `_at`
is RFC 3339 too; durations are seconds.  Strings over 4096 characters are cut and say so; bytes are
given as their number.  Records of libraries are the event `library_log` with `logger` and
`message`.

In both, tokens and the configured secrets are taken out of every value, and what a data message
says is left out unless `--log-payloads` asks for it.

`bridge.log.processors` does that, one thing after the other.  Entries that are frequent take a
shorter way to the same line (`bridge.log.entry_lines`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from typing import Any, Final, Protocol, cast

import structlog

from actors.session.timeline_entry import TimelineEntry
from bridge.log.entry_lines import EntryLines
from bridge.log.library_logs import take_over_error_hooks, take_over_library_logs
from bridge.log.processors import (
    Processor,
    SecretRemover,
    drop_payload,
    format_exception,
    never_fail,
    plain_values,
    render_json,
    render_text,
)
from bridge.log.sink import Sink

FLUSH_SECONDS: Final = 2.0
"""How long the end of a run waits for a slow reader of the log."""

_ENTRY_LEVELS: Final = {
    "speakers_changed": "debug",
    "track_subscribed": "debug",
    "agent_state": "debug",
    "agent_turn": "debug",
    "agent_problem": "warning",
}
"""Those with `debug` are too frequent for a log that people read: only `--log-level debug` shows
them.  The timeline has them."""


class LogSettings(Protocol):
    """The part of `Settings` that the log needs."""

    @property
    def log_format(self) -> str: ...
    @property
    def log_level(self) -> str: ...
    @property
    def log_payloads(self) -> bool: ...
    @property
    def secrets(self) -> tuple[str, ...]: ...


class Logger(Protocol):
    """The part of `structlog.get_logger()` that we use."""

    def info(self, event: str, **fields: Any) -> Any: ...
    def warning(self, event: str, **fields: Any) -> Any: ...
    def exception(self, event: str, **fields: Any) -> Any: ...


def processors_for(settings: LogSettings) -> list[Processor]:
    """From an event to its line.  None of them raises."""
    chain: tuple[Processor, ...] = (
        *(() if settings.log_payloads else (drop_payload,)),
        format_exception,
        plain_values,
        SecretRemover(settings.secrets),
        render_json if settings.log_format == "json" else render_text,
    )
    return [never_fail(process) for process in chain]


def configure_logging(settings: LogSettings, *, fd: int = 2) -> Sink:
    """Send structlog's, the libraries' and the interpreter's own complaints to `fd`.

    May be called again; the last call holds.  Flush the sink before leaving.
    """
    chain = processors_for(settings)

    def render(event: dict[str, Any]) -> str:
        line: Any = event
        for process in chain:
            line = process(None, "", line)
        return line

    sink = Sink(fd, lost_line=lambda count: render(_lost_event(count)))
    structlog.configure(
        processors=[structlog.processors.add_log_level, *chain],
        wrapper_class=_entry_logger(settings, sink),
        logger_factory=lambda *_: _SinkLogger(sink),
        cache_logger_on_first_use=False,
    )
    take_over_library_logs(lambda event: sink.write(render(event)), settings.log_level)
    take_over_error_hooks(lambda event: sink.write(render(event)))
    return sink


@contextmanager
def running_log(settings: LogSettings) -> Generator[tuple[Logger, Sink], None, None]:
    """The log of one run; lines that wait for a reader are flushed at its end."""
    sink = configure_logging(settings)
    try:
        yield structlog.get_logger(), sink
    finally:
        sink.flush(FLUSH_SECONDS)


def log_entry(log: Logger, entry: TimelineEntry, **about: Any) -> None:
    """One entry of a session's timeline; `about` is room, room_sid and job_id."""
    short_way: Callable[[TimelineEntry, Mapping[str, Any]], bool] | None
    short_way = getattr(log, "write_entry", None)
    if short_way is not None and short_way(entry, about):
        return
    method: Callable[..., Any] = getattr(log, _ENTRY_LEVELS.get(entry.event, "info"))
    method(entry.event, **{**entry.data, **about, "at": entry.at})


def _entry_logger(settings: LogSettings, sink: Sink) -> type[Any]:
    """A logger from the chosen level on, which also has the short way of an entry.

    The method belongs to the logger, so that a log that is configured otherwise (a test's) gets
    every entry as an event.
    """
    lines = EntryLines(
        as_text=settings.log_format != "json",
        payloads=settings.log_payloads,
        secrets=settings.secrets,
    )

    def write_entry(_self: object, entry: TimelineEntry, about: Mapping[str, Any]) -> bool:
        """True if the entry was written."""
        line = lines.line(entry, about)
        if line is None:
            return False
        sink.write_bytes(line)
        return True

    level = logging.getLevelNamesMapping()[settings.log_level.upper()]
    base = cast("type[Any]", structlog.make_filtering_bound_logger(level))
    # An entry of the short way has level info.
    methods = {"write_entry": write_entry} if level <= logging.INFO else {}
    return type("EntryLogger", (base,), methods)


class _SinkLogger:
    """The logger under structlog: every level goes to the one sink."""

    def __init__(self, sink: Sink) -> None:
        self.debug = self.info = self.warning = self.error = self.critical = sink.write
        self.msg = self.log = self.exception = self.fatal = self.warn = sink.write


def _lost_event(count: int) -> dict[str, Any]:
    return {"event": "log_lines_dropped", "level": "warning", "count": count}
