"""Others that log: libraries by the standard library, threads and finalizers that fail."""

from __future__ import annotations

import logging
import sys
import threading
import warnings
from collections.abc import Callable
from typing import Any, TypeAlias

Emit: TypeAlias = Callable[[dict[str, Any]], object]
"""Logs an event with its `event` and `level`.  Never raises."""


class _Handler(logging.Handler):
    """Standard records (the LiveKit SDK, httpx2, trio-websocket, asyncio) as events of ours."""

    def __init__(self, emit: Emit, level: int) -> None:
        super().__init__(level)
        self._emit = emit

    def emit(self, record: logging.LogRecord) -> None:
        try:
            message = record.getMessage()
        except Exception:  # noqa: BLE001 - wrong arguments in a library's own log call
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


def take_over_library_logs(emit: Emit, log_level: str = "info") -> None:
    """Warnings and errors of every library become events; each call replaces the one before.

    `log_level` is that of the log.  `error` leaves warnings out; a lower level adds nothing,
    because the debug records of libraries are too many and may have tokens in them.
    """
    level = logging.ERROR if log_level == "error" else logging.WARNING
    root = logging.getLogger()
    for handler in root.handlers[:]:
        if isinstance(handler, _Handler | logging.StreamHandler):
            root.removeHandler(handler)
    root.addHandler(_Handler(emit, level))
    root.setLevel(level)
    # The SDK sets its own level when it is imported.  Ours stays, whether that happens before
    # this call or after it.
    logging.getLogger("livekit").setLevel(logging.WARNING)
    logging.captureWarnings(True)
    # PyJWT warns of a secret under 32 bytes once per kind of token; LiveKit's development server
    # has "secret".  `check` says it where it helps.
    warnings.filterwarnings("ignore", message="The HMAC key is")


def take_over_error_hooks(emit: Emit) -> None:
    """Threads and finalizers that fail become events, not raw tracebacks on stderr."""

    def thread_failed(args: threading.ExceptHookArgs) -> None:
        name = args.thread.name if args.thread else "unknown"
        emit(_failure("thread_failed", args.exc_value, thread=name))

    def unraisable(args: sys.UnraisableHookArgs) -> None:
        emit(_failure("unraisable_error", args.exc_value, during=args.err_msg))

    threading.excepthook = thread_failed
    sys.unraisablehook = unraisable


def _failure(event: str, error: BaseException | None, **fields: Any) -> dict[str, Any]:
    return {"event": event, "level": "error", "error": error, "exc_info": error, **fields}
