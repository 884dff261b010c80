"""The whole terminal for one command; it is restored however the command ends.

Inside `whole_screen` nothing else writes to the terminal, keys come one by one without an echo, and
Ctrl-C is a key.  A signal that requests our end (SIGTERM, SIGHUP, SIGINT, SIGQUIT) and a closed
terminal raise `LeaveScreen` at any place, also in a write that blocks.  The block's end restores
all modes first and never waits long.
"""

from __future__ import annotations

import codecs
import os
import re
import select
import signal
import socket
import sys
import termios
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Final, NoReturn, final

_ENTER: Final = "\x1b[?1049h\x1b[?25l\x1b[?7l"
"""The other screen, no cursor, long lines are cut."""
_LEAVE: Final = "\x1b[0m\x1b[?7h\x1b[?25h\x1b[?1049l"
_BEGIN: Final = "\x1b[?2026h\x1b[H"
"""The following text is shown in one step, from the corner on."""
_END: Final = "\x1b[J\x1b[?2026l"

_LEAVING: Final = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT)
_PATIENCE: Final = 1.0
"""Seconds that the end waits for a terminal that takes nothing."""
_ESCAPE: Final = 0.05
"""Seconds after which an escape is the key, not the beginning of another key's sequence."""


class LeaveScreen(BaseException):
    """Our end was requested, or the terminal has closed."""


def is_drawable() -> bool:
    """True if stdin and stdout are a terminal that can be drawn on."""
    return sys.stdin.isatty() and sys.stdout.isatty() and os.environ.get("TERM") != "dumb"


@contextmanager
def whole_screen() -> Generator[Screen, None, None]:
    """Raises `LeaveScreen`, also within the block."""
    keyboard, display = sys.stdin.fileno(), sys.stdout.fileno()
    modes = termios.tcgetattr(keyboard)
    leaving = False

    def leave(_signal: int, _frame: FrameType | None) -> None:
        nonlocal leaving
        if not leaving:
            leaving = True
            raise LeaveScreen

    before = {number: signal.getsignal(number) for number in (*_LEAVING, signal.SIGWINCH)}
    wakeups, waker = socket.socketpair()
    wakeups.setblocking(False)
    waker.setblocking(False)
    try:
        for number in _LEAVING:
            signal.signal(number, leave)
        signal.signal(signal.SIGWINCH, lambda *_: None)
        signal.set_wakeup_fd(waker.fileno(), warn_on_full_buffer=False)
        _key_by_key(keyboard)
        screen = Screen(keyboard, display, wakeups)
        screen.write(_ENTER)
        yield screen
    finally:
        leaving = True
        with suppress(OSError, termios.error):
            termios.tcsetattr(keyboard, termios.TCSANOW, modes)
            termios.tcflush(keyboard, termios.TCIFLUSH)  # typed at us, not at the shell
        with suppress(OSError):
            if select.select([], [display], [], _PATIENCE)[1]:
                os.write(display, _LEAVE.encode())
        signal.set_wakeup_fd(-1)
        for number, handler in before.items():
            signal.signal(number, handler)
        wakeups.close()
        waker.close()


def _key_by_key(keyboard: int) -> None:
    changed = termios.tcgetattr(keyboard)
    changed[0] &= ~(termios.IXON | termios.ICRNL)
    changed[3] &= ~(termios.ECHO | termios.ICANON | termios.ISIG | termios.IEXTEN)
    changed[6][termios.VMIN], changed[6][termios.VTIME] = 1, 0
    termios.tcsetattr(keyboard, termios.TCSANOW, changed)


@final
class Screen:
    """Made by `whole_screen`.  Every method may raise `LeaveScreen`."""

    def __init__(self, keyboard: int, display: int, wakeups: socket.socket) -> None:
        self._keyboard = keyboard
        self._display = display
        self._wakeups = wakeups
        self._keys = Keys()
        self._shown = ""

    @property
    def size(self) -> tuple[int, int]:
        """Columns and rows; at least one of each."""
        try:
            size = os.get_terminal_size(self._display)
        except OSError:
            _leave()
        return size.columns or 80, size.lines or 24

    def show(self, lines: Sequence[str]) -> None:
        """These lines instead of the ones before."""
        # Each line is cleared before it is written.  After it, that would clear its last cell.
        frame = _BEGIN + "\r\n".join(f"\x1b[K{line}\x1b[0m" for line in lines)
        if frame != self._shown:
            self.write(frame + _END)
            self._shown = frame

    def write(self, text: str) -> None:
        rest = memoryview(text.encode(sys.stdout.encoding, errors="backslashreplace"))
        try:
            while rest:
                rest = rest[os.write(self._display, rest) :]
        except OSError:
            _leave()

    def wait(self, seconds: float) -> list[str]:
        """Keys that were pressed; none when the time is over or the size has changed."""
        seconds = min(seconds, _ESCAPE) if self._keys.waiting else seconds
        ready, _, _ = select.select([self._keyboard, self._wakeups], [], [], max(seconds, 0.0))
        if self._wakeups in ready:
            self._wakeups.recv(1_000)
            self._shown = ""  # a terminal may lose its content with its size
        if self._keyboard not in ready:
            return self._keys.flush()
        try:
            typed = os.read(self._keyboard, 1_000)
        except OSError:
            _leave()
        return self._keys.take(typed) if typed else _leave()


def _leave() -> NoReturn:
    raise LeaveScreen


# ---------------------------------------------------------------- keys

_NAMES: Final = {
    **{f"\x1b{intro}{letter}": name for intro in "[O" for letter, name in (
        ("A", "up"), ("B", "down"), ("H", "home"), ("F", "end"),
    )},
    "\x1b[5~": "page_up", "\x1b[6~": "page_down",
    "\x1b[1~": "home", "\x1b[7~": "home", "\x1b[4~": "end", "\x1b[8~": "end",
    "\r": "enter", "\n": "enter", "\x7f": "backspace", "\b": "backspace",
    "\x03": "interrupt", "\x1b": "escape",
}  # fmt: skip
_KEY: Final = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1bO[@-~]|.", re.DOTALL)
_UNFINISHED: Final = re.compile(r"\x1b(\[[0-9;?]*|O)?\Z")


@final
class Keys:
    """The bytes of a terminal as keys: a character that prints, or a name from the table.

    Other bytes are left out.  A sequence may come in parts.
    """

    def __init__(self) -> None:
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        self.waiting = ""
        """The beginning of a sequence, or the escape key."""

    def take(self, typed: bytes) -> list[str]:
        text = self.waiting + self._decode(typed)
        unfinished = _UNFINISHED.search(text)
        self.waiting = unfinished[0] if unfinished else ""
        return self._named(text[: len(text) - len(self.waiting)])

    def flush(self) -> list[str]:
        """No more bytes of a waiting sequence come: it is keys by itself."""
        text, self.waiting = self.waiting, ""
        return self._named(text)

    @staticmethod
    def _named(text: str) -> list[str]:
        keys = (_NAMES.get(match[0], match[0]) for match in _KEY.finditer(text))
        return [key for key in keys if key.isprintable() and not key.startswith("\x1b")]
