"""The default listener of a system: what went wrong is written to stderr.

A program that listens to its signals itself gives `open_system` a listener of its own, or None.
"""

from __future__ import annotations

import sys
from traceback import format_exception
from typing import Any, Final

from actors.runtime.signals import Crashed, DeadLetter, Failed, GroupEscalated, Overran, Signal

LONGEST_MESSAGE: Final = 200
"""Characters of a message that are shown."""


def write_to_stderr(signal: Signal) -> None:
    """Write a crash, a failed actor, an escalation, an overrun or the first dead letter.

    In debug mode every dead letter is written, with the line of its sender.
    """
    text = _text_of(signal)
    if text and sys.stderr is not None:  # None where a program has no console
        sys.stderr.write(f"{text}\n")


def _text_of(signal: Signal) -> str:
    """Lines for people; empty for a signal that is no trouble."""
    match signal:
        case Crashed():
            task = "" if signal.message is None else f" with the message {_shown(signal.message)}"
            trace = "".join(format_exception(signal.error)).rstrip()
            return f"actor {signal.actor} crashed (incarnation {signal.generation}){task}:\n{trace}"
        case Failed():
            return (
                f"actor {signal.actor} failed: it spent its budget of {signal.restarts} restarts"
                f" and stays down ({signal.error!r})"
            )
        case GroupEscalated():
            name = signal.supervisor or "/"
            return (
                f"supervisor {name} spent its restart budget: the last crash was that of"
                f" {signal.child} ({signal.error!r})"
            )
        case Overran():
            return (
                f"actor {signal.actor} still runs {signal.after:g} s after it was asked to stop;"
                f" it waits at {signal.awaiting}"
            )
        case DeadLetter() if signal.number == 1 or signal.sender:
            sender = f", sent at {signal.sender}" if signal.sender else ""
            further = "" if signal.sender else "; further ones are only counted (dead_letters)"
            return f"dead letter: actor {signal.actor} does not read {signal.what}{sender}{further}"
        case _:
            return ""


def _shown(message: Any) -> str:
    try:
        text = repr(message)
    except Exception:  # noqa: BLE001 (the crash matters, not the text)
        text = f"<{type(message).__name__}>"
    return text if len(text) <= LONGEST_MESSAGE else f"{text[:LONGEST_MESSAGE]}..."
