"""One participant and their joins, immutable."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from attrs import field, frozen

from actors.session.changes import change
from actors.session.intervals import OFF, UNKNOWN, Interval, Levels, stretch
from actors.session.room_info import ParticipantKind, Permissions
from actors.session.turns import Turns, begin_speech, end_overlap, end_speech

COUNTED_KINDS: Final[frozenset[ParticipantKind]] = frozenset({"standard", "sip"})
"""The kinds that are people.  Agents, egress and ingress are not."""

AGENT_NAME: Final = "lk.agent_name"
"""The attribute in which LiveKit writes the name under which an agent was dispatched."""
OWN_AGENT_NAME: Final = "lk.agent.name"
"""The attribute in which an agent writes its own name."""


@frozen(slots=False)
class Join:
    """One connection of a participant, from join to leave."""

    sid: str
    joined_at: float
    """Unix seconds, the server's own."""
    left_at: float | None = None
    """Unix seconds; None while it lasts.  Never before `joined_at`."""
    reason: str | None = None
    end_from_webhook: bool = False
    """True if a webhook reported its end: then `left_at` is the server's."""
    kind: ParticipantKind | None = None
    """None in joins of old stores: the kind of their person."""
    active: bool = True
    """True if the media connection was ever established."""
    ringing: bool = False
    """A call that was not answered yet."""
    answered_at: float | None = None
    """Unix seconds when the call was answered, if that was observed."""
    left_within: float | None = None
    """Seconds by which `left_at` may be wrong; None if nobody knows."""
    publisher: bool = False
    """True if anything was published: the server announces a publisher's leave at once."""
    end_observed: bool = True
    """True if the room or a webhook reported the end.  Else the participant was present when the
    watch stopped and absent when it went on; the time in between is not known."""

    @property
    def effective(self) -> bool:
        """True if somebody took part: connected, and answered if it is a call."""
        return self.active and not self.ringing

    @property
    def since(self) -> float:
        """Unix seconds since when somebody took part."""
        return self.joined_at if self.answered_at is None else self.answered_at

    def seconds(self, now: float) -> float:
        if not self.effective:
            return 0.0
        return stretch(self.since, now if self.left_at is None else self.left_at)


@frozen(slots=False)
class Participant:
    """Everything known of one identity."""

    number: int
    """Order of the first sighting; shared with tracks."""
    identity: str
    kind: ParticipantKind
    """The kind of the first join that is a person's, otherwise of the first join."""
    name: str = ""
    metadata: str | None = ""
    """None if `MAX_PAST_TEXT` left no room for it; the same holds for the attributes."""
    attributes: Mapping[str, str] | None = field(factory=dict[str, str])
    joins: tuple[Join, ...] = ()
    """Oldest first.  If the participant is present, only the last one is open."""
    older_joins: int = 0
    """Joins beyond `MAX_JOINS`, and their seconds."""
    older_seconds: float = 0.0
    quality: Levels = UNKNOWN
    talk: Interval = OFF
    audible: bool = False
    """True if talk would have been noticed: a microphone of theirs was subscribed."""
    data_messages: int = 0
    encrypted: bool | None = None
    """True if a track of theirs is encrypted end to end; None before their first track."""
    permissions: Permissions | None = None
    pending_leave_since: float | None = None
    """Unix seconds when a new join replaced one whose leave has not come yet, else None."""
    older_visits: int = 0
    older_aborted: int = 0
    """Joins beyond `MAX_JOINS` that are in `visits`, and those that are in `aborted_joins`."""
    key: str | None = None
    """The person, by the session's person key; None if the key gives none."""
    turns: Turns | None = None
    """None until they talked."""

    @property
    def person(self) -> str:
        """The person that this identity counts as."""
        return self.identity if self.key is None else self.key

    @property
    def agent_name(self) -> str | None:
        """The name under which an agent was dispatched, else its own, else its display name; None
        where this is no agent."""
        if self.kind != "agent":
            return None
        attributes = self.attributes or {}
        named = attributes.get(AGENT_NAME) or attributes.get(OWN_AGENT_NAME)
        return named or self.name or self.identity

    def talks(self, at: float, *, others_talk: bool) -> Participant:
        """They begin to talk.  `others_talk`: another person talks already."""
        turns = begin_speech(self.turns, at, others_talk=others_talk)
        return change(self, talk=self.talk.on(at), turns=turns, audible=True)

    def stops_talking(self, at: float) -> Participant:
        """They stop to talk, or it is not known any more whether they do."""
        if self.talk.since is None:
            return self
        return change(self, talk=self.talk.off(at), turns=end_speech(self.turns, at))

    def talks_alone(self, at: float) -> Participant:
        """They talk, and no other person does any more."""
        if self.turns is None or self.turns.overlap_since is None:
            return self
        return change(self, turns=end_overlap(self.turns, at))

    def is_person(self, join: Join) -> bool:
        """True if this join is of a person, not of a machine."""
        return (join.kind or self.kind) in COUNTED_KINDS

    def is_visit(self, join: Join) -> bool:
        """True if a person took part in this join."""
        return join.effective and self.is_person(join)

    def is_aborted(self, join: Join) -> bool:
        """True if a person's join ended before anybody took part.  False if nobody knows."""
        over = join.left_at is not None and join.end_observed
        return over and not join.effective and self.is_person(join)

    @property
    def visits(self) -> int:
        """Joins in which a person took part."""
        return self.older_visits + sum(map(self.is_visit, self.joins))

    @property
    def aborted_joins(self) -> int:
        """Joins of a person that ended before anybody took part."""
        return self.older_aborted + sum(map(self.is_aborted, self.joins))

    @property
    def counted(self) -> bool:
        """True if this is one of the people: a person took part in one of the joins."""
        return self.older_visits > 0 or any(map(self.is_visit, self.joins))

    @property
    def takes_part(self) -> bool:
        """True if a person takes part in the newest join, of somebody who is present."""
        return bool(self.joins) and self.joins[-1].left_at is None and self.is_visit(self.joins[-1])

    def took_part_at(self, at: float) -> bool:
        """True if they took part at `at`, by the joins that are not truncated."""
        return any(
            self.is_visit(join) and join.since <= at and (join.left_at is None or at < join.left_at)
            for join in self.joins
        )

    def seconds(self, now: float) -> float:
        """Seconds present, over all joins; of one of the people over those of a person."""
        counted = self.counted
        return self.older_seconds + sum(
            join.seconds(now) for join in self.joins if not counted or self.is_person(join)
        )
