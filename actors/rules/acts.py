"""The acts that a rule wants, as data: one row a word of `then`.  Pure.

An act is carried out once for each episode of its rule.  Acts on a person need a rule that has one:
the table `person`, or an event that names somebody.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias, get_args

from attrs import field, frozen

from actors.rules.comparisons import BadComparison, seconds
from actors.rules.recording_outputs import KEYS as RECORDING_KEYS
from actors.rules.recording_outputs import read_recording
from actors.session import TrackSource
from actors.session.recording_reports import RecordingRequest

MOST_ACTS: Final = 50
"""Acts of one rule."""
LONGEST: Final = 366 * 86_400.0
"""Seconds: of a ban, and of a warning."""
TEXT_LENGTH: Final = 4_000
"""Characters of a text that is sent, or set as metadata."""
SPOKEN_LENGTH: Final = 2_000
"""Characters of a text that is spoken."""


@frozen
class Alert:
    """Nothing but the alert itself: it is on the page, in `/metrics` and goes to webhooks."""

    text: str = ""


@frozen
class CallWebhook:
    """An event for one endpoint of `[[webhook]]`, also if it asked for no such events."""

    name: str


@frozen
class LogLine:
    """A line in the log."""

    text: str


@frozen
class SendText:
    """A message to everybody in the room, or to the person of the episode."""

    text: str
    topic: str = "lk.chat"
    to_person: bool = False
    as_packet: bool = False
    """As a data packet of the server; else as a text stream from our connection, if there is
    one."""


@frozen
class MuteTracks:
    """Mute what the person publishes; of no sources all of it."""

    sources: tuple[TrackSource, ...] = ()


@frozen
class RemovePerson:
    """Take the person out of the room.  Their token goes on working."""

    text: str = ""
    """Sent to them before."""


@frozen
class HoldPerson:
    """Take the person's permissions until the episode is over."""

    text: str = ""


@frozen
class BanPerson:
    """Remove the person, and again at each join, for `seconds`."""

    seconds: float
    text: str = ""


@frozen
class SetMetadata:
    """The room's metadata."""

    text: str


@frozen
class StartRecording:
    """Start a recording, where none of ours runs."""

    request: RecordingRequest = field(factory=RecordingRequest)


@frozen
class StopRecording:
    """Stop what a rule started."""


@frozen
class SayText:
    """A text that a speech engine speaks in the room, through a visible participant."""

    text: str
    voice: str = ""
    """The engine's name of a voice; empty: the configured one."""


@frozen
class PlayFile:
    """A sound file of this machine that is played in the room."""

    file: str
    """Its path."""


@frozen
class EndRoom:
    """Delete the room.  With `warn`: send `text` first, and delete so many seconds later, if the
    rule still fires then."""

    warn: float = 0.0
    text: str = ""


Act: TypeAlias = (
    Alert
    | CallWebhook
    | LogLine
    | SendText
    | MuteTracks
    | RemovePerson
    | HoldPerson
    | BanPerson
    | SetMetadata
    | StartRecording
    | StopRecording
    | SayText
    | PlayFile
    | EndRoom
)

ON_A_PERSON: Final = (MuteTracks, RemovePerson, HoldPerson, BanPerson)


class BadAct(ValueError):
    """An act is wrong: the text says why, and what is allowed.  `key` says which one."""

    def __init__(self, key: str, why: str) -> None:
        super().__init__(why)
        self.key = key


# ---------------------------------------------------------------- the table

_Table: TypeAlias = Mapping[str, object]


def _text(table: _Table, key: str = "text", *, needed: bool = False) -> str:
    value = table.get(key, "")
    if not isinstance(value, str) or len(value) > TEXT_LENGTH or (needed and not value):
        raise BadComparison(f"{key} must be a text of at most {TEXT_LENGTH} characters")
    return value


def _spoken(table: _Table) -> str:
    text = _text(table, needed=True)
    if len(text) > SPOKEN_LENGTH or not any(c.isalnum() for c in text):
        raise BadComparison(f"text must have words, and at most {SPOKEN_LENGTH} characters")
    return text


def _span(table: _Table, key: str, *, needed: bool = False) -> float:
    value = table.get(key)
    if value is None and not needed:
        return 0.0
    if not isinstance(value, str):
        raise BadComparison(f"{key} must be a duration like 30s or 10m")
    span = seconds(value)
    if span > LONGEST:
        raise BadComparison(f"{key} must be a year or less")
    return span


def _sources(table: _Table) -> tuple[TrackSource, ...]:
    value = table.get("sources", [])
    if not isinstance(value, list) or not all(one in get_args(TrackSource) for one in value):  # pyright: ignore[reportUnknownVariableType]
        raise BadComparison(f"sources must be a list of {', '.join(get_args(TrackSource))}")
    return tuple(value)  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]


def _to_person(table: _Table) -> bool:
    value = table.get("to", "all")
    if value not in ("all", "person"):
        raise BadComparison('to must be "all" or "person"')
    return value == "person"


