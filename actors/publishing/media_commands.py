"""The commands of a media publisher as a pure function: a command in, an answer and acts out.

A command is a JSON object with a `type`.  It comes as a data message, as a text stream or by RPC;
`media_job` asks whether its sender may give commands before it is looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

import msgspec
from attrs import evolve, frozen

from actors.pictures.pattern_names import PATTERNS, Pattern
from actors.publishing.announcement_bounds import TEXT_LENGTH
from actors.publishing.generated_sounds import HIGHEST, LOWEST

MAX_COMMAND: Final = 8 << 10
"""Bytes of a command."""
VOLUME_STEP: Final = 0.1
HELLO: Final = "Hello! I am the media publisher."


@frozen
class MediaState:
    """What is published now."""

    volume: float = 1.0
    frequency: int = 440
    pattern: Pattern | None = None


@frozen
class Answered:
    """The result of one command."""

    state: MediaState
    message: str
    """The answer."""
    speak: str = ""
    """A text to be spoken."""
    play: str = ""
    """The name of a file to be played."""


Command: TypeAlias = Mapping[str, Any]
_decode: Final = msgspec.json.Decoder(dict[str, Any]).decode


def parse_command(payload: bytes) -> Command | None:
    """The command in a payload; None where it is none: people send other data too."""
    if len(payload) > MAX_COMMAND:
        return None
    try:
        command = _decode(payload)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    return command if isinstance(command.get("type"), str) else None


def carry_out(state: MediaState, command: Command, status: Callable[[], str]) -> Answered:
    """Carry out a command.  `status` gives what is answered to `status`."""
    kind: str = command["type"]
    if kind == "command":
        return _short(state, str(command.get("command", ""))[:40], status)
    handler = _HANDLERS.get(kind)
    if handler is None:
        return Answered(state, f"Unknown command: {_shown(kind)}")
    return handler(state, command)


def is_command(command: Command) -> bool:
    """True if it is meant for a media publisher, right or wrong."""
    return command["type"] == "command" or command["type"] in _HANDLERS


def _short(state: MediaState, name: str, status: Callable[[], str]) -> Answered:
    if name in ("volume_up", "volume_down"):
        step = VOLUME_STEP if name == "volume_up" else -VOLUME_STEP
        return _at_volume(state, state.volume + step)
    if name == "next_pattern":
        place = -1 if state.pattern is None else PATTERNS.index(state.pattern)
        return _with_pattern(state, PATTERNS[(place + 1) % len(PATTERNS)])
    if name == "hello":
        return Answered(state, HELLO, speak=HELLO)
    if name == "status":
        return Answered(state, status())
    return Answered(state, f"Unknown command: {_shown(name)}")


def _speak(state: MediaState, command: Command) -> Answered:
    text = command.get("text")
    if not isinstance(text, str) or not any(char.isalnum() for char in text):
        return Answered(state, "text must have a word that can be spoken")
    if len(text) > TEXT_LENGTH:
        return Answered(state, f"text may have at most {TEXT_LENGTH} characters")
    return Answered(state, f"Speaking text: {_shown(text)}", speak=text)


def _play(state: MediaState, command: Command) -> Answered:
    name = command.get("file")
    if not isinstance(name, str) or not name:
        return Answered(state, "file must be the name of a sound file")
    return Answered(state, f"Playing {_shown(name)}", play=name[:255])


def _set_volume(state: MediaState, command: Command) -> Answered:
    volume = _number(command.get("volume"), 0, 1)
    if volume is None:
        return Answered(state, "volume must be a number from 0 to 1")
    return _at_volume(state, volume)


def _at_volume(state: MediaState, volume: float) -> Answered:
    volume = round(min(1.0, max(0.0, volume)), 2)
    return Answered(evolve(state, volume=volume), f"Volume set to {volume:g}")


def _set_frequency(state: MediaState, command: Command) -> Answered:
    frequency = _number(command.get("frequency"), LOWEST, HIGHEST)
    if frequency is None:
        return Answered(state, f"frequency must be a number from {LOWEST} to {HIGHEST}")
    frequency = round(frequency)
    return Answered(evolve(state, frequency=frequency), f"Tone frequency set to {frequency} Hz")


def _change_pattern(state: MediaState, command: Command) -> Answered:
    wanted = command.get("pattern")
    for pattern in PATTERNS:
        if pattern == wanted:
            return _with_pattern(state, pattern)
    return Answered(state, f"pattern must be one of {', '.join(PATTERNS)}")


def _with_pattern(state: MediaState, pattern: Pattern) -> Answered:
    if state.pattern is None:
        return Answered(state, "no video is published")
    return Answered(evolve(state, pattern=pattern), f"Pattern changed to {pattern}")


def _number(value: Any, least: float, most: float) -> float | None:
    right = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if right and least <= value <= most else None


def _shown(text: str) -> str:
    return "".join(char if char.isprintable() else "?" for char in text)[:100]


_HANDLERS: Final[Mapping[str, Callable[[MediaState, Command], Answered]]] = {
    "speak_text": _speak,
    "play_audio": _play,
    "set_volume": _set_volume,
    "set_tone_frequency": _set_frequency,
    "change_pattern": _change_pattern,
}
