"""A command: its name, its help, its flags and the function that runs it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

from attrs import frozen

from bridge.config import machine
from bridge.config.settings import Setting, SettingsError
from bridge.output.harmless import harmless
from bridge.output.redact import redact

PROG: Final = "room-actors"

FAILED: Final = 1
WRONG_USE: Final = 2
INTERRUPTED: Final = 130

Flags: TypeAlias = Mapping[str, object]
"""By name, without dashes: only the flags that were given."""


@frozen
class Command:
    """One row of the list of commands."""

    name: str
    does: str
    """One line for the list of commands."""
    about: str
    """The paragraph at the head of its help."""
    run: Callable[[Flags], int]
    """Takes the flags that were given; returns the exit code; may raise `SettingsError`."""
    settings: tuple[Setting, ...] = ()
    """Rows of the table of settings that are flags of this command."""
    takes: str = ""
    """What may stand behind its name, beside flags."""
    add_flags: Callable[[argparse.ArgumentParser], None] | None = None
    """Adds the flags that are no settings."""


def complain(text: str) -> None:
    """One line on stderr, with no secret and nothing in it that a terminal obeys."""
    try:
        sys.stderr.write(f"{PROG}: {harmless(redact(text), 1000)}\n")
        sys.stderr.flush()
    except OSError:
        # Nobody reads stderr: the exit code says it.  Without this Python would exit with 120,
        # because it cannot write at its end what is left in the buffer.
        machine.discard(sys.stderr)


def require_descriptors() -> None:
    """Raises `SettingsError` where not even one room fits under the open-file limit."""
    try:
        machine.require_descriptors()
    except machine.TooFewDescriptors as error:
        raise SettingsError(str(error)) from None
