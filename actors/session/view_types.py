"""The classes of a session as others see it: the JSON of `docs/contract.md`.

Frozen msgspec structs, because two keys of the JSON are Python's words (`from`), which only a
struct can rename.  `actors.session.view` makes them of a state; msgspec encodes and decodes
them; `/openapi.json` is generated from them, with the sentence below each field.

Times are RFC 3339 in UTC with milliseconds, durations seconds.  None is a value that was not
observed; it is never given as 0.  A time with a ``…_within`` beside it may be wrong by that many
seconds.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Annotated, Literal

from msgspec import Meta

from actors.session.agent_view_types import AgentTotalsView, AgentView
from actors.session.entry_types import EntryView, Time
from actors.session.events import GapReason
from actors.session.room_info import ParticipantKind, Quality, TrackKind, TrackSource
from actors.session.track_stats import AudioLevel
from actors.session.view_base import Count, Seconds, Share, View


class GapView(View, frozen=True, kw_only=True, rename={"since": "from", "until": "to"}):
    """A time in which nobody watched the room."""

    since: Time
    """When it began."""
    until: Time | None
    """When it ended; null while it is open."""
    reason: GapReason
    """Why nobody watched."""


class PeopleView(View, frozen=True, kw_only=True):
    """Numbers of people; agents, egress, ingress and this worker are not counted."""

    current: Count | None
    """People who are there now."""
    peak: Count | None
    """People who were there at the same time, at most."""
    unique: Count | None
    """People who took part, each counted once."""
    joins: Count | None
    """Joins in which a person took part."""
    aborted: Count | None
    """Joins of people that ended before they were active."""
    aborted_by_reason: Mapping[str, Count]
    """The same by LiveKit's reason; `unknown` where the server gave none."""


class TrackCounts(View, frozen=True, kw_only=True):
    """Numbers of tracks."""

    current: Count | None
    """Tracks that are published now."""
    total: Count | None
    """Tracks that were ever published."""
    by_source: Mapping[str, Count]
    """The same by source."""


class MessagesView(View, frozen=True, kw_only=True):
    """Data messages: numbers, not contents."""

    total: Count | None
    """Messages."""
    bytes: Count | None
    """Bytes of their contents."""
    by_topic: Mapping[str, Count]
    """Messages by topic.  A list has the 100 largest, and the sum of the others as `…other`."""
    attachments: Count | None
    """Files that were sent with messages; they are in none of the other numbers."""
    lower_bound: bool | None
    """Whether there may have been more: encrypted ones, some in a gap, or some before our entry."""


class QualityView(View, frozen=True, kw_only=True):
    """Seconds with each quality of the connection, people added up."""

    excellent: Seconds | None
    """Seconds of excellent quality."""
    good: Seconds | None
    """Seconds of good quality."""
    poor: Seconds | None
    """Seconds of poor quality."""
    lost: Seconds | None
    """Seconds without a connection."""

    def of(self, level: Quality) -> float | None:
        """Seconds with this quality."""
        return getattr(self, level)

    def seconds(self) -> dict[str, float | None]:
        """Seconds by quality, the best first."""
        return {level: getattr(self, level) for level in self.__struct_fields__}


class TalkView(View, frozen=True, kw_only=True):
    """The talk time of people, in all and by identity."""

    seconds: Seconds | None
    """Seconds of talk, people added up."""
    by_identity: Mapping[str, Seconds]
    """Seconds by identity.  A list has the 100 largest, and the sum of the others as `…other`."""


class RecordingView(View, frozen=True, kw_only=True):
    """A recording of the room: one egress, or a time in which the room said it is recorded."""

    id: str | None
    """Id of the egress; null where only the room told of the recording."""
    kind: str | None
    """What is recorded, as `room_composite`."""
    started_at: Time | None
    """When it began."""
    ended_at: Time | None
    """When it ended; null while it goes on."""
    status: str | None
    """LiveKit's status of the egress; `requested` where LiveKit has not taken it yet."""
    error: str | None
    """Why it failed."""
    file: str | None
    """Where its file is."""
    rule: str | None
    """The rule that started it; null where it is not ours."""
    lost_at: Time | None
    """Since when nobody records although LiveKit calls it active; null where all is well."""


