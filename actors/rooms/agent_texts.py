"""The port to which rooms and uploads give texts of agents; `TextKeeper` fills it.

Where no text is kept there is None in its place: then nobody makes a text of a message, and no
transcription is listened to.
"""

from __future__ import annotations

from typing import Protocol

from actors.journal.conversation_texts import ConversationText, TextKind


class AgentTexts(Protocol):
    """Takes texts of conversations.  Every method is quick, raises nothing, and is called in the
    event loop."""

    def keeps(self, kind: TextKind) -> bool:
        """True if texts of this kind are stored; else one need not make them."""
        ...

    def add(self, text: ConversationText) -> None:
        """Store this text, unless its kind is not kept or its run asked for redaction."""
        ...

    def redact(self, room_sid: str, job_id: str) -> None:
        """The agent asks for redaction: drop all texts of this run, those that come later too."""
        ...
