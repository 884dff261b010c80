"""The whole terminal for one command, and given back as it was, however the command ends.

Inside `whole_screen` nothing else writes to the terminal, keys come one by one without an
echo, and Ctrl-C is a key.  A signal that asks us to go (SIGTERM, SIGHUP, SIGINT, SIGQUIT),
or a terminal that is gone, raises `LeaveScreen` wherever we are, also in a write to a terminal
that takes nothing more; the block's end restores all modes first and never waits long.
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
"""What follows is to be shown at once; from the corner on."""
_END: Final = "\x1b[J\x1b[?2026l"

_LEAVING: Final = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT)
_PATIENCE: Final = 1.0
"""Seconds that a terminal which takes nothing may hold up the end."""
_ESCAPE: Final = 0.05
"""Seconds after which an escape is the key, not the begin of another key's sequence."""


class LeaveScreen(BaseException):
    """We are asked to go, or there is nobody left to show anything to."""


def is_drawable() -> bool:
    """Whether there is a terminal at both ends that can be drawn on."""
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
    news, waker = socket.socketpair()
    news.setblocking(False)
    waker.setblocking(False)
    try:
        for number in _LEAVING:
            signal.signal(number, leave)
        signal.signal(signal.SIGWINCH, lambda *_: None)
        signal.set_wakeup_fd(waker.fileno(), warn_on_full_buffer=False)
        _key_by_key(keyboard)
        screen = Screen(keyboard, display, news)
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
        news.close()
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

    def __init__(self, keyboard: int, display: int, news: socket.socket) -> None:
        self._keyboard = keyboard
        self._display = display
        self._news = news
        self._keys = Keys()
        self._shown = ""

    @property
    def size(self) -> tuple[int, int]:
        """Columns and rows; at least one of each."""
        try:
            found = os.get_terminal_size(self._display)
        except OSError:
            _gone()
        return found.columns or 80, found.lines or 24

    def show(self, lines: Sequence[str]) -> None:
        """These instead of what was shown before."""
        # Each is cleared before it is written: after a full line that would take its end.
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
            _gone()

    def wait(self, seconds: float) -> list[str]:
        """Keys that were pressed; none where the time is up or the size has changed."""
        seconds = min(seconds, _ESCAPE) if self._keys.waiting else seconds
        ready, _, _ = select.select([self._keyboard, self._news], [], [], max(seconds, 0.0))
        if self._news in ready:
            self._news.recv(1_000)
            self._shown = ""  # a terminal may lose its content with its size
        if self._keyboard not in ready:
            return self._keys.flush()
        try:
            typed = os.read(self._keyboard, 1_000)
        except OSError:
            _gone()
        return self._keys.take(typed) if typed else _gone()


def _gone() -> NoReturn:
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
    """What a terminal sends, as keys: a character that prints, or a name from the table.

    Others are left out.  A sequence may come in parts.
    """

    def __init__(self) -> None:
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        self.waiting = ""
        """The begin of a sequence, or the escape key."""

    def take(self, typed: bytes) -> list[str]:
        text = self.waiting + self._decode(typed)
        begun = _UNFINISHED.search(text)
        self.waiting = begun[0] if begun else ""
        return self._named(text[: len(text) - len(self.waiting)])

    def flush(self) -> list[str]:
        """Nothing more comes of what was waiting."""
        text, self.waiting = self.waiting, ""
        return self._named(text)

    @staticmethod
    def _named(text: str) -> list[str]:
        keys = (_NAMES.get(found[0], found[0]) for found in _KEY.finditer(text))
        return [key for key in keys if key.isprintable() and not key.startswith("\x1b")]