class JoinView(View, frozen=True, kw_only=True):
    """One connection of a participant."""

    sid: str
    """The participant's SID in this join."""
    kind: ParticipantKind
    """What joined."""
    joined_at: Time
    """When it joined."""
    left_at: Time | None
    """When it left; null while it is there."""
    left_within: Seconds | None
    """Seconds by which `left_at` may be wrong."""
    leave_reason: str | None
    """LiveKit's DisconnectReason in lower case; null where the server gave none."""
    active: bool
    """Whether the media connection was established, and the call answered."""


class CallView(View, frozen=True, kw_only=True, rename={"caller": "from", "callee": "to"}):
    """A telephone call, as LiveKit's SIP service describes it."""

    call_id: str | None
    """Id of the call."""
    status: str | None
    """Status of the call."""
    caller: str | None
    """Number that called."""
    callee: str | None
    """Number that was called."""
    trunk: str | None
    """Id of the SIP trunk."""
    answered_at: Time | None
    """When the call was answered."""
    ringing_seconds: Seconds | None
    """Seconds until the call was answered or ended."""
    hangup_cause: str | None
    """Why the call ended."""


class ParticipantView(View, frozen=True, kw_only=True):
    """Everything known of one identity: a person, an agent, a recorder, a caller."""

    identity: str
    """The name under which the participant joins."""
    person: str
    """Whom the identity counts as (--person-key)."""
    name: str
    """The display name, as last known."""
    kind: ParticipantKind
    """What it is."""
    sids: tuple[str, ...]
    """The participant's SIDs, one a join."""
    joins: tuple[JoinView, ...]
    """The joins, oldest first; of very many the newest."""
    seconds: Seconds
    """Seconds present, all joins added up."""
    metadata: str | None
    """The metadata as last known; null where it had to be dropped."""
    attributes: Mapping[str, str] | None
    """The attributes as last known; null where they had to be dropped."""
    quality: QualityView
    """Seconds with each quality of the connection."""
    talk_seconds: Seconds | None
    """Seconds of talk; null where no microphone was subscribed."""
    turns: Count | None
    """Turns of talk; null where no microphone was subscribed."""
    longest_turn: Seconds | None
    """Seconds of the longest turn, with pauses of up to a second."""
    interruptions: Count | None
    """Turns that began while another person talked, and then for half a second at least."""
    camera_seconds: Seconds
    """Seconds in which a camera was published and not muted."""
    screen_seconds: Seconds
    """Seconds in which a screen was shared."""
    first_media_after: Seconds | None
    """Seconds from the join to the first track; null where there is none or nobody saw it."""
    data_messages: Count | None
    """Messages of this participant; null where encryption hides them."""
    agent: AgentView | None
    """The name and the runs of an agent; null for everybody else."""
    sip: CallView | None
    """The newest telephone call; null for who never called."""

    @property
    def shown_name(self) -> str:
        """The display name; of an agent the name under which it was dispatched."""
        return self.name if self.agent is None else self.agent.name


