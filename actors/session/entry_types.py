"""The class of a timeline's entry as others see it: the JSON of `docs/contract.md`.

The classes of a session are in `actors.session.view_types`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Annotated, TypeAlias

from msgspec import UNSET, Meta, Struct, UnsetType

Time: TypeAlias = Annotated[str, Meta(extra_json_schema={"format": "date-time"})]


class EntryView(Struct, frozen=True, kw_only=True):
    """One entry of a timeline.  Which keys it has depends on its `event`.

    Texts of participants are cut: names and topics to 256 characters, metadata and attributes to
    4 KB here and to 64 KB in `participants`.  A text that was cut ends in its true length, as in
    `…[61440 characters]` or `…[65000 bytes]`.
    """

    at: Time
    """When it happened."""
    event: str
    """What happened."""
    id: str | UnsetType = UNSET
    """Id of a recording."""
    identity: str | UnsetType | None = UNSET
    """The participant; null where the sender of a message is not known."""
    sid: str | UnsetType = UNSET
    """SID of the participant, or of the track."""
    kind: str | UnsetType = UNSET
    """Kind of the participant, the track or the recording."""
    name: str | UnsetType = UNSET
    """Name of the participant, or of the data track."""
    joined_at: Time | UnsetType | None = UNSET
    """When the participant joined."""
    rejoin: bool | UnsetType = UNSET
    """Whether the participant was there before."""
    reconnect: bool | UnsetType = UNSET
    """Whether the participant left less than 5 s before."""
    source: str | UnsetType = UNSET
    """TrackSource of the track."""
    muted: bool | UnsetType = UNSET
    """Whether the track was muted when it was published."""
    existing: int | bool | UnsetType = UNSET
    """Participants who were there at the start; of a track, whether it was there before us."""
    encrypted: bool | UnsetType = UNSET
    """Whether the track is encrypted end to end."""
    reason: str | UnsetType | None = UNSET
    """Why somebody left, or the session or the room ended."""
    seconds: float | UnsetType | None = UNSET
    """Seconds that the participant was there, that an alert fired, or that a turn, a call of a tool
    or a problem of an agent took."""
    metadata: str | UnsetType = UNSET
    """The new metadata."""
    changed: Mapping[str, str] | UnsetType = UNSET
    """The attributes that changed."""
    can_publish: bool | UnsetType = UNSET
    """Whether the participant may publish tracks."""
    can_subscribe: bool | UnsetType = UNSET
    """Whether the participant may subscribe to tracks."""
    can_publish_data: bool | UnsetType = UNSET
    """Whether the participant may send data."""
    sources: Collection[str] | UnsetType = UNSET
    """Sources that the participant may publish; empty for all."""
    status: str | UnsetType = UNSET
    """Status of the recording."""
    error: str | UnsetType | None = UNSET
    """What failed."""
    file: str | UnsetType | None = UNSET
    """Where the recording's file is."""
    topic: str | UnsetType = UNSET
    """Topic of the message."""
    size: int | UnsetType = UNSET
    """Bytes of the message, or of the attachment."""
    format: str | UnsetType = UNSET
    """Whether the message is JSON, text or binary."""
    reliable: bool | UnsetType = UNSET
    """Whether the message was sent reliably."""
    stream: bool | UnsetType = UNSET
    """Whether the message was a text stream."""
    content: str | UnsetType | None = UNSET
    """The message, where contents are kept."""
    count: int | UnsetType = UNSET
    """Messages or changes that are only counted."""
    quality: str | UnsetType = UNSET
    """The new quality of the connection."""
    audio: str | UnsetType = UNSET
    """How the microphone sounds now: clear, impaired or poor."""
    identities: Collection[str] | UnsetType = UNSET
    """Everybody who talks now."""
    active: bool | UnsetType = UNSET
    """Whether the room is recorded now."""
    gap: float | UnsetType = UNSET
    """Seconds in which nobody watched."""
    rule: str | UnsetType = UNSET
    """Name of the rule."""
    act: str | UnsetType = UNSET
    """What the rule did, as the word of the config file."""
    on: str | UnsetType | None = UNSET
    """The person on whom a rule acted; null for the room."""
    result: str | UnsetType = UNSET
    """The result of an act; of a call of a tool: ok, error or cancelled."""
    text: str | UnsetType = UNSET
    """Text of an alert."""
    agent: str | UnsetType = UNSET
    """Name of the agent."""
    job: str | UnsetType = UNSET
    """The agent's job at LiveKit; empty where its identity does not have it."""
    after: float | UnsetType | None = UNSET
    """Seconds from the dispatch of the agent to its join; null where no dispatch is known."""
    state: str | UnsetType = UNSET
    """The state of the agent now, by its own word."""
    item: str | UnsetType = UNSET
    """Id of the turn or the call, the same as in the agent's own report."""
    role: str | UnsetType = UNSET
    """Whose turn it was: the agent's or its user's."""
    delay: float | UnsetType | None = UNSET
    """Seconds from the end of the user's speech to the begin of the agent's."""
    computed: bool | UnsetType = UNSET
    """True if the delay is computed from the agent's states; else the agent reported it."""
    first_token: float | UnsetType | None = UNSET
    """Seconds until the language model's first token."""
    first_byte: float | UnsetType | None = UNSET
    """Seconds until the voice's first byte."""
    transcription_delay: float | UnsetType | None = UNSET
    """Seconds from the end of the user's speech to its transcript."""
    end_of_turn_delay: float | UnsetType | None = UNSET
    """Seconds from the end of the user's speech until the agent takes its turn."""
    interrupted: bool | UnsetType = UNSET
    """True if somebody interrupted the agent."""
    tool: str | UnsetType = UNSET
    """Name of the tool."""
    label: str | UnsetType = UNSET
    """The part of the agent that failed."""
    recoverable: bool | UnsetType | None = UNSET
    """True if the agent goes on after the error; null where it does not say."""
    problem: str | UnsetType = UNSET
    """The agent's problem: missing, late, dead, stopped, thinking or silent."""
    end: str | UnsetType = UNSET
    """How the agent's run ended."""

    def values(self) -> dict[str, object]:
        """The keys that this event has, but for `at` and `event`."""
        given = ((key, getattr(self, key)) for key in ENTRY_FIELDS)
        return {key: value for key, value in given if value is not UNSET}


ENTRY_FIELDS: tuple[str, ...] = EntryView.__struct_fields__[2:]
"""Keys that an entry may have beside `at` and `event`, in the order of the JSON."""
