"""A session's conversations with agents as rows of its page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from itertools import islice
from typing import Final

import structlog
from attrs import frozen

from actors.journal.conversation_texts import ConversationText, TextTrouble
from actors.journal.conversations import ConversationPart, conversation
from actors.journal.session_reader import OpenSession
from actors.session import EntryView, SessionView
from actors.session.agent_run import CLOCK_TOLERANCE
from bridge.http.api.audio_routes import FindAudio
from bridge.http.api.conversation_routes import OpenTexts

log = structlog.get_logger()

MOST_ROWS: Final = 500
"""Parts of a conversation on the page, the newest."""
MOST_RECORDINGS: Final = 8

_NUMBERS: Final = (
    ("delay", "answered after"),
    ("end_of_turn_delay", "end of turn"),
    ("transcription_delay", "transcript"),
    ("first_token", "first token"),
    ("first_byte", "first byte"),
)
_PROBLEMS: Final[Mapping[str, str]] = {
    "missing": "was dispatched and never came",
    "late": "came late",
    "dead": "says that it speaks, and nobody hears it",
    "stopped": "says nothing after an error",
    "thinking": "thinks for long",
    "silent": "does not answer",
}


@frozen
class ConversationRow:
    """One row.  Texts are as they came: the template makes them harmless."""

    key: str
    """Its name within the page."""
    at: str
    """RFC 3339."""
    seconds: float
    """Unix seconds of the same."""
    kind: str
    """`turn`, `text`, `call`, `error` or `problem`."""
    side: str
    """`agent` or `person`."""
    who: str
    text: str | None
    """None where no text is kept."""
    gist: str
    """What there is without a text."""
    delay: float | None
    flags: tuple[str, ...]
    """Its problems and its special marks."""
    numbers: tuple[tuple[str, float], ...]
    """Labels and seconds."""
    payloads: tuple[tuple[str, str], ...]
    """Labels and texts, of a call."""


@frozen
class RunRecording:
    """The recording of one run."""

    job_id: str
    agent: str
    started_at: float | None
    """Unix seconds; None where it is not known."""


@frozen
class ShownConversation:
    """The conversation of a session, for its page."""

    rows: tuple[ConversationRow, ...]
    left_out: int
    """Earlier parts that are not on the page."""
    has_text: bool
    recordings: tuple[RunRecording, ...]
    timeline_kept: bool


def conversation_view(
    opened: OpenSession, open_texts: OpenTexts | None, find_audio: FindAudio | None
) -> ShownConversation | None:
    """None for a session without any agent.  In a thread."""
    session = opened.view
    if session.agents is None:
        return None
    entries = list[EntryView]()
    if opened.timeline is not None:
        mine = (one for one in opened.timeline.backwards() if one.event.startswith("agent_"))
        entries = list(islice(mine, 4 * MOST_ROWS))[::-1]
    texts = _texts(open_texts, session.id)
    parts = conversation(entries, texts)
    names = {one.identity: one.agent.name for one in session.participants if one.agent}
    shown = parts[-MOST_ROWS:]
    return ShownConversation(
        rows=tuple(_row(part, f"p{number}", names) for number, part in enumerate(shown)),
        left_out=len(parts) - len(shown),
        has_text=bool(texts),
        recordings=() if find_audio is None else tuple(_recordings(session, find_audio)),
        timeline_kept=opened.timeline is not None,
    )


def _texts(open_texts: OpenTexts | None, session: str) -> list[ConversationText]:
    if open_texts is None:
        return []
    try:
        with open_texts() as reader:
            return [] if reader is None else list(reader.transcript(session, 5_000).texts)
    except TextTrouble as error:
        log.warning("store_unreadable_for_http", error=str(error))
        return []


def _recordings(session: SessionView, find_audio: FindAudio) -> Iterator[RunRecording]:
    runs = (
        (one.agent.name, run)
        for one in session.participants
        if one.agent is not None
        for run in one.agent.runs
    )
    for name, run in islice(runs, MOST_RECORDINGS):
        audio = None if run.job_id is None else find_audio(session.id, run.job_id)
        if audio is not None:
            # The recording's begin is by the agent's clock, as the times of turns were.
            start = audio.started_at
            if start is not None and abs(run.clock_offset or 0.0) > CLOCK_TOLERANCE:
                start += run.clock_offset or 0.0
            yield RunRecording(audio.job_id, name, start)


def _unix(at: str) -> float:
    return datetime.fromisoformat(at).timestamp()


def _row(part: ConversationPart, key: str, names: Mapping[str, str]) -> ConversationRow:
    entry = part.entry
    numbers = tuple(
        (label, seconds)
        for name, label in _NUMBERS
        if (seconds := _number(entry, name)) is not None
    )
    took = _number(entry, "seconds")
    if took is not None and part.kind != "problem":
        numbers = (*numbers, ("took" if part.kind == "call" else "speech", took))
    payloads = (("arguments", part.text), ("result", part.output)) if part.kind == "call" else ()
    return ConversationRow(
        key=key,
        at=part.at,
        seconds=_unix(part.at),
        kind=part.kind,
        side=part.speaker,
        who=names.get(part.identity, part.identity) or "person",
        text=None if part.kind == "call" else part.text or part.output,
        gist=_gist(part, entry),
        delay=_number(entry, "delay"),
        flags=tuple(_flags(part, entry)),
        numbers=numbers,
        payloads=tuple((label, text) for label, text in payloads if text is not None),
    )


def _gist(part: ConversationPart, entry: EntryView | None) -> str:
    match part.kind:
        case "call":
            return f"calls {_text(entry, 'tool')}"
        case "error":
            return f"{_text(entry, 'error')} of {_text(entry, 'label')}"
        case "problem":
            problem = _text(entry, "problem")
            return _PROBLEMS.get(problem, problem)
        case _:
            return "(the text is not kept)"


def _flags(part: ConversationPart, entry: EntryView | None) -> Iterator[str]:
    if entry is not None and entry.interrupted is True:
        yield "interrupted"
    if part.kind == "call" and _text(entry, "result") != "ok":
        yield _text(entry, "result")
    if part.interim:
        yield "as it was heard"


def _text(entry: EntryView | None, name: str) -> str:
    value = getattr(entry, name, "")
    return value if isinstance(value, str) else ""


def _number(entry: EntryView | None, name: str) -> float | None:
    value = getattr(entry, name, None)
    return float(value) if isinstance(value, int | float) else None