class TrackStatsView(View, frozen=True, kw_only=True):
    """What was measured of a track (--measure-tracks).

    Ratios and averages are of the measured time alone.
    """

    measured_seconds: Seconds
    """Seconds in which the track was measured."""
    packets: Count
    """Packets that came."""
    packets_lost: Count
    """Packets that were lost between the publisher and the server."""
    loss: Share | None
    """Lost packets of all; null where none came."""
    jitter: Seconds | None
    """Seconds of jitter, on average; null where no packet came."""
    jitter_max: Seconds
    """Seconds of jitter at the end of the worst window."""
    concealment: Share | None
    """Share of the sound that was made up, without silence; null for video."""
    bitrate: Annotated[float, Meta(ge=0)] | None
    """Bits a second of the received payload."""
    mos: Annotated[float, Meta(ge=1, le=4.5)] | None
    """The mean opinion score, 1 to 4.5, by the formula of LiveKit's own score."""
    audio: AudioLevel | None
    """How the microphone sounded of late; null for video, and before it is known."""
    codec: str | None
    """MIME type of the codec."""
    frames_per_second: Annotated[float, Meta(ge=0)] | None
    """Video frames a second, of the received layer; null for sound."""
    width: Count | None
    """Width of the received picture in pixels; null for sound, and where it is unknown."""
    height: Count | None
    """Height of the received picture in pixels."""
    freezes: Count | None
    """Times that the video stood still; null for sound."""


class TrackView(View, frozen=True, kw_only=True):
    """One publication."""

    sid: str
    """The track's SID."""
    identity: str
    """Who published it."""
    kind: TrackKind
    """Audio or video."""
    source: TrackSource
    """Where it comes from."""
    published_at: Time | None
    """When it was published; null where it was there before us."""
    published_within: Seconds | None
    """Seconds by which `published_at` may be wrong."""
    unpublished_at: Time | None
    """When it ended; null while it is published."""
    muted_seconds: Seconds
    """Seconds in which it was muted."""
    encrypted: bool
    """Whether it is encrypted end to end."""
    stats: TrackStatsView | None
    """What was measured; null where the track was not."""


class SessionRow(View, frozen=True, kw_only=True):
    """A session as lists have it."""

    id: str
    """The session's id: the room's SID."""
    room: str
    """Name of the room."""
    room_sid: str
    """SID of the room instance."""
    job_ids: tuple[str, ...]
    """LiveKit's jobs by which this worker watched the room."""
    worker: str
    """Id of the worker that watched."""
    agent_name: str
    """Name of the agent that watched."""
    status: Literal["active", "ended"]
    """Whether the session goes on."""
    end_reason: str | None
    """Why the session ended."""
    started_at: Time
    """When the watch began."""
    ended_at: Time | None
    """When the session ended."""
    duration: Seconds
    """Seconds from `started_at` to the end, or to now."""
    entered_after: Seconds | None
    """Seconds from the room's first person to our first entry."""
    coverage: Share
    """Share of the time since our first entry that was watched."""
    encrypted: bool | None
    """Whether a track was encrypted end to end; null before the first track."""
    gaps: tuple[GapView, ...]
    """Times in which nobody watched, oldest first."""
    clock_offset: float | None
    """Seconds by which this machine's clock was ahead of the server's; all times are the
    server's."""
    metadata: str | None
    """Metadata of the room."""
    people: PeopleView
    """Numbers of people."""
    people_seconds: Seconds | None
    """Seconds in which people were present, people added up."""
    first_media_after: Seconds | None
    """Seconds from a person's join to the first track, the median of the people who published."""
    track_counts: TrackCounts
    """Numbers of tracks."""
    data_messages: MessagesView | None
    """Data messages; null where the room is encrypted and none came."""
    truncated: Count
    """Messages and changes that are only counted: they came too fast, or were more than a
    session may write in a minute."""
    quality: QualityView
    """Seconds with each quality of the connection, people added up."""
    talk: TalkView
    """How long people talked."""
    recordings: tuple[RecordingView, ...] | None
    """Recordings of the room, oldest first."""
    active_recording: bool | None
    """Whether the room itself says that it is recorded; null where nobody watches it."""
    agents: tuple[AgentTotalsView, ...] | None
    """Totals of agents by their name; null where none was dispatched or came."""


class SessionView(SessionRow, frozen=True, kw_only=True):
    """One session whole."""

    participants: tuple[ParticipantView, ...]
    """Everyone whom LiveKit lists, in the order of first sight."""
    tracks: tuple[TrackView, ...]
    """Every track, in the order of first sight."""
    timeline: Collection[EntryView] | None
    """What happened, oldest first; null where it is not kept any more."""