def _as_packet(table: _Table) -> bool:
    value = table.get("as", "stream")
    if value not in ("stream", "packet"):
        raise BadComparison('as must be "stream" or "packet"')
    return value == "packet"


@frozen
class _Word:
    make: Callable[[_Table], Act]
    keys: frozenset[str]
    """Of its table."""
    short: str | None
    """The key that a plain text gives; None where no text is taken."""


def _word(make: Callable[[_Table], Act], *keys: str, short: str | None = None) -> _Word:
    return _Word(make, frozenset(keys), short)


WORDS: Final[Mapping[str, _Word]] = {
    "alert": _word(lambda t: Alert(_text(t)), "text", short="text"),
    "webhook": _word(lambda t: CallWebhook(_text(t, "name", needed=True)), "name", short="name"),
    "log": _word(lambda t: LogLine(_text(t, needed=True)), "text", short="text"),
    "send": _word(
        lambda t: SendText(
            _text(t, needed=True), _text(t, "topic") or "lk.chat", _to_person(t), _as_packet(t)
        ),
        "text", "topic", "to", "as",
        short="text",
    ),
    "mute": _word(lambda t: MuteTracks(_sources(t)), "sources"),
    "remove": _word(lambda t: RemovePerson(_text(t)), "text", short="text"),
    "hold": _word(lambda t: HoldPerson(_text(t)), "text", short="text"),
    "ban": _word(
        lambda t: BanPerson(_span(t, "for", needed=True), _text(t)), "for", "text", short="for"
    ),
    "metadata": _word(lambda t: SetMetadata(_text(t)), "text", short="text"),
    "record": _word(
        lambda t: StartRecording(read_recording(t)),
        *RECORDING_KEYS,
        short="file",
    ),
    "stop_recording": _word(lambda _: StopRecording()),
    "say": _word(
        lambda t: SayText(_spoken(t), _text(t, "voice")), "text", "voice", short="text"
    ),
    "play": _word(lambda t: PlayFile(_text(t, "file", needed=True)), "file", short="file"),
    "end_room": _word(
        lambda t: EndRoom(_span(t, "warn"), _text(t)), "warn", "text", short="text"
    ),
}  # fmt: skip
"""By the word in `then`.  Each takes true, a table of its keys, or a text for its `short` key."""

NAMES: Final[Mapping[type[Act], str]] = {
    Alert: "alert",
    CallWebhook: "webhook",
    LogLine: "log",
    SendText: "send",
    MuteTracks: "mute",
    RemovePerson: "remove",
    HoldPerson: "hold",
    BanPerson: "ban",
    SetMetadata: "metadata",
    StartRecording: "record",
    StopRecording: "stop_recording",
    SayText: "say",
    PlayFile: "play",
    EndRoom: "end_room",
}


def read_acts(value: object, where: str = "then") -> tuple[Act, ...]:
    """The acts of `then`: a list of tables with one word each, or of words.  Raises `BadAct`."""
    items: list[object] = value if isinstance(value, list) else [value]  # pyright: ignore[reportUnknownVariableType]
    if len(items) > MOST_ACTS:
        raise BadAct(where, f"it has {len(items)} acts; at most {MOST_ACTS}")
    if not items:
        raise BadAct(where, f"it needs one act or more of: {', '.join(WORDS)}")
    return tuple(_read(item, f"{where}[{number}]") for number, item in enumerate(items))


def _read(item: object, where: str) -> Act:
    if isinstance(item, str):
        item = {item: True}
    if not isinstance(item, Mapping) or len(item) != 1:  # pyright: ignore[reportUnknownArgumentType]
        raise BadAct(where, 'an act is a table with one word, like { send = "Hello" }')
    one: Mapping[str, Any] = item  # pyright: ignore[reportUnknownVariableType]
    [(name, value)] = one.items()
    word = WORDS.get(name)
    if word is None:
        raise BadAct(where, f"there is no act {name[:40]!r}; there are: {', '.join(WORDS)}")
    where = f"{where}.{name}"
    table: _Table
    if value is True:
        table = {}
    elif isinstance(value, str) and word.short is not None:
        table = {word.short: value}
    elif isinstance(value, Mapping):
        table = value  # pyright: ignore[reportUnknownVariableType]
    else:
        allowed = f"a table with {', '.join(sorted(word.keys))}" if word.keys else "true"
        raise BadAct(where, f"it takes {allowed}")
    unknown = sorted(set(table) - word.keys)
    if unknown:
        allowed = ", ".join(sorted(word.keys)) or "nothing"
        raise BadAct(f"{where}.{unknown[0]}", f"there is no such key; it takes {allowed}")
    try:
        return word.make(table)
    except BadComparison as error:
        raise BadAct(where, str(error)) from None


def sends_text_stream(act: Act) -> bool:
    """True if the act sends a text from our connection to the room."""
    match act:
        case SendText(as_packet=as_packet):
            return not as_packet
        case EndRoom(warn=warn):
            return warn > 0
        case RemovePerson(text=text) | HoldPerson(text=text) | BanPerson(text=text):
            return bool(text)
        case _:
            return False
