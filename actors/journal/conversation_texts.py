"""Texts of conversations with agents: what was spoken and written, and what tools got and gave.

No text is in a session, its journal, its timeline or its list row.  A text that is kept is in a
store of its own, with a retention of its own, and only there.  A program that keeps no texts has no
such store.

`TextStore` is the port that writes, `TextReader` the one that reads.  Both are filled over SQLite
and over PostgreSQL.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import Final, Literal, Protocol, TypeAlias

from attrs import frozen

TextKind: TypeAlias = Literal["speech", "chat", "tool_arguments", "tool_output"]
Speaker: TypeAlias = Literal["agent", "person"]

TOOL_KINDS: Final[tuple[TextKind, ...]] = ("tool_arguments", "tool_output")
SPOKEN_KINDS: Final[tuple[TextKind, ...]] = ("speech", "chat")

MOST_TEXT: Final = 16 * 1024
"""Bytes of one text.  A longer one is cut, with its true length (`actors.session.texts`)."""
MOST_WORDS: Final = 20
"""Words of one search; the others do not count."""
_WORD: Final = re.compile(r"[^\W_]+")


@frozen
class ConversationText:
    """One text of one conversation.

    A text that is written again under the same room SID, job, item and kind replaces the earlier
    one: a report corrects what was heard.
    """

    room: str
    room_sid: str
    job_id: str
    """The job of the agent; empty where it is not known."""
    item: str
    """The id that the agent gave to the item, the call, or the segment of a transcription."""
    kind: TextKind
    speaker: Speaker
    identity: str
    """The participant who spoke or wrote; of a tool, the agent."""
    at: float
    """Unix seconds of its begin."""
    text: str
    ended_at: float | None = None
    name: str = ""
    """Name of the tool; empty for speech and chat."""
    interim: bool = False
    """A segment of a transcription.  The item of the same speaker, which comes when a turn is over,
    takes its place."""


@frozen
class TextFilters:
    """The conditions that the texts of a list meet.  A filter that is None does not matter."""

    search: str | None = None
    """Words that a text has, all of them, in any order; upper and lower case are the same."""
    room: str | None = None
    """A pattern (`actors.journal.session_filters.pattern_parts`) of the room's name."""
    person: str | None = None
    """A pattern of the identity of who spoke or wrote."""
    since: float | None = None
    """Unix seconds: the text began then or later."""
    until: float | None = None
    """Unix seconds: the text began before."""


ALL_TEXTS: Final = TextFilters()


@frozen
class TextPage:
    """A part of a list."""

    texts: Sequence[ConversationText]
    next: str | None
    """The cursor of the next part; None at the end."""


@frozen
class TextRetention:
    """Seconds for which texts are kept, by what they are."""

    spoken: float | None = None
    """Transcripts and chat; None: they are not kept."""
    tools: float | None = None
    """Arguments and results of tools; None: they are not kept."""
    size: float = 10e9
    """Bytes of all texts, above which the oldest are dropped."""

    def of(self, kind: TextKind) -> float | None:
        """Of this kind."""
        return self.tools if kind in TOOL_KINDS else self.spoken

    @property
    def any(self) -> bool:
        """True if some texts are kept."""
        return self.spoken is not None or self.tools is not None


class TextTrouble(Exception):
    """The store of texts cannot be used now.  The text is for a person and has no content."""


class TextStore(Protocol):
    """Writes texts.  Every method may raise `TextTrouble`; calls wait for each other."""

    async def write(self, texts: Sequence[ConversationText]) -> None:
        """Store the texts, durably, or none of them.

        An item that is not `interim` removes the interim segments of its speaker in the room that
        began before the item's end.  An item is spoken or written: the newest text says which.
        """
        ...

    async def prune(self, now: float) -> int:
        """Drop what is older than its retention, and the oldest above the size.

        `now` is Unix seconds.  Gives the number of texts; a step drops a bounded number.
        """
        ...

    async def erase_run(self, room_sid: str, job_id: str) -> int:
        """Drop all texts of one run of an agent.  Gives their number."""
        ...

    async def aclose(self) -> None:
        """Close what is open."""
        ...


class TextReader(Protocol):
    """Reads texts, while workers write them."""

    def transcript(self, room_sid: str, limit: int = 1_000, cursor: str | None = None) -> TextPage:
        """The texts of one session, the oldest first.  Raises `BadCursor`."""
        ...

    def texts(
        self, limit: int = 50, cursor: str | None = None, filters: TextFilters = ALL_TEXTS
    ) -> TextPage:
        """A list of texts of all sessions, the newest first.  Raises `BadCursor`."""
        ...


def words_of(text: str) -> list[str]:
    """The words of a text as a search knows them: letters and digits, in lower case."""
    return _WORD.findall(text.lower())


def search_words(search: str) -> Collection[str]:
    """The words of a search; empty where it has none, and then it finds nothing."""
    return list(dict.fromkeys(words_of(search)))[:MOST_WORDS]
